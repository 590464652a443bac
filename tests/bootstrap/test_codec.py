"""The messages of the bootstrap channel, their fields and their frames."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.bootstrap.codec import MAX_FROM_NODE, VERSION, decode, encode
from dask_gridengine.bootstrap.messages import (
    Allocation,
    ExitReport,
    Hello,
    NotNeeded,
    TLSIdentity,
    Wait,
    version_mismatch,
)
from dask_gridengine.errors import MessageError
from dask_gridengine.worker.job_resources import versions
from tests.samples import allocation, exit_report, hello

names = st.text(min_size=1, max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
hellos = st.builds(
    Hello,
    job=names,
    index=st.integers(1, 75_000),
    submission_id=st.text(max_size=64),
    process_token=st.text("0123456789abcdef", min_size=8, max_size=64),
    host=names,
    pid=st.integers(1),
    slots=st.integers(1, 512),
    slots_elsewhere=st.integers(0, 512),
    parallel_environment=st.text(max_size=20),
    prologue=st.lists(st.text(max_size=30), max_size=5),
    memory=st.integers(0),
    host_memory=st.integers(0),
    host_cpus=st.integers(1, 512),
    age=st.floats(0, 1e8),
    queue=names,
    notify=st.floats(0, 1e4),
    versions=st.dictionaries(names, names, max_size=5),
    via=names,
    tried=st.dictionaries(names, names, max_size=5),
)


@given(hellos)
def test_every_hello_survives_encoding(message: Hello) -> None:
    """The cluster receives what the node sent."""
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        allocation(tls=TLSIdentity(ca="a", certificate="b", key="c")),
        allocation(tls=None),
        exit_report(),
        Wait(process_token="a" * 8, seconds=1, reason="r"),
        NotNeeded(process_token="a" * 8, reason="r"),
    ],
)
def test_every_kind_survives_encoding(message: Allocation | ExitReport) -> None:
    """Nested and optional fields come back as what they were."""
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_error(frame: bytes) -> None:
    """Arbitrary bytes raise MessageError and nothing else."""
    with pytest.raises(MessageError):
        decode(frame)


@given(st.sampled_from(sorted(vars(hello()))), plain)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    """Every field has the type its dataclass states, or the message is dropped.

    But a whole number may stand for a float, as JSON has it.
    """
    body = {"v": VERSION, "kind": "hello", **vars(hello())}
    right = type(body[field])
    body[field] = value
    frame = json.dumps(body).encode()
    if type(value) is not right and not (right is float and type(value) is int):
        with pytest.raises(MessageError):
            decode(frame)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v": VERSION + 1}, f"version {VERSION + 1}"),
        ({"v": None}, "version None"),
        ({"kind": "shout"}, "shout"),
        ({"index": 0}, "index must be at least 1"),
        ({"slots": True}, "slots is bool"),
        ({"surprise": 1}, "surprise"),
        ({"versions": {"dask": 1}}, "versions is int"),
        ({"versions": {str(n): "" for n in range(99)}}, "too many"),
    ],
)
def test_a_refusal_says_what_was_wrong(
    change: dict[str, object], complaint: str
) -> None:
    """The log line of a dropped message names the invalid field."""
    body = {"v": VERSION, "kind": "hello", **vars(hello()), **change}
    with pytest.raises(MessageError, match=complaint):
        decode(json.dumps(body).encode())


def test_an_oversized_frame_is_refused_before_it_is_parsed() -> None:
    """A long frame costs no more than its length."""
    with pytest.raises(MessageError, match="limit"):
        decode(b"[" * (MAX_FROM_NODE + 1))


def test_a_value_without_json_is_an_error_at_the_sender() -> None:
    """Nothing is silently turned into text."""
    with pytest.raises(MessageError, match="cannot encode"):
        encode(allocation(config={"x": object()}))


@pytest.mark.parametrize(
    ("make", "change", "complaint"),
    [
        (hello, {"index": 0}, "index"),
        (hello, {"slots": 0}, "slots"),
        (hello, {"memory": -1}, "memory"),
        (hello, {"host_cpus": 0}, "host_cpus"),
        (hello, {"process_token": "x"}, "process_token"),
        (allocation, {"nthreads": 0}, "nthreads"),
        (allocation, {"memory_limit": -1}, "memory_limit"),
        (allocation, {"start_method": "forkserver"}, "start_method"),
        (exit_report, {"stderr": "x" * 20_000}, "16 kB"),
    ],
)
def test_a_message_validates_its_fields(make, change, complaint) -> None:  # type: ignore[no-untyped-def]
    """A reader need not check values again."""
    with pytest.raises(ValueError, match=complaint):
        make(**change)


def test_a_repr_shows_no_key() -> None:
    """An allocation may be logged."""
    identity = TLSIdentity(ca="a", certificate="b", key="PRIVATE")
    assert "PRIVATE" not in repr(allocation(tls=identity))


@pytest.mark.parametrize(
    "package", ["python", "dask", "distributed", "dask-gridengine"]
)
def test_each_version_counts(package: str) -> None:
    """Another Python, dask, distributed or version of ours is named."""
    theirs = {**versions(), package: "0.1"}
    if package == "dask-gridengine":
        theirs[package] = "99"
    assert package in version_mismatch(versions(), theirs)

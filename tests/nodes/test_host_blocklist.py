"""The blocklist of hosts."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.host_blocklist import (
    FAILURE_LIMIT,
    FIRST_BLOCK,
    LONGEST_BLOCK,
    LOST_BLOCK,
    HostBlocklist,
)
from tests.waiting import asked_in_another_thread

LOST = Diagnosis(cause=Cause.HOST_LOST)
WHY = Diagnosis(cause=Cause.NO_PYTHON, detail="no such file")


def fail(
    blocklist: HostBlocklist, host: str, now: float = 0.0, times: int = FAILURE_LIMIT
) -> None:
    for _ in range(times):
        blocklist.failed(host, WHY, now)


def blocklist_of(*possible: str) -> HostBlocklist:
    blocklist = HostBlocklist()
    blocklist.possible = frozenset(possible)
    return blocklist


def test_two_failures_in_a_row_block_a_host() -> None:
    """It is excluded from arrays, and its nodes wait."""
    blocklist = blocklist_of("a", "b")
    fail(blocklist, "a", times=1)
    assert blocklist.blocked(0) == []
    blocklist.worked("a")
    fail(blocklist, "a", times=1)
    assert blocklist.blocked(0) == [], "a node has worked in between"
    fail(blocklist, "a", times=1)
    assert blocklist.blocked(0) == ["a"]
    fail(blocklist, "a", 1.0, times=20)  # nodes that were on their way there
    assert blocklist.block_seconds("a", 10) == FIRST_BLOCK - 10
    assert blocklist.block_seconds("b", 10) == 0
    (text,) = blocklist.sentences(10)
    assert text == (
        "Excluding host a for 50 s: nodes failed shortly after starting there, the last"
        " one could not find Python (no such file)"
    )


def test_it_is_safe_in_any_thread() -> None:
    """While hosts are blocked and cleared."""
    blocklist = blocklist_of("a", *(f"node{i}" for i in range(3000)))
    with asked_in_another_thread(
        lambda: list(blocklist.sentences(0)),
        lambda: blocklist.block_seconds("node0", 0),
    ):
        for i in range(3000):
            fail(blocklist, f"node{i}")
        for i in range(3000):
            blocklist.worked(f"node{i}")
    assert blocklist.blocked(0) == []


def test_blocks_expire_and_double() -> None:
    """After its time a host gets one chance, and a longer block if it fails."""
    blocklist, now, lengths = blocklist_of("a", "b"), 0.0, []
    fail(blocklist, "a", now)
    for _ in range(10):
        left = blocklist.block_seconds("a", now)
        lengths.append(left)
        assert blocklist.blocked(now + left - 0.1) == ["a"]
        now += left
        assert blocklist.blocked(now) == []
        fail(blocklist, "a", now, times=1)
    assert lengths[:3] == [FIRST_BLOCK, 2 * FIRST_BLOCK, 4 * FIRST_BLOCK]
    assert lengths[-1] == LONGEST_BLOCK


def test_the_last_host_is_never_blocked() -> None:
    """A bad host may be better than none, and its error must be seen."""
    blocklist = blocklist_of("a")
    fail(blocklist, "a")
    assert (blocklist.blocked(0), blocklist.block_seconds("a", 0)) == ([], 0)
    both = blocklist_of("a", "b")
    fail(both, "a")
    fail(both, "b")
    assert both.blocked(0) == []


def test_without_known_hosts_one_must_have_worked() -> None:
    """Otherwise the failing host may be the only one."""
    blocklist = HostBlocklist()
    fail(blocklist, "a")
    assert blocklist.blocked(0) == []
    blocklist.worked("b")
    assert blocklist.blocked(0) == ["a"]


def test_an_unknown_host_is_not_blamed() -> None:
    """A node without a known host counts for none."""
    blocklist = HostBlocklist()
    fail(blocklist, "", times=5)
    blocklist.lost("", WHY, 0.0)
    assert not blocklist.suspects()
    blocklist.worked("")
    fail(blocklist, "a")
    assert blocklist.blocked(0) == [], "an unknown host is not another host"


def test_a_lost_host_is_excluded_at_once_but_its_nodes_need_not_wait() -> None:
    """The grid takes it for up for minutes; a node that says hello is not cut off."""
    blocklist = blocklist_of("a", "b")
    blocklist.lost("a", LOST, 0.0)
    assert blocklist.blocked(LOST_BLOCK - 1) == ["a"]
    assert blocklist.block_seconds("a", 0) == 0
    assert blocklist.blocked(LOST_BLOCK + 1) == []
    assert "stopped responding" in next(blocklist.sentences(0))


def test_a_lost_host_that_responds_is_not_excluded() -> None:
    """Other failures there still count."""
    blocklist = blocklist_of("a", "b", "c")
    blocklist.lost("a", LOST, 0.0)
    blocklist.responded("a")
    assert blocklist.blocked(1.0) == []
    assert list(blocklist.suspects()) == []
    fail(blocklist, "b", 0.0)
    blocklist.responded("b")
    blocklist.responded("never seen")
    assert blocklist.blocked(1.0) == ["b"]


class AnyOrder(RuleBasedStateMachine):
    """Failures, successes and time, in any order, on hosts known or not."""

    hosts = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.blocklist, self.now = HostBlocklist(), 0.0

    @rule(possible=st.none() | st.frozensets(hosts, min_size=1))
    def learn(self, possible: frozenset[str] | None) -> None:
        self.blocklist.possible = possible

    @rule(host=hosts)
    def fail_fast(self, host: str) -> None:
        before = self.blocklist.block_seconds(host, self.now)
        self.blocklist.failed(host, WHY, self.now)
        if before:  # a blocked host is not blocked for longer
            assert self.blocklist.block_seconds(host, self.now) == before

    @rule()
    def clear(self) -> None:
        self.blocklist.clear()
        assert not self.blocklist.blocked(self.now)
        assert not self.blocklist.suspects()

    @rule(host=hosts)
    def work(self, host: str) -> None:
        self.blocklist.worked(host)
        assert host not in self.blocklist.blocked(self.now)

    @rule(host=hosts)
    def lose(self, host: str) -> None:
        self.blocklist.lost(host, Diagnosis(cause=Cause.HOST_LOST), self.now)

    @rule(seconds=st.floats(0, 2 * LONGEST_BLOCK))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_host_is_never_blocked(self) -> None:
        blocked = self.blocklist.blocked(self.now)
        assert not blocked or (self.blocklist.possible or {*"abc"}) - {*blocked}
        assert {*blocked} <= {*self.blocklist.suspects()}

    @invariant()
    def hosts_whose_nodes_wait_are_blocked_and_described(self) -> None:
        blocked = self.blocklist.blocked(self.now)
        waiting = [
            host for host in "abc" if self.blocklist.block_seconds(host, self.now)
        ]
        assert set(waiting) <= set(blocked)
        assert len(list(self.blocklist.sentences(self.now))) == len(blocked)
        assert all(
            self.blocklist.block_seconds(h, self.now) <= LONGEST_BLOCK for h in waiting
        )


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

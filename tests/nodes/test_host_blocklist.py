"""The ledger of hosts."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.host_blocklist import (
    FAILURE_LIMIT,
    FIRST_BAN,
    LONGEST_BAN,
    LOST_BAN,
    HostBlocklist,
)
from tests.waiting import asked_in_another_thread

WHY = Diagnosis(cause=Cause.NO_PYTHON, detail="no such file")


def strike(
    blocklist: HostBlocklist, host: str, now: float = 0.0, times: int = FAILURE_LIMIT
) -> bool:
    return [blocklist.failed(host, WHY, now) for _ in range(times)][-1]


def guard_of(*possible: str) -> HostBlocklist:
    blocklist = HostBlocklist()
    blocklist.possible = frozenset(possible)
    return blocklist


def test_two_failures_in_a_row_shut_a_host() -> None:
    """It is left out of arrays, its nodes sleep at the door, and people are told."""
    blocklist = guard_of("a", "b")
    assert not strike(blocklist, "a", times=1)
    assert blocklist.shut(0) == []
    assert strike(blocklist, "a", times=1)
    assert blocklist.shut(0) == ["a"]
    assert blocklist.hold("a", 10) == FIRST_BAN - 10
    assert blocklist.hold("b", 10) == 0
    (told,) = blocklist.sentences(10)
    assert told == (
        "a is avoided for another 50 s: nodes there failed at once, the last one could"
        " not find Python (no such file)"
    )


def test_it_may_be_asked_in_any_thread() -> None:
    """While hosts are shut, and cleared again."""
    blocklist = guard_of("a", *(f"node{i}" for i in range(3000)))
    with asked_in_another_thread(
        lambda: list(blocklist.sentences(0)), lambda: blocklist.hold("node0", 0)
    ):
        for i in range(3000):
            strike(blocklist, f"node{i}")
        for i in range(3000):
            blocklist.worked(f"node{i}")
    assert blocklist.shut(0) == []


def test_a_node_that_works_clears_its_host() -> None:
    """Failures count in a row only; and a host that is well again is let in."""
    blocklist = guard_of("a", "b")
    strike(blocklist, "a", times=1)
    blocklist.worked("a")
    strike(blocklist, "a", times=1)
    assert blocklist.shut(0) == []
    strike(blocklist, "a", times=1)
    blocklist.worked("a")
    assert blocklist.shut(0) == []


def test_bans_expire_and_double() -> None:
    """After its time a host gets one more chance, and longer bans when it fails."""
    blocklist, now, lengths = guard_of("a", "b"), 0.0, []
    strike(blocklist, "a", now)
    for _ in range(10):
        left = blocklist.hold("a", now)
        lengths.append(left)
        assert blocklist.shut(now + left - 0.1) == ["a"]
        now += left
        assert blocklist.shut(now) == []
        strike(blocklist, "a", now, times=1)
    assert lengths[:3] == [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]
    assert lengths[-1] == LONGEST_BAN


def test_the_last_host_is_never_shut() -> None:
    """A bad host may be better than none, and its error is what must be seen."""
    blocklist = guard_of("a")
    strike(blocklist, "a")
    assert (blocklist.shut(0), blocklist.hold("a", 0)) == ([], 0)
    both = guard_of("a", "b")
    strike(both, "a")
    strike(both, "b")
    assert both.shut(0) == []


def test_where_the_hosts_are_not_known_one_must_have_been_seen_to_work() -> None:
    """Otherwise this may be the only one."""
    blocklist = HostBlocklist()
    strike(blocklist, "a")
    assert blocklist.shut(0) == []
    blocklist.worked("b")
    assert blocklist.shut(0) == ["a"]


def test_an_unknown_host_is_not_blamed() -> None:
    """A node that never said where it was says nothing about a host."""
    blocklist = HostBlocklist()
    assert not strike(blocklist, "", times=5)
    blocklist.lost("", WHY, 0.0)
    assert not blocklist.suspects()
    blocklist.worked("")
    strike(blocklist, "a")
    assert blocklist.shut(0) == [], "nowhere is no other host"


def test_a_host_that_fell_silent_is_avoided_at_once_but_holds_nobody() -> None:
    """The grid takes it for up for minutes; who reaches the door is not cut off."""
    blocklist = guard_of("a", "b")
    blocklist.lost("a", Diagnosis(cause=Cause.HOST_LOST), 0.0)
    assert blocklist.shut(LOST_BAN - 1) == ["a"]
    assert blocklist.hold("a", 0) == 0
    assert blocklist.shut(LOST_BAN + 1) == []
    assert "stopped responding" in next(blocklist.sentences(0))
    for now in (LOST_BAN, 2 * LOST_BAN, 3 * LOST_BAN):
        strike(blocklist, "a", now)
    until = 3 * LOST_BAN + blocklist.hold("a", 3 * LOST_BAN)
    blocklist.lost("a", WHY, until - LOST_BAN + 1)
    assert blocklist.shut(until) == ["a"], "for what is longer"
    blocklist.failed("b", WHY, 0.0)
    strike(blocklist, "c", 0.0)
    for _ in range(6):
        strike(blocklist, "c", 10_000.0)
    left = blocklist.hold("c", 10_000.0)
    blocklist.lost("c", WHY, 10_000.0)
    assert blocklist.hold("c", 10_000.0) >= left


def test_a_lost_host_that_is_heard_again_is_not_avoided() -> None:
    """What else was held against it is not forgiven by that."""
    blocklist = guard_of("a", "b", "c")
    blocklist.lost("a", Diagnosis(cause=Cause.HOST_LOST), 0.0)
    blocklist.heard("a")
    assert blocklist.shut(1.0) == []
    assert list(blocklist.suspects()) == []
    strike(blocklist, "b", 0.0)
    strike(blocklist, "b", 0.0)
    assert blocklist.shut(1.0) == ["b"]
    blocklist.heard("b")
    blocklist.heard("never seen")
    assert blocklist.shut(1.0) == ["b"]


def test_a_pardon_forgets_it_all() -> None:
    """What fails because this process was suspended is no host's fault."""
    blocklist = guard_of("a", "b")
    strike(blocklist, "a")
    blocklist.clear()
    assert blocklist.shut(0) == []
    assert not blocklist.suspects()


def test_failures_of_nodes_that_were_on_their_way_add_nothing() -> None:
    """They landed there before it was shut; the ban is not prolonged by each."""
    blocklist = guard_of("a", "b")
    strike(blocklist, "a")
    assert not strike(blocklist, "a", 1.0, times=20)
    assert blocklist.hold("a", 1.0) == FIRST_BAN - 1
    assert blocklist.shut(FIRST_BAN) == []


class AnyOrder(RuleBasedStateMachine):
    """Failures, successes and time, in whatever order, on hosts known or not."""

    hosts = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.blocklist, self.now = HostBlocklist(), 0.0

    @rule(possible=st.none() | st.frozensets(hosts, min_size=1))
    def learn(self, possible: frozenset[str] | None) -> None:
        self.blocklist.possible = possible

    @rule(host=hosts)
    def fail(self, host: str) -> None:
        before = self.blocklist.hold(host, self.now)
        if self.blocklist.failed(host, WHY, self.now):
            assert not before, "what is shut is not shut again"

    @rule()
    def clear(self) -> None:
        self.blocklist.clear()
        assert not self.blocklist.shut(self.now)
        assert not self.blocklist.suspects()

    @rule(host=hosts)
    def work(self, host: str) -> None:
        self.blocklist.worked(host)
        assert host not in self.blocklist.shut(self.now)

    @rule(host=hosts)
    def lose(self, host: str) -> None:
        self.blocklist.lost(host, Diagnosis(cause=Cause.HOST_LOST), self.now)

    @rule(seconds=st.floats(0, 2 * LONGEST_BAN))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_host_is_always_open(self) -> None:
        shut = self.blocklist.shut(self.now)
        assert not shut or (self.blocklist.possible or {*"abc"}) - {*shut}
        assert {*shut} <= {*self.blocklist.suspects()}

    @invariant()
    def who_is_held_is_shut_and_everything_is_told(self) -> None:
        shut = self.blocklist.shut(self.now)
        held = [host for host in "abc" if self.blocklist.hold(host, self.now)]
        assert set(held) <= set(shut)
        assert len(list(self.blocklist.sentences(self.now))) == len(shut)
        assert all(self.blocklist.hold(h, self.now) <= LONGEST_BAN for h in held)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

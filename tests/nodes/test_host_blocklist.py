"""The ledger of hosts."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.host_blocklist import (
    FIRST_BAN,
    LONGEST_BAN,
    LOST_BAN,
    STRIKES,
    HostGuard,
)
from tests.waiting import asked_in_another_thread

WHY = Diagnosis(cause=Cause.NO_PYTHON, detail="no such file")


def strike(guard: HostGuard, host: str, now: float = 0.0, times: int = STRIKES) -> bool:
    return [guard.failed(host, WHY, now) for _ in range(times)][-1]


def guard_of(*possible: str) -> HostGuard:
    guard = HostGuard()
    guard.possible = frozenset(possible)
    return guard


def test_two_failures_in_a_row_shut_a_host() -> None:
    """It is left out of arrays, its nodes sleep at the door, and people are told."""
    guard = guard_of("a", "b")
    assert not strike(guard, "a", times=1)
    assert guard.shut(0) == []
    assert strike(guard, "a", times=1)
    assert guard.shut(0) == ["a"]
    assert guard.hold("a", 10) == FIRST_BAN - 10
    assert guard.hold("b", 10) == 0
    (told,) = guard.sentences(10)
    assert told == (
        "a is avoided for another 50 s: nodes there failed at once, the last one could"
        " not find Python (no such file)"
    )


def test_it_may_be_asked_in_any_thread() -> None:
    """While hosts are shut, and cleared again."""
    guard = guard_of("a", *(f"node{i}" for i in range(3000)))
    with asked_in_another_thread(
        lambda: list(guard.sentences(0)), lambda: guard.hold("node0", 0)
    ):
        for i in range(3000):
            strike(guard, f"node{i}")
        for i in range(3000):
            guard.worked(f"node{i}")
    assert guard.shut(0) == []


def test_a_node_that_works_clears_its_host() -> None:
    """Failures count in a row only; and a host that is well again is let in."""
    guard = guard_of("a", "b")
    strike(guard, "a", times=1)
    guard.worked("a")
    strike(guard, "a", times=1)
    assert guard.shut(0) == []
    strike(guard, "a", times=1)
    guard.worked("a")
    assert guard.shut(0) == []


def test_bans_expire_and_double() -> None:
    """After its time a host gets one more chance, and longer bans when it fails."""
    guard, now, lengths = guard_of("a", "b"), 0.0, []
    strike(guard, "a", now)
    for _ in range(10):
        left = guard.hold("a", now)
        lengths.append(left)
        assert guard.shut(now + left - 0.1) == ["a"]
        now += left
        assert guard.shut(now) == []
        strike(guard, "a", now, times=1)
    assert lengths[:3] == [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]
    assert lengths[-1] == LONGEST_BAN


def test_the_last_host_is_never_shut() -> None:
    """A bad host may be better than none, and its error is what must be seen."""
    guard = guard_of("a")
    strike(guard, "a")
    assert (guard.shut(0), guard.hold("a", 0)) == ([], 0)
    both = guard_of("a", "b")
    strike(both, "a")
    strike(both, "b")
    assert both.shut(0) == []


def test_where_the_hosts_are_not_known_one_must_have_been_seen_to_work() -> None:
    """Otherwise this may be the only one."""
    guard = HostGuard()
    strike(guard, "a")
    assert guard.shut(0) == []
    guard.worked("b")
    assert guard.shut(0) == ["a"]


def test_an_unknown_host_is_not_blamed() -> None:
    """A node that never said where it was says nothing about a host."""
    guard = HostGuard()
    assert not strike(guard, "", times=5)
    guard.lost("", WHY, 0.0)
    assert not guard.suspects()
    guard.worked("")
    strike(guard, "a")
    assert guard.shut(0) == [], "nowhere is no other host"


def test_a_host_that_fell_silent_is_avoided_at_once_but_holds_nobody() -> None:
    """The grid takes it for up for minutes; who reaches the door is not cut off."""
    guard = guard_of("a", "b")
    guard.lost("a", Diagnosis(cause=Cause.HOST_LOST), 0.0)
    assert guard.shut(LOST_BAN - 1) == ["a"]
    assert guard.hold("a", 0) == 0
    assert guard.shut(LOST_BAN + 1) == []
    assert "fell silent" in next(guard.sentences(0))
    for now in (LOST_BAN, 2 * LOST_BAN, 3 * LOST_BAN):
        strike(guard, "a", now)
    until = 3 * LOST_BAN + guard.hold("a", 3 * LOST_BAN)
    guard.lost("a", WHY, until - LOST_BAN + 1)
    assert guard.shut(until) == ["a"], "for what is longer"
    guard.failed("b", WHY, 0.0)
    strike(guard, "c", 0.0)
    for _ in range(6):
        strike(guard, "c", 10_000.0)
    left = guard.hold("c", 10_000.0)
    guard.lost("c", WHY, 10_000.0)
    assert guard.hold("c", 10_000.0) >= left


def test_a_lost_host_that_is_heard_again_is_not_avoided() -> None:
    """What else was held against it is not forgiven by that."""
    guard = guard_of("a", "b", "c")
    guard.lost("a", Diagnosis(cause=Cause.HOST_LOST), 0.0)
    guard.heard("a")
    assert guard.shut(1.0) == []
    assert list(guard.suspects()) == []
    strike(guard, "b", 0.0)
    strike(guard, "b", 0.0)
    assert guard.shut(1.0) == ["b"]
    guard.heard("b")
    guard.heard("never seen")
    assert guard.shut(1.0) == ["b"]


def test_a_pardon_forgets_it_all() -> None:
    """What fails because this process was suspended is no host's fault."""
    guard = guard_of("a", "b")
    strike(guard, "a")
    guard.pardon()
    assert guard.shut(0) == []
    assert not guard.suspects()


def test_failures_of_nodes_that_were_on_their_way_add_nothing() -> None:
    """They landed there before it was shut; the ban is not prolonged by each."""
    guard = guard_of("a", "b")
    strike(guard, "a")
    assert not strike(guard, "a", 1.0, times=20)
    assert guard.hold("a", 1.0) == FIRST_BAN - 1
    assert guard.shut(FIRST_BAN) == []


class AnyOrder(RuleBasedStateMachine):
    """Failures, successes and time, in whatever order, on hosts known or not."""

    hosts = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.guard, self.now = HostGuard(), 0.0

    @rule(possible=st.none() | st.frozensets(hosts, min_size=1))
    def learn(self, possible: frozenset[str] | None) -> None:
        self.guard.possible = possible

    @rule(host=hosts)
    def fail(self, host: str) -> None:
        before = self.guard.hold(host, self.now)
        if self.guard.failed(host, WHY, self.now):
            assert not before, "what is shut is not shut again"

    @rule()
    def pardon(self) -> None:
        self.guard.pardon()
        assert not self.guard.shut(self.now)
        assert not self.guard.suspects()

    @rule(host=hosts)
    def work(self, host: str) -> None:
        self.guard.worked(host)
        assert host not in self.guard.shut(self.now)

    @rule(host=hosts)
    def lose(self, host: str) -> None:
        self.guard.lost(host, Diagnosis(cause=Cause.HOST_LOST), self.now)

    @rule(seconds=st.floats(0, 2 * LONGEST_BAN))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_host_is_always_open(self) -> None:
        shut = self.guard.shut(self.now)
        assert not shut or (self.guard.possible or {*"abc"}) - {*shut}
        assert {*shut} <= {*self.guard.suspects()}

    @invariant()
    def who_is_held_is_shut_and_everything_is_told(self) -> None:
        shut = self.guard.shut(self.now)
        held = [host for host in "abc" if self.guard.hold(host, self.now)]
        assert set(held) <= set(shut)
        assert len(list(self.guard.sentences(self.now))) == len(shut)
        assert all(self.guard.hold(h, self.now) <= LONGEST_BAN for h in held)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

"""The reconciler: keeps as many nodes as were asked for, and no more.

One loop, woken by events and by a slow tick. Each turn looks for nodes that have gone
silent, and asks for what is missing, as one array. Knows no Dask.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from dask_gridengine.clock import steady_time
from dask_gridengine.errors import (
    DrmCommunicationError,
    GridFull,
    LauncherError,
    SubmitError,
)
from dask_gridengine.exit_causes import Cause, Diagnosis, number_of_nodes
from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.reconcile.idle_queue_slots import IdleQueueSlots
from dask_gridengine.reconcile.liveness import diagnose_silence, silent_for
from dask_gridengine.reconcile.rate_limiter import RateLimiter
from dask_gridengine.reconcile.suspensions import Suspensions

logger = logging.getLogger(__name__)

TICK = 2.0  # seconds between looks when nothing happens
#: A loop that stood still so long was suspended (SIGSTOP, a closed lid), or is blocked:
#: what it has not heard meanwhile is no sign of anything.
SUSPEND_THRESHOLD = 5 * TICK
#: Seconds after that in which failures are put down to it.
RESUME_GRACE = 20.0
#: A node that has worked so long was no accident; then losses are replaced at once.
PROVEN = 10.0
#: Seconds between single tries while all nodes fail; they double.
FIRST_PROBE, LONGEST_PROBE = 60.0, 1800.0
#: Seconds before the grid is asked again where nodes could run, if it did not tell.
HOSTS_AGAIN = 300.0
#: Seconds between submissions while the master does not answer; they double.
FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Hands:
    """What the reconciler has done by the cluster."""

    planned: Callable[[], int]  # names there are: queued, starting, working
    add: Callable[[int], Awaitable[None]]  # so many names, all that lacks as one array
    cancel: Callable[[list[NodeRecord]], Awaitable[None]]
    on_resume: Callable[[float], None]  # after having stood still for so many seconds
    on_persistent_failure: Callable[
        [], None
    ]  # no worker can come: whoever waits is to hear of it
    note: Callable[[str], None]  # into the cluster's log
    #: Names of workers without a heartbeat for this many seconds.
    quiet: Callable[[float], Collection[str]] = lambda seconds: ()
    #: A node is suspended by the grid now, or not any more.
    suspended: Callable[[NodeRecord], None] = lambda record: None


class Reconciler:
    """Desired minus queued minus starting minus alive, and what is done about it.

    It never asks for more nodes than makes `desired` of those that are queued, starting
    or working; those that sleep at the door of a shut host, and those on their way out,
    are not counted.

    Parameters
    ----------
    fleet
        The nodes there are.
    hands
        What to act with.
    missed
        Seconds a worker may be missing at the scheduler while its node lives.
    ttl
        Seconds after which Dask ends a silent worker; None is never.
    clock
        Seconds, the roster's; tests give their own.
    """

    def __init__(
        self,
        fleet: Fleet,
        hands: Hands,
        *,
        missed: float,
        ttl: float | None = None,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._clock = clock
        self.fleet, self._hands, self._missed = fleet, hands, missed
        self.desired = 0
        #: Nodes that somebody took away on purpose since the user last said a number.
        self.deleted_nodes: list[NodeRecord] = []
        self._shut: set[str] = set()  # hosts people have been told of
        self._unsaid: list[NodeRecord] = []
        self.said: list[str] = []  # what people should know of its decisions
        self._budget = RateLimiter(self._clock())
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._last_turn = self._clock()
        self._woke_at = float("-inf")
        self._probes, self._next_probe = 0, 0.0
        self._submission_failed, self._retry_at = 0, 0.0
        self._ask_hosts_at = float("-inf")
        self.outage = ""  # why nothing can be submitted now
        self._places = IdleQueueSlots(fleet.options.place_grace)
        self.suspensions = Suspensions(
            fleet,
            quiet=hands.quiet,
            changed=self._suspended,
            cancel=hands.cancel,
            expect_end=self.expect_end,
            say=self._say,
            ttl=ttl,
            clock=clock,
        )
        self._free = 0  # replacements of nodes that end as planned

    # What happens

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._last_turn = self._clock()
        self._task = asyncio.create_task(self._run(), name="gridengine upkeep")

    async def stop(self) -> None:
        """Touch nothing any more. Idempotent."""
        self._stopped = True
        if self._task is not None:
            # `wait_for` may swallow this (python/cpython#86296), hence the flag.
            self._task.cancel()
            self._event.set()
            await asyncio.wait([self._task])
        await self.suspensions.stop()

    def plan(self, desired: int) -> None:
        """From now on that many; adaptive scaling says so now and then."""
        self.desired = desired
        self.deleted_nodes.clear()
        self._budget.resize(desired)
        self.wake()

    def want(self, desired: int) -> None:
        """The user has said a number: plan it, and try anew whatever has failed."""
        self.plan(desired)
        self.fleet.failures.reset()
        self._probes, self._next_probe = 0, 0.0
        self._retry_at = 0.0
        self._budget.renew(self._clock())

    def expect_end(self) -> None:
        """A node will end as planned: what stands in for it costs no budget."""
        self._free += 1
        self.wake()

    def tell(self, text: str) -> None:
        """People should know this: into the log, and among what is explained."""
        self._say(text)

    def wake(self) -> None:
        """Something has changed: look at once."""
        self._event.set()

    def over(self, record: NodeRecord, *, wanted: bool) -> None:
        """Nothing more comes of a node.

        Parameters
        ----------
        record
            The node.
        wanted
            Whether it was still counted on.
        """
        cause = record.diagnosis.cause if record.diagnosis else Cause.UNKNOWN
        if wanted and cause.on_purpose and cause is not Cause.CANCELLED:
            self.desired = max(0, self.desired - 1)
            self.deleted_nodes.append(record)
            self._unsaid.append(record)
        self.wake()

    @property
    def persistent_failure(self) -> Cause | None:
        """Why nothing is asked for any more, but for one node now and then.

        That one is no hope while it is submitted or queues, or whoever looks just then
        would be told that all is well; it is from its arrival on.
        """
        fleet = self.fleet
        counts = fleet.registry.counts
        if counts[NodeState.IMPORTING] + counts[NodeState.ARRIVED] - fleet.held:
            return None
        possible = fleet.blocklist.possible
        return fleet.failures.persistent_failure(
            hosts=None if possible is None else len(possible)
        )

    # What it does

    async def _run(self) -> None:
        while not self._stopped:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._event.wait(), self._pause())
            self._event.clear()
            if self._stopped:
                return
            try:
                await self.turn()
            except Exception:
                logger.exception("a turn of the upkeep failed")

    def _pause(self) -> float:
        """Until the next look: a tick, or less if something is due before."""
        now = self._clock()
        due = TICK
        if (
            any(self._lack())
            and not self.persistent_failure
            and not self.fleet.admission.submitting
        ):
            budget = 0.0 if self._free else self._budget.wait(now)
            waits = (budget, self._retry_at - now, 0.05)
            due = min(due, max(waits))
        return due

    async def turn(self) -> None:
        """Look once, and do what is to be done."""
        now = self._clock()
        suspended_seconds = now - self._last_turn
        self._last_turn = now
        if suspended_seconds > SUSPEND_THRESHOLD:
            self._hands.on_resume(suspended_seconds)
            self._excuse(suspended_seconds)
            self._woke_at = now
        else:
            await self._look_for_silent()
        if now - self._woke_at < RESUME_GRACE:
            # The ends that are reported now are of nodes that did not find *us*.
            self.fleet.failures.reset()
            self.fleet.blocklist.clear()
            self._budget.note_success()
        self.fleet.reports.look()
        await self._look_at_hosts()
        self._note_success()
        self._log_deleted_nodes()
        await self._give_back_places()
        await self._submit_backlog()
        await self._replace(self._clock())
        if self.persistent_failure is not None or (
            self.deleted_nodes and not self.desired
        ):
            self._hands.on_persistent_failure()
        self._last_turn = self._clock()  # a hanging master is no suspension

    def _excuse(self, seconds: float) -> None:
        """Nobody was silent while it was us who did not listen."""
        for record in self.fleet.registry.live.values():
            if record.suspended is None:
                self.fleet.registry.excuse(record, seconds)
            else:
                record.suspended += (
                    seconds  # the end of the suspension excuses the rest
                )

    async def _look_for_silent(self) -> None:
        now = self.fleet.registry.clock()
        gone: list[NodeRecord] = []
        ask: list[NodeRecord] = []
        for record in list(self.fleet.registry.live.values()):
            silent = silent_for(record, now, self._missed)
            if silent is None or record.suspended is not None:
                continue
            seconds, limit = silent
            if seconds >= limit:
                gone.append(record)
            elif seconds >= limit / 3 and record.asked is None:
                record.asked = now
                ask.append(record)
        await self.suspensions.look(ask)
        if ask:
            # The grid may know better, and then its notice is here before the time.
            await self.fleet.launcher.recheck([record.id for record in ask])
        if not gone:
            return
        live = self.fleet.registry.live.values()
        heard = {r.host for r in live if r.state is NodeState.WORKING and not r.lost}
        for record in gone:
            # A host that is lost takes all its nodes with it.
            self.fleet.give_up(
                record, diagnose_silence(record, now, record.host in heard)
            )
        await self._hands.cancel(gone)

    def _suspended(self, record: NodeRecord) -> None:
        self._hands.suspended(record)
        self.fleet.changed.set()

    async def _look_at_hosts(self) -> None:
        blocklist = self.fleet.blocklist
        if not blocklist.suspects():
            self._shut.clear()  # whoever is shut again is news
            return
        if blocklist.possible is None and self._clock() >= self._ask_hosts_at:
            self._ask_hosts_at = self._clock() + HOSTS_AGAIN
            native = self.fleet.request.native
            blocklist.possible = await self.fleet.launcher.hosts(native)
        now = self.fleet.registry.clock()
        shut = blocklist.blocked(now)
        for host, sentence in zip(shut, blocklist.sentences(now), strict=True):
            if host not in self._shut:
                self._say(sentence)
        self._shut = set(shut)

    def _log_deleted_nodes(self) -> None:
        """A line for all of one turn: somebody may have deleted a thousand."""
        unsupported_options, self._unsaid = self._unsaid, []
        if unsupported_options:
            first, count = unsupported_options[0], len(unsupported_options)
            assert first.diagnosis is not None
            who = str(first) if count == 1 else f"{count} nodes (e.g. {first})"
            told = first.diagnosis.sentence(who, first.id.job, many=count > 1)
            self._say(f"{told}; wanted from now on: {self.desired}")

    async def _give_back_places(self) -> None:
        registry = self.fleet.registry
        if self.fleet.admission.submitting:
            return
        if due := self._places.due(registry, registry.clock()):
            self._say(
                f"gave back {number_of_nodes(len(due))} that still queued and that"
                f" nobody has needed for {self.fleet.options.place_grace:g} s",
                logging.INFO,
            )
            await self._hands.cancel(due)

    async def _submit_backlog(self) -> None:
        """Ask for what is owed, as far as there is room. Nothing was lost for it."""
        registry = self.fleet.registry
        count = min(registry.backlog, self.fleet.arrays.room)
        late = self._clock() < self._retry_at or self.fleet.admission.submitting
        if not count or late or self.persistent_failure is not None:
            return
        registry.backlog -= count
        try:
            await self._hands.add(0)
        except LauncherError as exc:
            registry.backlog += count
            self.submission_failed(str(exc))
        else:
            self._answered()
            self.wake()  # the grid may want the rest as a further array

    def _note_success(self) -> None:
        now = self.fleet.registry.clock()
        for record in self.fleet.registry.live.values():
            if record.state is NodeState.WORKING and now - record.since > PROVEN:
                self._budget.note_success()
                return

    def _lack(self) -> tuple[int, int]:
        """Names that are missing, and nodes to ask for."""
        names = max(0, self.desired - self._hands.planned())
        return names, self.fleet.arrays.short(names)

    async def _replace(self, now: float) -> None:
        names, nodes = self._lack()
        if not names + nodes:
            self.outage = ""  # it does not matter any more
            self._free = 0
            return
        if now < self._retry_at or self.fleet.admission.submitting:
            return
        if self.persistent_failure is not None:
            waiting = self.fleet.registry.expected - self.fleet.held
            if not names or waiting or now < self._next_probe:
                return  # one that still queues will show it as well as another
            self._probed(now)
            names = nodes = 1
        free = min(nodes, self._free)
        charged = self._budget.grant(nodes - free, now)
        granted = free + charged
        # Those that stand in for nodes asleep at the door come all together.
        if nodes and granted < max(1, nodes - names):
            self._budget.give_back(charged)
            return
        names = min(names, names - nodes + granted)
        try:
            await self._hands.add(names)
        except (DrmCommunicationError, GridFull) as exc:
            self._budget.give_back(charged)
            self.submission_failed(str(exc))
        except SubmitError as exc:
            self._answered()
            refused = self.fleet.dialect.with_advice(rejection(exc))
            self.fleet.failures.rejected(refused)
            self._say(
                f"the grid refused {number_of_nodes(granted)}: {exc.reason.strip()}"
            )
        except LauncherError as exc:
            self._say(f"could not ask for {number_of_nodes(granted)}: {exc}")
        else:
            self._answered()
            self._free -= min(free, self._free)
            if granted:
                of = "lost ones" if charged else "those that leave"
                said = f"asked for {number_of_nodes(granted)} in place of {of}"
                self._say(said, logging.INFO)

    def _probed(self, now: float) -> None:
        pause = min(FIRST_PROBE * 2 ** min(self._probes, 20), LONGEST_PROBE)
        self._probes, self._next_probe = self._probes + 1, now + pause

    def submission_failed(self, why: str) -> None:
        """The grid did not answer, or is full of our jobs: so try later."""
        pause = min(FIRST_RETRY * 2 ** min(self._submission_failed, 20), LONGEST_RETRY)
        self._retry_at = self._clock() + pause
        self._submission_failed += 1
        if not self.outage:
            self._say(f"what is missing is asked for when the grid will have it: {why}")
        self.outage = why
        self.wake()

    def _answered(self) -> None:
        self._submission_failed, self._retry_at, self.outage = 0, 0.0, ""

    def _say(self, text: str, level: int = logging.WARNING) -> None:
        self.said.append(text)
        del self.said[:-100]
        self._hands.note(text)
        logger.log(level, "%s", text)


def rejection(exc: SubmitError) -> Diagnosis:
    """A refused array, as a diagnosis."""
    return Diagnosis(cause=Cause.REJECTED, detail=exc.reason.strip(), source="grid")

"""Jobs that were started one by one, and the thread that sees to them meanwhile.

    Job.start --> launch --> Crew --flight--> Lanes --task--> worker (`perform_once`)
                              |  <--landing---
                              +--> Run.end

There is one crew for each client, for as long as a job runs on it. A job is run once:
when its worker dies the job has ended. So it does not go through the engine, which
would try again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Queue, get_client, rejoin, secede

from gridengine import ending, reasons, schedulers
from gridengine.channel import Channel, new_name
from gridengine.controller import perform_once, ticket_name
from gridengine.engine import MOST_DEATHS, TICK, TROUBLE, Place
from gridengine.errors import WorkerDied
from gridengine.lanes import DEATHS, Flight, Landing
from gridengine.places import ClientPlace, TaskPlace, in_task
from gridengine.run import Run, Stopped, settle
from gridengine.sealed import Sealed
from gridengine.source import Batch
from gridengine.stoppable import StoppableLanes


def place_for(scheduler: Any) -> Any:
    """Where to run, as something that other threads than the caller's can use.

    Raises
    ------
    TypeError
        If `scheduler` is none, and makes none.
    """
    made = schedulers.place_of(scheduler)
    if isinstance(made, TaskPlace):
        return ClientPlace(get_client())  # a TaskPlace is for the task's own thread
    return made


logger = logging.getLogger(__name__)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Within this a task that waits for jobs lets others have its thread."""
    if not in_task():
        yield
        return
    secede()
    try:
        yield
    finally:
        rejoin()


@dataclass(slots=True, eq=False)
class Member:
    """A job under way."""

    job: Any
    run: Run
    flight: Flight
    sealed: Sealed  # the job, to be sent again if it was not begun
    resources: contextlib.ExitStack  # its session, and a scheduler of its own
    ticket: Queue | None = None  # holds one thing until the job is begun
    #: What came back each time a worker ended that had it, begun or not.
    deaths: list[BaseException] = field(default_factory=list)
    stopping: bool = False


def launch(job: Any, run: Run, scheduler: Any, *, listens: bool) -> None:
    """Start a job; returns when it has been sent off.

    Parameters
    ----------
    job
        What to run.
    run
        Is told how it ends.
    scheduler
        As for `Job`.
    listens
        Whether the host listens to it.

    Raises
    ------
    NotPicklable
        Before anything is started.
    GridEngineError
        If a cluster could not be started.
    """
    flight = _flight_of(job)
    sealed = Sealed.of(flight.batch.items, str(job))
    with contextlib.ExitStack() as stack:
        place = place_for(scheduler)
        if isinstance(scheduler, type):
            stack.callback(place.close)
        count = stack.enter_context(_counted(place))
        client = stack.enter_context(place.session(count))
        crew = Crew(client, place)
        member = Member(job, run, flight, sealed, stack.pop_all())
    with _registry:
        crew = _crews.setdefault(client, crew)
        crew.take(member)
    crew.send(member, listens=listens)


class Crew:
    """All jobs under way with one client, and the thread that waits for them."""

    def __init__(self, client: Client, place: Place) -> None:
        self._client, self._place = client, place
        self._channel_name = new_name()
        function = functools.partial(perform_once, self._channel_name)
        self._lanes = StoppableLanes(
            client,
            Sealed.of(function, "a job"),
            "Job",
            direct=place.direct,
            inline=place.inline,
        )
        self._members: dict[Flight, Member] = {}  # under _registry
        self._channel: Channel | None = None
        self._opening = threading.Lock()
        self._ticked = 0.0

    # In the thread that starts a job

    def take(self, member: Member) -> None:
        """Be there for one more. Call it within the registry."""
        self._members[member.flight] = member
        if len(self._members) == 1:
            name = f"{ending.WATCHERS}{member.run.name}"
            threading.Thread(target=self._watch, name=name, daemon=True).start()

    def send(self, member: Member, *, listens: bool) -> None:
        """Send it off, with the ticket that lets it begin."""
        run = member.run
        try:
            name = ticket_name(self._channel_name, run.ident)
            member.ticket = Queue(name, client=self._client)
            member.resources.callback(member.ticket.close)
            member.ticket.put(True)
            if listens:
                self._open_channel().add(run)
        except BaseException as exc:
            self._end(member, None, exc)
            raise
        run.stop = functools.partial(self._stop, member)
        run.explain = functools.partial(reasons.explain, self._place)
        self._lanes.send(member.flight, member.sealed)

    def _open_channel(self) -> Channel:
        with self._opening:
            if self._channel is None:
                self._channel = Channel(self._client, self._channel_name)
            return self._channel

    def _stop(self, member: Member, reason: Stopped) -> None:
        with _registry:
            if member.stopping:
                return  # its ticket is gone, which would look as if it had begun
            member.stopping = True
        by_force = not isinstance(self._place, ClientPlace)
        assert member.ticket is not None
        self._lanes.stop(member.flight, reason, member.ticket, by_force=by_force)

    # In the thread that waits

    def _watch(self) -> None:
        while True:
            with _registry:
                if not self._members:
                    return
            landing = self._lanes.land(TICK)
            try:
                self._tick(landing)
                if landing is not None and landing.flight in self._members:
                    self._landed(self._members[landing.flight], landing)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the jobs are told
                self._fail(exc)

    def _tick(self, landing: Landing | None) -> None:
        now = time.monotonic()
        if landing is None or now - self._ticked > TICK:
            self._ticked = now
            self._place.check()

    def _landed(self, member: Member, landing: Landing) -> None:
        if isinstance(landing.error, DEATHS) and not isinstance(landing.error, Stopped):
            self._died(member, landing.error, landing.at)
        elif landing.done is None:
            error = landing.error
            if isinstance(error, TROUBLE):
                error = reasons.noted(error, self._place)
            self._end(member, None, error)
        elif landing.done.failures:
            self._end(member, None, landing.done.failures[0].rebuild(alone=True))
        else:
            self._end(member, landing.done.values.open()[0], None)

    def _died(self, member: Member, error: BaseException, at: float) -> None:
        """Its worker ended: with it, or while it waited there for another to end."""
        self._place.check()
        member.deaths.append(error)
        assert member.ticket is not None
        if member.ticket.qsize() and len(member.deaths) < MOST_DEATHS:
            with _registry:
                del self._members[member.flight]
                member.flight = _flight_of(member.job)
                self._members[member.flight] = member
            self._lanes.send(member.flight, member.sealed)
            return
        why = reasons.of_deaths(self._place, member.deaths, at)
        died = WorkerDied(None, member.job._title, len(member.deaths), why)
        self._end(member, None, died)

    def _fail(self, error: Exception) -> None:
        """The place has come to its end, and with it all jobs that are under way."""
        with _registry:
            members = dict(self._members)
        with contextlib.suppress(Exception):  # the place may be gone altogether
            self._lanes.cancel({*members})
            self._place.abandon(self._lanes, {*members})
        for member in members.values():
            self._end(member, None, error)

    def _end(self, member: Member, value: Any, error: BaseException | None) -> None:
        if self._channel is not None:
            self._channel.flush()
        with _registry:
            self._members.pop(member.flight, None)
            if is_last := not self._members:
                _crews.pop(self._client, None)
        if is_last and self._channel is not None:
            self._channel.close()
        try:
            member.resources.close()
        except Exception:
            # With the cluster gone there is nothing left to close. The other jobs, and
            # who waits for this one, must hear of the end all the same.
            logger.debug("could not let go of %s", member.run.name, exc_info=True)
        finally:
            settle(member.job, member.run, value, error)


def _flight_of(job: Any) -> Flight:
    return Flight(batch=Batch(start=0, items=[job]), seconds=None, stop=False)


@contextlib.contextmanager
def _counted(place: object) -> Iterator[int]:
    """How many jobs there are at a place, with one more for as long as this lasts."""
    with _registry:
        _counts[id(place)] += 1
        count = _counts[id(place)]
    try:
        yield count
    finally:
        with _registry:
            _counts[id(place)] -= 1
            if not _counts[id(place)]:
                del _counts[id(place)]


_registry = threading.Lock()
_crews: dict[Client, Crew] = {}
_counts: Counter[int] = Counter()  # jobs by the id of their place, which they keep


def _forget() -> None:
    """A child by fork has none of the threads."""
    global _registry
    _registry = threading.Lock()
    _crews.clear()
    _counts.clear()


os.register_at_fork(after_in_child=_forget)

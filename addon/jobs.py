# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of jobs and what can happen to each. No bpy.

    QUEUED -> STARTING -> HELD -> RUNNING -> READY -> DONE
       |          |         |        |
       +----------+---------+--------+--> FAILED or CANCELLED

QUEUED     waits for the one before it
STARTING   the engine is being started for it
HELD       another Blender has the graphics card; its turn will come
RUNNING    the engine works on it
READY      its mesh is on disk; the caller takes it and calls `done`
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .client import EngineProcess, Event, Exited
from .environment import EngineError
from .estimates import Estimates
from .turns import Turns
from .wire import protocol


class State(Enum):
    QUEUED = "Waiting"
    STARTING = "Starting the engine"
    HELD = "Waiting for another Blender"
    RUNNING = "Running"
    READY = "Ready"
    DONE = "Done"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


ACTIVE = frozenset({State.QUEUED, State.STARTING, State.HELD, State.RUNNING})


@dataclass(frozen=True)
class JobError:
    """Why a job failed: what was found, what to try, and what the log says."""

    code: str
    message: str
    hint: str = ""
    detail: str = ""


@dataclass
class Job:
    """One request to the engine and what became of it."""

    request: protocol.Generate | protocol.MakeMesh
    name: str
    context: Any = None
    """What the caller wants to know again when the job is ready."""
    state: State = State.QUEUED
    stage: str = ""
    fraction: float = 0.0
    text: str = ""
    remaining: float | None = None
    """Seconds until it will be done, those before it in the queue included; None while there is no saying."""
    notices: list[str] = field(default_factory=list)
    result: protocol.Result | None = None
    error: JobError | None = None
    cancelling: bool = False
    started: float = 0.0
    heard: float = 0.0
    """When the engine was last heard of it, on the queue's clock."""
    seconds: float = 0.0
    stages: list[tuple[str, float]] = field(default_factory=list)
    """Names of the stages it came to, and when; the first is the start of the engine, which has no name."""

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    def fail(self, error: JobError) -> None:
        self.state, self.error = State.FAILED, error

    def done(self) -> None:
        """The caller has taken the mesh of a READY job."""
        assert self.state is State.READY, self.state
        self.state = State.DONE

    def lasted(self, now: float) -> list[tuple[str, float]]:
        """The stages it came to and how long each took, the last one until now."""
        ends = [begin for _, begin in self.stages[1:]] + [now]
        return [(name, end - begin) for (name, begin), end in zip(self.stages, ends, strict=True)]


class JobQueue:
    """Runs jobs one after another in one engine, which is started when needed and again after it died.

    `pump` is called often (by a timer in a window, by `wait` without one) and never waits itself.
    """

    def __init__(
        self,
        start_engine: Callable[[], EngineProcess],
        clock: Callable[[], float] = time.monotonic,
        estimates: Estimates | None = None,
    ) -> None:
        self.jobs: list[Job] = []
        self.engine: EngineProcess | None = None
        self.estimates = estimates or Estimates()
        self.patience: float | None = None
        """Seconds without a word from the engine after which a running job is given up, or None for no limit."""
        self.turns_for: Callable[[protocol.Hello], Turns | None] = lambda _hello: None
        """Whether an engine takes turns with those of other Blenders."""
        self.trouble: JobError | None = None
        """Why the last engine could not be used at all, until one can."""
        self.facts: protocol.Facts | None = None
        """What the engine last told of itself."""
        self.idle_since: float | None = None
        """When the engine last had nothing to do, on the queue's clock; None while it works or there is none."""
        self._start_engine = start_engine
        self._clock = clock
        self._current: Job | None = None
        self._turns: Turns | None = None
        self._asked = False
        self._is_dismissed = False  # the engine was told to end, by no fault of the job that waits for one

    @property
    def current(self) -> Job | None:
        """The job the engine works on or is being started for."""
        return self._current

    @property
    def waiting(self) -> list[Job]:
        return [job for job in self.jobs if job.state is State.QUEUED]

    @property
    def busy(self) -> bool:
        return any(job.active for job in self.jobs)

    @property
    def turns(self) -> Turns | None:
        """The current job's place among those of other Blenders, where the engine takes turns."""
        return self._turns

    def idle_seconds(self) -> float:
        """How long the engine has had nothing to do."""
        return self._clock() - self.idle_since if self.idle_since is not None else 0.0

    def find(self, job_id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def submit(self, request: protocol.Generate | protocol.MakeMesh, name: str, context: Any = None) -> Job:
        """Puts a request at the end of the queue, under an id of its own."""
        job = Job(replace(request, id=uuid.uuid4().hex), name, context)
        self.jobs.append(job)
        self._estimate()
        return job

    def move(self, job: Job, steps: int) -> None:
        """Moves a waiting job so many places back in the queue, or forward where `steps` is negative."""
        order = self.waiting
        if job not in order:
            return
        places = [place for place, each in enumerate(self.jobs) if each.state is State.QUEUED]
        target = min(max(order.index(job) + steps, 0), len(order) - 1)
        order.remove(job)
        order.insert(target, job)
        for place, each in zip(places, order, strict=True):
            self.jobs[place] = each
        self._estimate()

    def cancel(self, job: Job) -> None:
        """Stops a job: at once when it waits, else when the engine has heard."""
        if job.state in (State.QUEUED, State.STARTING, State.HELD):
            job.state = State.CANCELLED
            if job is self._current:
                self._release(job)
        elif job.state is State.RUNNING and not job.cancelling and self.engine is not None:
            job.cancelling, job.remaining = True, None
            self.engine.cancel(job.id)
        self._estimate()

    def cancel_all(self) -> None:
        """Stops all jobs, those that wait first, so that none of them begins."""
        for job in [*self.waiting, *([self._current] if self._current is not None else [])]:
            self.cancel(job)

    def forget(self, job: Job) -> None:
        """Drops a finished job from the list."""
        if not job.active and job in self.jobs:
            self.jobs.remove(job)

    def pump(self) -> bool:
        """Takes what the engine said and starts the next job. Returns whether anything changed that is shown."""
        events = self.engine.poll() if self.engine is not None else []
        for event in events:
            self._take(event)
        lost = self._lose_patience()
        advanced = self._advance()
        return self._estimate() or advanced or lost or any(not isinstance(event, protocol.Facts) for event in events)

    def wait(self, job: Job, timeout: float | None = None, on_change: Callable[[Job], None] | None = None) -> State:
        """Pumps until `job` is no longer active; one that takes longer than `timeout` seconds is ended and fails."""
        end = None if timeout is None else self._clock() + timeout
        while job.active:
            if self.pump():
                if on_change is not None:
                    on_change(job)
            else:
                time.sleep(0.02)
            if end is not None and self._clock() > end and job.active:
                self._give_up(job, f"No result after {timeout:g} s.", "Give it more time, or see the log.")
        return job.state

    def ask(self) -> None:
        """Asks the engine for facts about itself, unless it still owes an answer."""
        if self.engine is not None and self.engine.hello is not None and self.engine.alive and not self._asked:
            self._asked = self.engine.send(protocol.Ask())

    def unload(self) -> bool:
        """Ends an engine that has nothing to do, which gives all its memory back; the next job starts another.

        Returns whether there was one. Does not wait for its end.
        """
        if self.engine is None or self.busy or not self.engine.alive:
            return False
        self._dismiss("UNLOADED", "The engine was unloaded.", "")
        return True

    def _dismiss(self, code: str, message: str, hint: str) -> None:
        if self.engine is not None:
            self._is_dismissed = True
            self.engine.end(code, message, hint)

    def abort(self, error: JobError) -> None:
        """Fails the current job, whose engine is ended without waiting: what it would say is not understood."""
        if (job := self._current) is not None:
            job.fail(error)
            self._release(job)
            self._dismiss(error.code, error.message, error.hint)

    def stop(self) -> None:
        """Ends the engine and every active job."""
        for job in self.jobs:
            if job.active:
                job.state, job.remaining = State.CANCELLED, None
        self._current = None
        self._leave_turn()
        if self.engine is not None:
            self.engine.stop()
            self._forget_engine()

    def _forget_engine(self) -> None:
        self.engine = self.idle_since = self.facts = None
        self._asked = self._is_dismissed = False

    def _give_up(self, job: Job, message: str, hint: str) -> None:
        error = JobError("TIMEOUT", message, hint, self.engine.log_tail() if self.engine is not None else "")
        if job is self._current:
            self.abort(error)
        else:
            job.fail(error)

    def _lose_patience(self) -> bool:
        job = self._current
        if job is None or self.patience is None or job.state is not State.RUNNING or job.cancelling:
            return False
        if self._clock() - job.heard <= self.patience:
            return False
        self._give_up(job, f"The engine said nothing for {self.patience / 60:.3g} minutes.", "Try again; see the log.")
        return True

    def _take(self, event: Event) -> None:
        if isinstance(event, Exited):
            self._engine_ended(event)
            return
        if isinstance(event, protocol.Hello):
            self.trouble = None  # `_advance` goes on
            return
        if isinstance(event, protocol.Facts):
            self.facts, self._asked = event, False
            return
        job = self._current
        if job is None or event.id not in (job.id, ""):
            return  # late words of a finished job are of no interest
        job.heard = self._clock()
        if isinstance(event, protocol.Progress):
            if event.stage != job.stage:
                job.stages.append((event.stage, job.heard))
            job.stage, job.fraction, job.text = event.stage, min(max(event.fraction, 0.0), 1.0), event.text
        elif isinstance(event, protocol.Notice):
            job.notices.append(event.text)
        elif isinstance(event, protocol.Result):
            self.estimates.learn(job.request, job.lasted(job.heard))
            if job.cancelling:  # the engine was done before it heard of that
                job.state = State.CANCELLED
            else:
                job.state, job.result, job.fraction = State.READY, event, 1.0
            self._release(job)
        elif isinstance(event, protocol.Error):
            job.fail(JobError(event.code, event.message, event.hint, event.detail))
            self._release(job)
        else:
            job.state = State.CANCELLED
            self._release(job)

    def _engine_ended(self, event: Exited) -> None:
        assert self.engine is not None
        was_usable = self.engine.hello is not None or self._is_dismissed
        self._forget_engine()
        job = self._current
        if not was_usable:
            self.trouble = JobError(event.code, event.message, event.hint, event.log_tail)
        if job is None or (was_usable and job.state is not State.RUNNING):
            return  # a job that it was never given gets another engine
        if job.cancelling:
            job.state = State.CANCELLED
        else:
            job.fail(JobError(event.code, event.message, event.hint, event.log_tail))
        self._release(job)

    def _release(self, job: Job) -> None:
        now = self._clock()
        job.seconds, job.remaining = now - job.started, None
        self._current = None
        if self.engine is not None:
            self.idle_since = now
            if self._turns is not None and self._turns.is_awaited():
                self.engine.send(protocol.Unload())  # the card's memory is for the next
        self._leave_turn()

    def _leave_turn(self) -> None:
        if self._turns is not None:
            self._turns.leave()
            self._turns = None

    def _advance(self) -> bool:
        """Moves the current job, or the next one, a step on."""
        if self._current is None:
            if not (waiting := self.waiting):
                return False
            self._current, now = waiting[0], self._clock()
            self._current.state, self._current.started, self._current.stages = State.STARTING, now, [("", now)]
        job = self._current
        if job.state not in (State.STARTING, State.HELD):
            return False
        if self.engine is None:
            try:
                self.engine = self._start_engine()
            except EngineError as error:
                self.trouble = JobError(error.code, error.message, error.hint)
                job.fail(self.trouble)
                self._release(job)
            return True
        if self.engine.hello is None or not self.engine.alive:
            return False  # it starts, or ends to be started anew
        before = job.state
        if not self._has_turn(job, self.engine.hello):
            return job.state is not before
        if self.engine.send(job.request):
            job.state, job.heard, self.idle_since = State.RUNNING, self._clock(), None
        return True

    def _has_turn(self, job: Job, hello: protocol.Hello) -> bool:
        """Whether no other Blender comes before us."""
        if self._turns is None:
            self._turns = self.turns_for(hello)
        if self._turns is None or self._turns.ask():
            return True
        job.state, job.text = State.HELD, self._turns.holder()
        return False

    def _estimate(self) -> bool:
        """Says of each job when it will be done. Returns whether anybody would see a difference."""
        shown = [_shown(job) for job in self.jobs]
        now, before = self._clock(), 0.0 if self._current is None else None
        if (job := self._current) is not None and not job.cancelling:
            running = job.state is not State.HELD  # how long another Blender works nobody knows
            job.remaining = self.estimates.remaining(job.request, job.lasted(now), job.fraction) if running else None
            before = job.remaining
        for job in self.waiting:
            own = self.estimates.whole(job.request) if before is not None else None
            before = job.remaining = None if own is None or before is None else before + own
        return shown != [_shown(job) for job in self.jobs]


def _shown(job: Job) -> int | None:
    return None if job.remaining is None else round(job.remaining)

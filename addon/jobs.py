# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of jobs and what can happen to each. No bpy.

    QUEUED -> STARTING -> RUNNING -> READY -> DONE
       |          |          |
       +----------+----------+--> FAILED or CANCELLED

QUEUED     waits for the one before it
STARTING   the engine is being started for it
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
from .wire import protocol


class State(Enum):
    QUEUED = "Waiting"
    STARTING = "Starting the engine"
    RUNNING = "Running"
    READY = "Ready"
    DONE = "Done"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


ACTIVE = frozenset({State.QUEUED, State.STARTING, State.RUNNING})


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
    notices: list[str] = field(default_factory=list)
    result: protocol.Result | None = None
    error: JobError | None = None
    cancelling: bool = False
    started: float = 0.0
    seconds: float = 0.0

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


class JobQueue:
    """Runs jobs one after another in one engine, which is started when needed and again after it died.

    `pump` is called often (by a timer in a window, by `wait` without one) and never waits itself.
    """

    def __init__(self, start_engine: Callable[[], EngineProcess], clock: Callable[[], float] = time.monotonic) -> None:
        self.jobs: list[Job] = []
        self.engine: EngineProcess | None = None
        self._start_engine = start_engine
        self._clock = clock
        self._current: Job | None = None

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

    def find(self, job_id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    def submit(self, request: protocol.Generate | protocol.MakeMesh, name: str, context: Any = None) -> Job:
        """Puts a request at the end of the queue, under an id of its own."""
        job = Job(replace(request, id=uuid.uuid4().hex), name, context)
        self.jobs.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Stops a job: at once when it waits, else when the engine has heard."""
        if job.state in (State.QUEUED, State.STARTING):
            job.state = State.CANCELLED
            if job is self._current:
                self._current = None
        elif job.state is State.RUNNING and not job.cancelling and self.engine is not None:
            job.cancelling = True
            self.engine.cancel(job.id)

    def forget(self, job: Job) -> None:
        """Drops a finished job from the list."""
        if not job.active:
            self.jobs.remove(job)

    def pump(self) -> bool:
        """Takes what the engine said and starts the next job. Returns whether anything changed."""
        events = self.engine.poll() if self.engine is not None else []
        for event in events:
            self._take(event)
        return self._advance() or bool(events)

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
                self._give_up(job, f"No result after {timeout:g} s.")
        return job.state

    def stop(self) -> None:
        """Ends the engine and every active job."""
        for job in self.jobs:
            if job.active:
                job.state = State.CANCELLED
        self._current = None
        if self.engine is not None:
            self.engine.stop()
            self.engine = None

    def _give_up(self, job: Job, message: str) -> None:
        job.fail(JobError("TIMEOUT", message, "Give it more time, or see the log."))
        if job is self._current:
            self._release(job)
            if self.engine is not None:
                self.engine.stop()
                self.engine = None

    def _take(self, event: Event) -> None:
        if isinstance(event, Exited):
            self._engine_ended(event)
            return
        job = self._current
        if job is None or isinstance(event, protocol.Hello) or event.id not in (job.id, ""):
            return  # a hello is answered by `_advance`; late words of a finished job are of no interest
        if isinstance(event, protocol.Progress):
            job.stage, job.fraction, job.text = event.stage, min(max(event.fraction, 0.0), 1.0), event.text
        elif isinstance(event, protocol.Notice):
            job.notices.append(event.text)
        elif isinstance(event, protocol.Result):
            job.state, job.result, job.fraction = State.READY, event, 1.0
            self._release(job)
        elif isinstance(event, protocol.Error):
            job.fail(JobError(event.code, event.message, event.hint, event.detail))
            self._release(job)
        else:
            job.state = State.CANCELLED
            self._release(job)

    def _engine_ended(self, event: Exited) -> None:
        self.engine = None
        if (job := self._current) is None:
            return
        if job.cancelling:
            job.state = State.CANCELLED
        else:
            job.fail(JobError(event.code, event.message, event.hint, event.log_tail))
        self._release(job)

    def _release(self, job: Job) -> None:
        job.seconds = self._clock() - job.started
        self._current = None

    def _advance(self) -> bool:
        """Moves the current job, or the next one, a step on."""
        if self._current is None:
            if not (waiting := self.waiting):
                return False
            self._current = waiting[0]
            self._current.state, self._current.started = State.STARTING, self._clock()
        job = self._current
        if job.state is not State.STARTING:
            return False
        if self.engine is None:
            try:
                self.engine = self._start_engine()
            except EngineError as error:
                job.fail(JobError(error.code, error.message, error.hint))
                self._release(job)
            return True
        if self.engine.hello is None or not self.engine.alive:
            return False  # it starts, or ends to be started anew
        self.engine.send(job.request)
        job.state = State.RUNNING
        return True

# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine behind the wire of `engine.protocol`: reads requests, runs one job after another, answers.

    reader thread                               main thread, the only one that computes
      line -> message -> queue  ------------->    job -> pipeline -> result, error or cancelled
      cancel: marks the job                       every report of progress looks at the mark
      ask: answers with facts at once
      end of stdin: the parent is gone, exit at once

Descriptor 1 is kept privately and then pointed at stderr, and descriptor 0 at nothing, so that neither a library's
print nor a child process can touch the wire.
"""

import contextlib
import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from engine import __version__
from engine.device import choose_device, process_memory
from engine.errors import Cancelled, explain
from engine.options import mesh_options
from engine.paths import lod_paths, part_of, splats_path
from engine.protocol import (
    PROTOCOL,
    Ask,
    BadMessage,
    Cancel,
    CancelledJob,
    Error,
    Facts,
    Generate,
    Hello,
    MakeMesh,
    Message,
    Notice,
    Progress,
    Reply,
    Result,
    Shutdown,
    Unload,
    decode,
    encode,
)

if TYPE_CHECKING:
    from engine.generators.base import Generator

MAX_LINE = 1 << 20
"""Longest line that is read, in bytes: requests are paths and numbers."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two messages of progress within a stage: as often as a panel is drawn."""

LoadGenerator = Callable[[str], "Generator"]


@dataclass
class Job:
    """A request on its way to an answer."""

    request: Generate | MakeMesh
    running: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)


def serve(load: LoadGenerator | None = None) -> NoReturn:
    """Speaks the wire on this process's stdin and stdout until told to stop. `load` loads a generator by name."""
    requests, replies = _take_wire()
    Server(requests, replies, load).run()


def _take_wire() -> tuple[BinaryIO, BinaryIO]:
    """Private copies of descriptors 0 and 1, which then lead nowhere and to stderr."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin, sys.stdout = open(os.devnull), sys.stderr  # noqa: SIM115
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (requests, replies):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


class Server:
    """One parent, one wire, one job at a time."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO, load: LoadGenerator | None = None) -> None:
        self._requests, self._replies = requests, replies
        self._load = load or _load_bundled
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue[Job | Unload] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}  # waiting and running, by id
        self._guard = threading.Lock()  # of _jobs and of what is said about them
        self._generators: dict[str, Generator] = {}

    def run(self) -> NoReturn:
        """Says hello, then works until `shutdown` or the end of stdin ends the process."""
        device = choose_device()
        self._send(Hello(PROTOCOL, __version__, [str(device)], device.card))
        threading.Thread(target=self._read, name="wire", daemon=True).start()
        # What every job imports, while the user still looks at the panel. A missing package is told by the job.
        with contextlib.suppress(ImportError):
            import engine.pipeline  # noqa: F401
        while True:
            job = self._queue.get()
            if isinstance(job, Unload):
                self._generators.clear()
                gc.collect()
            elif self._start(job):
                self._end(job, self._answer(job))

    # ---- reader thread ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Takes requests off the wire until it ends."""
        while line := self._read_line():
            try:
                self._take(decode(line))
            except BadMessage as error:
                named = error.id if error.id not in self._jobs else ""  # a job under way ends by its own reply only
                self._send(Error(named, "BAD_MESSAGE", str(error), "Update the add-on and the engine together."))
        self._leave()

    def _read_line(self) -> bytes:
        """The next line that is not blank; nothing at the end of stdin. A line too long is skipped and answered."""
        while line := self._requests.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = self._requests.readline(MAX_LINE)
                self._send(Error("", "BAD_MESSAGE", f"Expected lines below {MAX_LINE:,} bytes, found a longer one."))
            elif line.strip():
                return line
        return b""

    def _take(self, message: Message) -> None:
        """Queues a job, or acts on the request at once."""
        if isinstance(message, Generate | MakeMesh):
            job = Job(message)
            with self._guard:
                if message.id in self._jobs:
                    raise BadMessage(f"Expected a new id, found {message.id!r}, which a job already has.")
                self._jobs[message.id] = job
            self._queue.put(job)
        elif isinstance(message, Cancel):
            with self._guard:
                job = self._jobs.get(message.id)
                if job and not job.running:  # it never starts: `_start` no longer finds it
                    del self._jobs[message.id]
                    self._send(CancelledJob(message.id))
                elif job:
                    job.cancelled.set()
        elif isinstance(message, Ask):
            self._send(Facts(process_memory(), networks=sorted(tuple(self._generators))))
        elif isinstance(message, Unload):
            self._queue.put(message)
        elif isinstance(message, Shutdown):
            self._leave()
        else:
            raise BadMessage(f"Expected a request, found the reply {message.kind!r}.")

    def _leave(self) -> NoReturn:
        """Ends the process at once, whatever it is doing: nobody waits for the answer any more.

        Takes no lock: the main thread may hold it for ever, writing to a pipe that nobody empties.
        """
        for job in list(self._jobs.values()):
            if job.running:
                lods = job.request.options.get("lods")
                output = job.request.output
                for path in (output, splats_path(output), *lod_paths(output, lods if lods in (1, 2, 3) else 0)):
                    with contextlib.suppress(OSError):
                        part_of(path).unlink(missing_ok=True)
        with contextlib.suppress(KeyError, AttributeError):  # not imported yet, or just being imported: no children
            sys.modules["engine.pipeline"].stop_children()
        if os.name != "nt" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # also a child that has only just been started
        os._exit(0)

    # ---- main thread ------------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> bool:
        """Whether the job is still wanted; from now on it ends with the reply of `_answer`."""
        with self._guard:
            job.running = self._jobs.get(job.request.id) is job
            return job.running

    def _end(self, job: Job, reply: Reply) -> None:
        with self._guard:
            del self._jobs[job.request.id]
            self._send(reply)

    def _answer(self, job: Job) -> Reply:
        """Does the job; whatever happens becomes exactly one reply."""
        request = job.request
        try:
            report = self._do(job)
        except (Exception, SystemExit) as error:
            if isinstance(error, Cancelled) or job.cancelled.is_set():
                return CancelledJob(request.id)
            detail = "".join(traceback.format_exception(error))
            sys.stderr.write(detail)
            code, message, hint = explain(error)
            return Error(request.id, code, message, hint, detail)
        files = {"mesh": request.output, **{f"lod{k}": path for k, path in enumerate(report["lods"], 1)}}
        if "saved_splats" in report:
            files["splats"] = report["saved_splats"]
        return Result(request.id, files, report)

    def _do(self, job: Job) -> dict[str, Any]:
        """Runs the pipeline for one job and returns its report."""
        from engine.pipeline import picture_to_mesh, splats_to_mesh

        request = job.request
        told, at = "", 0.0

        def report(stage: str, fraction: float, text: str) -> None:
            nonlocal told, at
            if job.cancelled.is_set():
                raise Cancelled
            now = time.monotonic()
            if stage != told or now - at >= PROGRESS_INTERVAL:
                told, at = stage, now
                self._send(Progress(request.id, stage, round(fraction, 4), text))

        def warn(text: str) -> None:
            self._send(Notice(request.id, text))

        if isinstance(request, MakeMesh):
            return splats_to_mesh(request.splats, request.output, mesh_options(request.options), report, warn)
        options = mesh_options({"seed": request.seed, **request.options})
        if request.generator not in self._generators:
            report("start", 0.0, "Loading the network")
            self._generators[request.generator] = self._load(request.generator)
        generator = self._generators[request.generator]
        return picture_to_mesh(request.picture, request.output, generator, options, report, warn)

    # ---- both threads -----------------------------------------------------------------------------------------------

    def _send(self, message: Reply) -> None:
        """Writes one line. A wire that is closed means the parent has gone."""
        try:
            with self._writing:
                self._replies.write(encode(message))
                self._replies.flush()
        except OSError:
            os._exit(0)


def _load_bundled(name: str) -> "Generator":
    from engine.generators.base import load_generator

    return load_generator(name)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the engine as a child process, speaks `engine.protocol` with it, and ends it. No bpy.

One thread starts the child, which can take a while on a busy machine, and reads its stdout into a queue; everything
else happens in the caller's thread, without waiting.
The child leaves when its stdin closes, so it cannot outlive this process however that one ends.
"""

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .environment import EngineError, clean_environment
from .wire import protocol

START_SECONDS = 120
"""How long an engine may take to say hello: the first start compiles its kernels."""
CANCEL_GRACE_SECONDS = 1.2
"""How long a cancelled job may take to stop by itself before the engine is ended: together with the two below, less
than the two seconds after which the machine is to be free again."""
LEAVE_GRACE_SECONDS = 0.3
"""How long an engine may take to leave after its stdin was closed, and again after it was told to terminate."""
STOP_GRACE_SECONDS = 3
LOG_TAIL_BYTES = 8192
LOG_TAIL_LINES = 12
LOGS_KEPT = 10

_WINDOWS_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
_KILL = signal.SIGTERM if os.name == "nt" else signal.SIGKILL
_OUT_OF_MEMORY = (
    "Perhaps the system ended it because memory ran out: close other programs, or choose a lower resolution or texture."
)


@dataclass(frozen=True)
class Exited:
    """The engine's last word: it ended, or had to be ended, and why."""

    message: str
    hint: str
    code: str
    log_tail: str


Event = protocol.Reply | Exited


class EngineProcess:
    """One run of the engine. `poll` gives what it said since; after `Exited` nothing more comes."""

    def __init__(
        self,
        command: Sequence[str],
        log_folder: Path,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts `command` with the variables of `environ`, or of this process without what would lead it astray.

        Returns at once; where the program cannot be started, `Exited` says why.
        """
        self.log = _name_of_log(log_folder)
        self.hello: protocol.Hello | None = None
        self._clock = clock
        self._started = clock()
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = threading.Event()  # the child runs, or cannot be started
        self._ending: tuple[str, str, str] | None = None
        self._is_leaving = False
        self._cancelled_by: float | None = None
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._output_ended_at: float | None = None
        self._exited = False
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        wanted = dict(clean_environment() if environ is None else environ)
        arguments = (list(command), wanted)
        self._reader = threading.Thread(target=self._run, args=arguments, name="gaussmith-engine-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The child's; 0 where it could not be started. Waits for the start."""
        self._begun.wait()
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether requests can still be sent."""
        return not self._exited and self._ending is None

    def send(self, message: protocol.Request) -> bool:
        """Sends one message and returns whether it could be sent. `poll` tells of an engine that is just ending.

        To be called after the hello; before that it may wait for the start.
        """
        self._begun.wait()
        if self._process is None:
            return False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(protocol.encode(message))
            self._process.stdin.flush()
        except (OSError, ValueError):
            self.end("ENGINE_DIED", "The engine stopped listening.", "Try again.")
            return False
        return True

    def cancel(self, job: str) -> None:
        """Asks the engine to stop a job; one that does not answer in time is ended."""
        self.send(protocol.Cancel(job))
        if self._cancelled_by is None:
            self._cancelled_by = self._clock() + CANCEL_GRACE_SECONDS

    def end(self, code: str, message: str, hint: str) -> None:
        """Ends the engine without waiting: first kindly, by closing its stdin. `Exited` follows when it is gone."""
        self._cancelled_by = None
        if self._ending is None and not self._exited:
            self._ending = (code, message, hint)
            self._leave()

    def poll(self) -> list[Event]:
        """What the engine said since the last call. Never waits."""
        events: list[Event] = []
        self._leave()
        while self._output_ended_at is None and not self._lines.empty():
            line = self._lines.get()
            if line is None:
                self._output_ended_at = self._clock()
            elif self._ending is None and (event := self._understand(line)) is not None:
                events.append(event)
        self._watch_clock()
        if self._exited or not self._begun.is_set():
            return events
        if self._process is None:
            events.append(self._exit())
        elif self._process.poll() is not None:
            self._end_helpers()  # a helper may hold the pipe open; its end is the end of the output
            if self._output_ended_at is not None:
                events.append(self._exit())
        return events

    def stop(self) -> None:
        """Ends the engine and waits for it, a few seconds at most. Closing stdin is the polite way."""
        self._begun.wait()
        if self._process is None:
            self._reader.join()
            self._exited = True
            return
        _close(self._process.stdin)
        for end in (None, signal.SIGTERM, _KILL):
            if end is not None:
                self._signal(end)
            try:
                self._process.wait(STOP_GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        self._end_helpers()
        self._reader.join(STOP_GRACE_SECONDS)
        _close(self._process.stdout)
        self._exited = True

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines the engine wrote to its log."""
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
                content = log.read()
        except OSError:
            return ""
        return "\n".join(content.decode(errors="replace").strip().splitlines()[-lines:])

    def _run(self, command: list[str], environ: dict[str, str]) -> None:
        """What the thread does: starts the child and reads what it says until its output ends."""
        try:
            self._process = self._start(command, environ)
        except EngineError as error:
            self._ending = (error.code, error.message, error.hint)
        finally:
            self._begun.set()
        if self._process is not None:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._lines.put(line)
            self._lines.put(None)

    def _start(self, command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
        try:
            _make_room(self.log.parent)
            log = open(self.log, "wb")  # noqa: SIM115
        except OSError as error:
            raise EngineError(
                f"The engine's log cannot be written: {error.strerror or error}.",
                f"Free some space, or make {self.log.parent} writable.",
                "CANNOT_WRITE",
            ) from error
        with log:
            return start_child(command, environ, stdin=subprocess.PIPE, stderr=log)

    def _leave(self) -> None:
        """Closes the stdin of an engine that is to end, as soon as it has one."""
        if self._ending is not None and self._process is not None and not self._is_leaving:
            self._is_leaving = True
            _close(self._process.stdin)
            self._terminate_at = self._clock() + LEAVE_GRACE_SECONDS

    def _understand(self, line: bytes) -> Event | None:
        """One line as a message. The first must be a hello of our version; what is no message ends the engine,
        because the lost line may have been the one that ends a job."""
        try:
            message = protocol.decode(line)
            if isinstance(message, protocol.Request):
                raise protocol.BadMessage(f"The engine sent {message.kind!r}, which only the add-on sends.")
            if isinstance(message, protocol.Hello):
                protocol.check_hello(message)
                self.hello = message
            elif self.hello is None:
                raise protocol.BadMessage(f"The engine sent {message.kind!r} before its hello.")
        except protocol.BadMessage as error:
            if isinstance(error, protocol.OtherProtocol):
                self.end("OTHER_PROTOCOL", str(error), "After an update, restart Blender; or install Gaussmith again.")
            elif self.hello is None:
                self.end("BAD_MESSAGE", str(error), "Update Gaussmith so that add-on and engine match.")
            else:
                self.end("BAD_MESSAGE", str(error), "Try again.")
            return None
        if isinstance(message, protocol.Result | protocol.Error | protocol.CancelledJob):
            self._cancelled_by = None
        return message

    def _watch_clock(self) -> None:
        now = self._clock()
        if self.hello is None and self._ending is None and now - self._started > START_SECONDS:
            self.end("NO_HELLO", f"The engine did not start within {START_SECONDS} s.", "See its log.")
        if self._cancelled_by is not None and now > self._cancelled_by:
            self.end("CANCELLED", "The engine was ended because it did not stop in time.", "")
        if self._output_ended_at is not None and now > self._output_ended_at + STOP_GRACE_SECONDS and self.alive:
            self.end("ENGINE_DIED", "The engine closed its output.", "Try again; the log says more.")
        if self._terminate_at is not None and now > self._terminate_at:
            self._signal(signal.SIGTERM)
            self._terminate_at, self._kill_at = None, now + LEAVE_GRACE_SECONDS
        if self._kill_at is not None and now > self._kill_at:
            self._signal(_KILL)
            self._kill_at = None

    def _exit(self) -> Exited:
        self._exited = True
        status = 0
        if self._process is not None:
            _close(self._process.stdin)
            _close(self._process.stdout)
            status = self._process.returncode
        code, message, hint = self._ending or (
            "ENGINE_DIED",
            f"The engine ended unexpectedly ({_describe_status(status)}).",
            _OUT_OF_MEMORY if status == -_KILL and os.name != "nt" else "Try again; the log says more.",
        )
        return Exited(message=message, hint=hint, code=code, log_tail=self.log_tail())

    def _signal(self, number: int) -> None:
        """Signals the engine and, where processes have groups, the helpers it started."""
        if self._process is None or self._process.poll() is not None:
            return
        if os.name == "nt":
            self._process.terminate()
        else:
            os.killpg(self._process.pid, number)

    def _end_helpers(self) -> None:
        """An engine that was killed cannot end the helpers it started."""
        if os.name != "nt" and self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return  # none is left


def start_child(
    command: Sequence[str], environ: Mapping[str, str], *, stdin: int, stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Starts a program of the engine whose stdout is read here. Raises `EngineError` where it cannot be started."""
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environ,
            start_new_session=True,  # a group of its own, to end its helpers with it; no effect on Windows
            creationflags=_WINDOWS_FLAGS,
        )
    except OSError as error:
        raise EngineError(
            f"The engine does not start: {command[0]}: {error.strerror or error}.",
            "Choose another Python for the engine in the preferences.",
        ) from error


def engine_command(python: Path, engine: Path) -> list[str]:
    """The command that starts the engine: isolated from the user's Python settings, UTF-8, unbuffered."""
    return [str(python), "-I", "-X", "utf8", "-u", str(engine), "serve"]


def _name_of_log(folder: Path) -> Path:
    """A log file of its own for each run."""
    return folder / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 1_000_000:06d}.log"


def _make_room(folder: Path) -> None:
    """Only the newest logs are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("engine-*.log"))[: -(LOGS_KEPT - 1)]:
        try:
            old.unlink()
        except OSError:
            continue  # open in another Blender on Windows


def _describe_status(status: int) -> str:
    if status < 0:
        try:
            return f"signal {signal.Signals(-status).name}"
        except ValueError:
            return f"signal {-status}"
    return f"exit code {status}"


def _close(stream) -> None:
    if stream is not None:
        try:
            stream.close()
        except OSError:
            return  # the other end is gone: nothing is left to flush

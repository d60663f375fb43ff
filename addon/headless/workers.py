# SPDX-License-Identifier: GPL-3.0-or-later
"""Blenders without a window that write the files of a batch side by side, while one engine makes the next mesh.

The batch sends a worker one order at a time, as a line of JSON on its stdin; the worker answers with a line on its
stdout. A worker ends when its stdin does, so none outlives its batch however that one ends. The batch's side needs no
bpy.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

MARK = b"gaussmith-worker "
"""What our lines begin with: Blender has things to say on stdout too."""
START_SECONDS = 120.0
"""What is added to the time for a worker's first order: Blender has to start."""
STOP_SECONDS = 3.0

CarryOut = Callable[[dict[str, Any]], list[str]]
"""Carries out an order and returns the names of the files made; raises with a sentence."""


@dataclass(frozen=True)
class Outcome:
    """What became of an order: the names of its files, or why there are none."""

    token: str
    files: list[str] = field(default_factory=list)
    problem: str = ""


class Here:
    """Carries out orders in this process, as they come."""

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._done: list[Outcome] = []

    @property
    def busy(self) -> bool:
        """Whether there are outcomes to come."""
        return bool(self._done)

    @property
    def crowded(self) -> bool:
        """Whether it is better to wait before more is ordered."""
        return False

    def submit(self, token: str, order: dict[str, Any]) -> None:
        self._done.append(_outcome(token, order, self._carry_out))

    def poll(self) -> list[Outcome]:
        """Outcomes since the last call."""
        done, self._done = self._done, []
        return done

    def stop(self) -> None:
        self._done.clear()


class Workers:
    """Carries out orders in up to `count` processes, which are started when needed, and again where one died."""

    def __init__(self, command: Sequence[str], count: int, seconds: float, log_folder: Path) -> None:
        """`seconds` is how long an order may take."""
        self._command, self._count, self._seconds = command, count, seconds
        self._log_folder = log_folder
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self._workers: list[_Worker] = []
        self._started = 0
        self._done: list[Outcome] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._done or any(worker.token for worker in self._workers))

    @property
    def crowded(self) -> bool:
        return len(self._waiting) >= 2 * self._count

    def submit(self, token: str, order: dict[str, Any]) -> None:
        self._waiting.append((token, order))
        self._hand_out()

    def poll(self) -> list[Outcome]:
        for worker in self._workers:
            self._done += worker.poll()
        self._workers = [worker for worker in self._workers if worker.alive]
        self._hand_out()
        done, self._done = self._done, []
        return done

    def stop(self) -> None:
        """Ends all workers, whatever they are doing."""
        self._waiting.clear()
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            worker = next((worker for worker in self._workers if not worker.token), None)
            if worker is None and len(self._workers) < self._count:
                self._started += 1
                try:
                    worker = _Worker(self._command, self._log_folder / f"worker-{self._started}.log", self._seconds)
                except OSError as error:
                    problem = f"Blender does not start: {error.strerror or error}."
                    self._done += [Outcome(token, problem=problem) for token, _ in self._waiting]
                    self._waiting.clear()
                    return
                self._workers.append(worker)
            if worker is None:
                return
            worker.send(*self._waiting.popleft())


class _Worker:
    """One process, and the order it carries out."""

    def __init__(self, command: Sequence[str], log: Path, seconds: float) -> None:
        self.token = ""
        self.alive = True
        self._seconds = seconds
        self._until = 0.0
        self._is_new = True
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the batch, which ends its workers itself
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        self._reader = threading.Thread(target=self._read, name="gaussmith-worker-reader", daemon=True)
        self._reader.start()

    def send(self, token: str, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self.token = token
        self._until = time.monotonic() + self._seconds + START_SECONDS * self._is_new
        self._is_new = False
        try:
            self._process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError:
            return  # it has ended; `poll` tells

    def poll(self) -> list[Outcome]:
        done: list[Outcome] = []
        while not self._lines.empty():
            line = self._lines.get()
            if line is None:
                done += self._ended()
            elif line.startswith(MARK) and self.token:
                reply = json.loads(line.removeprefix(MARK))
                done.append(Outcome(self.token, reply["files"], reply["problem"]))
                self.token = ""
        if self.alive and self.token and time.monotonic() > self._until:
            done.append(Outcome(self.token, problem=f"Blender took more than {self._seconds:g} s to write it."))
            self.token = ""
            self.stop()
        return done

    def stop(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                continue  # the other end has gone: nothing is left to flush

    def _ended(self) -> list[Outcome]:
        token, self.token = self.token, ""
        self.stop()
        status = self._process.returncode
        problem = f"Blender ended unexpectedly ({status}) while it wrote it; {self._log} says more."
        return [Outcome(token, problem=problem)] if token else []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


# ---------------------------------------------------------------------------
# The worker's side


def serve(carry_out: CarryOut) -> NoReturn:
    """Carries out orders from stdin until it ends."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what Blender prints is for the log
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"), orders), daemon=True).start()
    while True:
        outcome = _outcome("", orders.get(), carry_out)
        reply = {"files": outcome.files, "problem": outcome.problem}
        try:
            replies.write(MARK + json.dumps(reply).encode("ascii") + b"\n")
        except OSError:
            os._exit(0)  # the batch has gone


def _listen(stream: Any, orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in stream:
        orders.put(json.loads(line))
    os._exit(0)  # whatever it is doing: nobody waits for it any more


def _outcome(token: str, order: dict[str, Any], carry_out: CarryOut) -> Outcome:
    """What becomes of an order. An error nobody expected fails this order alone; the log says where it came from."""
    try:
        return Outcome(token, carry_out(order))
    except WorkError as error:
        return Outcome(token, problem=str(error))
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        return Outcome(token, problem=f"Blender could not write it: {type(error).__name__}: {error}")


class WorkError(Exception):
    """An order that could not be carried out; its text is one sentence."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of batches that goes on when the processes which draw them are lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from engine.errors import GaussmithError, TrainingError

T = TypeVar("T")


class Feed(Generic[T]):
    """Batches from `make(seed)`; a stream that breaks is made again with another seed."""

    def __init__(
        self,
        make: Callable[[int], Iterator[T]],
        seed: int,
        stopping: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = print,
        patience: int = 3,
    ) -> None:
        """`stopping`: whether the training is asked to end: then a broken stream just ends. `patience`: breaks in a
        row, without a batch between, after which it is given up."""
        self._make, self._seed, self._stopping, self._warn, self._patience = make, seed, stopping, warn, patience
        self._stream: Iterator[T] | None = None
        self._breaks = self._broken = 0

    def next(self) -> T | None:
        """The next batch; None where the training is asked to end and there is none.

        Raises what `make` or the stream raises for bad input, `TrainingError` where it breaks again and again.
        """
        while True:
            try:
                if self._stream is None:
                    self._stream = self._started()
                batch = next(self._stream)
                self._broken = 0
                return batch
            except GaussmithError:
                raise
            except (RuntimeError, OSError, EOFError, StopIteration) as error:  # a drawing process killed, or no memory
                self._stream = None
                if self._stopping():
                    return None
                self._broken += 1
                self._breaks += 1
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1]  # a worker's is a traceback
                if self._broken >= self._patience:
                    raise TrainingError(
                        f"Examples could not be drawn {self._broken} times in a row: {reason}.",
                        "Give fewer --workers if the memory is full.",
                    ) from error
                self._warn(f"The processes that draw examples ended ({reason}); they are started again.")

    def _started(self) -> Iterator[T]:
        """A new stream.

        Torch's own watch over its workers would raise in the midst of a step or a save; without it a lost worker is
        found out when the next batch does not come.
        """
        watched = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGCHLD) if watched else None
        stream = self._make(self._seed + 7919 * self._breaks)
        if before is not None:
            signal.signal(signal.SIGCHLD, before)
        return stream

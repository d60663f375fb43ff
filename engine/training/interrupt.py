# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and termination as a wish that a training grants between two steps."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))

STOPPED = 130
"""The exit code of a training that was asked to stop."""


class StopSignals:
    """Within it, the first Ctrl-C or termination sets `asked`; the second ends the program as usual, at once."""

    def __init__(self, say: bool = True) -> None:
        """`say`: whether to tell on stderr that the wish was heard."""
        self.asked, self._say = False, say
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # only there can signals be heard
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self._say:
            sys.stderr.write("\nStopping after this step; once more to stop at once.\n")

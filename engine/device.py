# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks run on, chosen once, with the reason."""

import os
import platform
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Device:
    """A runtime and the processor under it."""

    runtime: str  # "onnxruntime"
    provider: str  # the runtime's name of the device
    threads: int
    why: str  # one sentence

    def __str__(self) -> str:
        return f"CPU, {self.threads} threads ({platform.machine()})" if self.threads > 1 else "CPU, 1 thread"


@cache
def choose_device() -> Device:
    """The device of this process. Nothing heavy is imported to choose it."""
    threads = _usable_cores()
    return Device(
        "onnxruntime", "CPUExecutionProvider", threads, "The bundled networks run on the processor everywhere."
    )


def _usable_cores() -> int:
    """Cores this process may run on: fewer than the machine has where it was confined to some."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)

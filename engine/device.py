# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks run on, chosen once, with the reason."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """A runtime and the processor under it."""

    runtime: str  # "onnxruntime"
    provider: str  # the runtime's name of the device
    threads: int
    why: str  # one sentence
    card: str = ""  # names the graphics card, the same in every process; empty on the processor

    def __str__(self) -> str:
        return f"CPU, {self.threads} threads ({platform.machine()})" if self.threads > 1 else "CPU, 1 thread"


@cache
def choose_device() -> Device:
    """The device of this process. Nothing heavy is imported to choose it."""
    threads = _usable_cores()
    return Device(
        "onnxruntime", "CPUExecutionProvider", threads, "The bundled networks run on the processor everywhere."
    )


def process_memory() -> int:
    """Bytes of memory this process occupies now, 0 where the system does not tell."""
    try:
        if sys.platform == "win32":
            return _windows_memory()
        if Path("/proc/self/statm").exists():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, timeout=2, check=True)
        return int(told.stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _windows_memory() -> int:
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = [
            ("size", wintypes.DWORD),
            ("page_faults", wintypes.DWORD),
            ("peak_working_set", ctypes.c_size_t),
            ("working_set", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 6),
        ]

    counters = Counters(size=ctypes.sizeof(Counters))
    process = ctypes.windll.kernel32.GetCurrentProcess  # type: ignore[attr-defined]
    process.restype = wintypes.HANDLE
    read = ctypes.windll.psapi.GetProcessMemoryInfo  # type: ignore[attr-defined]
    read.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    return counters.working_set if read(process(), ctypes.byref(counters), counters.size) else 0


def _usable_cores() -> int:
    """Cores this process may run on: fewer than the machine has where it was confined to some."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""How kernels are compiled: once per user and processor, kept in a folder the user can write to.

Parallel kernels must be entered from one thread at a time: otherwise numba's workqueue layer (macOS) aborts.
"""

import os
from functools import partial
from pathlib import Path

from engine import __version__
from engine.paths import cache_folder

# The package may lie in a read-only folder, where numba would retry writing beside it (numba issue 8755).
# One folder per version: numba looks at the file of a kernel only, not at the constants it takes from other files.
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba" / __version__))

# Threads that wait give their core away. Spinning, the default, makes a kernel ten times slower where another program
# (Blender rendering, say) keeps a core busy: measured 102 s against 13 s for the same small training.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numba

FAST = {"contract", "reassoc", "arcp", "nsz", "afn"}
"""Floating-point freedoms of our kernels; NaN and infinity keep their meaning."""

# Division as in numpy (by zero gives infinity): Python's check of every divisor keeps loops from being vectorised.
kernel = partial(numba.njit, cache=True, fastmath=FAST, nogil=True, error_model="numpy")
parallel_kernel = partial(kernel, parallel=True)
prange = numba.prange


def compiled_before() -> bool:
    """Whether kernels have been compiled on this machine; the first run takes a minute more."""
    return any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbi"))

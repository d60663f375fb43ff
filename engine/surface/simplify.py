# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer faces with the same shape, by quadric edge collapse (Garland and Heckbert 1997)."""

from collections.abc import Callable

import fast_simplification
import numpy as np

from engine.errors import OptionError
from engine.surface.cleanup import is_watertight, weld
from engine.surface.mesh import Mesh
from engine.surface.repair import separate_sheets

Array = np.ndarray

FEWEST, MOST = 100, 2_000_000
"""Range of face counts one may ask for."""

TOLERANCE = 0.02
"""The count asked for is reached within this part of it."""

NEARLY = 1.25
"""So many times the faces asked for are kept at first, for another try where repairs take too many of the rest."""

LOST = 0.15
"""A reduction that moves an end of the mesh, in [-1, 1], further than this has lost a part."""

AGGRESSIVENESS = (4, 5, 7)
"""Speed of the growing error threshold, best first: 4 has half the error of the library's 7 at nearly its speed."""


def simplify(mesh: Mesh, faces: int, warn: Callable[[str], None] | None = None) -> Mesh:
    """`mesh` with `faces` faces within `TOLERANCE`, or as it is where it has no more.

    A watertight mesh stays watertight, a manifold one manifold: sheets that collapses let touch are separated again.
    `warn` gets a sentence where the count or watertightness could not be had. Raises `OptionError` for a count out of
    range.
    """
    if not FEWEST <= faces <= MOST:
        raise OptionError(f"Found {faces} faces, expected {FEWEST} to {MOST}.", "Try 20000.")
    if len(mesh.faces) <= faces:
        if warn and len(mesh.faces) < (1 - TOLERANCE) * faces:
            warn(
                f"The surface has {len(mesh.faces):,} faces, fewer than the {faces:,} asked for."
                " A higher resolution makes more."
            )
        return mesh
    nearly = _decimated(mesh, int(NEARLY * faces))
    result = separate_sheets(_decimated(nearly, faces))
    missing = faces - len(result.faces)  # faces that lay on each other are gone
    if missing > TOLERANCE * faces:
        result = separate_sheets(_decimated(nearly, faces + missing))
    if warn and len(result.faces) > (1 + TOLERANCE) * faces:
        warn(f"The surface could not be reduced below {len(result.faces)} faces ({faces} were asked for).")
    if warn and not is_watertight(result) and is_watertight(mesh):
        warn("The surface is not watertight: reducing its faces opened it.")
    return result


def _decimated(mesh: Mesh, faces: int) -> Mesh:
    """Reduced in [-1, 1] (the threshold is absolute), further with a faster threshold where it stalls."""
    low, high = mesh.bounds()
    center, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-30)
    points, triangles = np.asarray((mesh.vertices - center) / half, np.float64), mesh.faces.astype(np.int32)
    ends = _ends(points, triangles)
    for aggressiveness in AGGRESSIVENESS:
        before = 2 * len(triangles)
        while faces * (1 + TOLERANCE) < len(triangles) < 0.95 * before:
            before = len(triangles)
            fewer, left = fast_simplification.simplify(points, triangles, target_count=faces, agg=aggressiveness)[:2]
            if not len(left) or np.abs(_ends(fewer, left) - ends).max() > LOST:
                return _restored(points, triangles, center, half)  # some faces resist, others give way to the last
            points, triangles = fewer, left.astype(np.int32)
    return _restored(points, triangles, center, half)


def _ends(points: Array, triangles: Array) -> Array:
    """Lowest and highest corner of the faces, [2, 3]."""
    used = np.zeros(len(points), bool)
    used[triangles] = True
    return np.array([[side[used].min(), side[used].max()] for side in points.T]).T


def _restored(points: Array, triangles: Array, center: Array, half: float) -> Mesh:
    """The mesh at its size and place; vertices in one place become one."""
    return weld(Mesh((points * half + center).astype(np.float32), triangles))

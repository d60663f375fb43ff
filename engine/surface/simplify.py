# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer faces with the same shape, by quadric edge collapse (Garland and Heckbert 1997)."""

from collections.abc import Callable

import fast_simplification
import numpy as np

from engine.errors import OptionError
from engine.surface.cleanup import is_watertight, weld
from engine.surface.mesh import Mesh
from engine.surface.repair import separate_sheets

FEWEST, MOST = 100, 2_000_000
"""Range of face counts one may ask for."""

TOLERANCE = 1.03
"""Up to this many times the faces asked for count as reached."""

AGGRESSIVENESS = (4, 5, 7)
"""Speed of the growing error threshold, best first: 4 has half the error of the library's 7 at nearly its speed."""


def simplify(mesh: Mesh, faces: int, warn: Callable[[str], None] | None = None) -> Mesh:
    """`mesh` with at most about `faces` faces: within `TOLERANCE`, or as it is where it has fewer.

    A watertight mesh stays watertight: sheets that collapses let touch are separated again. `warn` gets a sentence
    where the count or watertightness could not be had. Raises `OptionError` for a count out of range.
    """
    if not FEWEST <= faces <= MOST:
        raise OptionError(f"Found {faces} faces, expected {FEWEST} to {MOST}.", "Try 20000.")
    if len(mesh.faces) <= faces:
        return mesh
    result = mesh
    for aggressiveness in AGGRESSIVENESS:
        result = _decimate(mesh, faces, aggressiveness)
        if len(result.faces) <= TOLERANCE * faces:
            break
    result = separate_sheets(result)
    if warn and len(result.faces) > TOLERANCE * faces:
        warn(f"The surface could not be reduced below {len(result.faces)} faces ({faces} were asked for).")
    if warn and is_watertight(mesh) and not is_watertight(result):
        warn("The surface is not watertight: reducing its faces opened it.")
    return result


def _decimate(mesh: Mesh, faces: int, aggressiveness: int) -> Mesh:
    """One reduction in [-1, 1] (the threshold is absolute), called again on its own result while it stalls."""
    low, high = mesh.bounds()
    center, half = (low + high) / 2, (high - low).max() / 2
    points, triangles = np.asarray((mesh.vertices - center) / half, np.float64), mesh.faces.astype(np.int32)
    for _ in range(3):
        before = len(triangles)
        points, triangles = fast_simplification.simplify(points, triangles, target_count=faces, agg=aggressiveness)[:2]
        triangles = triangles.astype(np.int32)
        if len(triangles) <= TOLERANCE * faces or len(triangles) > 0.95 * before:
            break
    return weld(Mesh((points * half + center).astype(np.float32), triangles))

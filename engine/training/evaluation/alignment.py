# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes compared after the best alignment: the protocol behind published tables of single-image reconstruction.

What the papers say. TripoSR (Tochilkin et al. 2024, section 3): "We sample 10K points from these surfaces to calculate
the Chamfer Distance (CD) and F-score (FS). ... We linearly search the rotation angle by optimizing for the lowest CD
and further employ the Iterative Closest Point (ICP) method to refine the alignment." SF3D's table (Boss et al. 2024)
has ZeroShape's row digit for digit from there. TripoSR states neither scale nor grid; ZeroShape (Huang et al. 2024),
whose benchmark this continues, turns the prediction by 24 azimuths x 24 elevations x 12 rolls in its public code,
normalises it anew after each turn, and halves the sum of both mean distances.

What is done here, exactly:

1. The truth stays in its object's frame (y up) and is set in a box of longest side 2, centred: radius 1 along its axis.
2. The prediction is turned by each of ROTATIONS rotations spread evenly over all of SO(3), about 15 degrees apart
   (super-Fibonacci spirals, Alexa 2022), and set in such a box after each turn. Its distance to the truth is read from
   distance fields of both shapes, SEARCH points each way.
3. The CANDIDATES best are refined by rigid ICP (Besl and McKay 1992; rotation and translation, no scale) with k-d
   trees, from prediction to truth; of all states met, before and after, the one of lowest Chamfer distance counts.
4. Chamfer distance (both mean distances summed, not squared) and F-scores at 0.1, 0.2 and 0.5 from all points.
   ZeroShape's convention is half of that sum; which one the later tables print they do not say.
   F-scores do not depend on it.

A mirror image is never tried. Points are 8,192 of the visible surface (buried walls, which no picture shows, are not
asked for), against 10,000 of the whole surface there.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from engine.jit import kernel
from engine.training.metrics import surface_figures, to_box

Array = np.ndarray

ROTATIONS = 4608
SEARCH = 384
CANDIDATES = 12
ICP_POINTS = 1024
ICP_STEPS = 12
CELLS = 48
"""Cells along each side of the distance fields that the search reads."""


def aligned_figures(predicted: Array, truth: Array) -> dict[str, float]:
    """Chamfer distance and F-scores of predicted [P, 3] and true points [Q, 3] after the best alignment."""
    truth = to_box(truth)
    return surface_figures(aligned(predicted, truth), truth)


def aligned(predicted: Array, truth: Array) -> Array:
    """Predicted points [P, 3] where they lie closest to true ones [Q, 3], which fill a box of longest side 2."""
    centred = to_box(predicted)
    some, goal = _some(centred, ICP_POINTS), _some(truth, ICP_POINTS)
    tree = KDTree(goal)
    best, found = np.inf, to_box(centred)
    for rotation in _candidates(some, goal):
        scale, offset = _into_box(centred @ rotation.T)
        matrix, last = scale * rotation, np.inf
        for step in range(ICP_STEPS + 1):
            placed = some @ matrix.T + offset
            distances, nearest = tree.query(placed)
            chamfer = distances.mean() + KDTree(placed, balanced_tree=False).query(goal)[0].mean()
            if chamfer < best:
                best, found = chamfer, centred @ matrix.T + offset
            if step == ICP_STEPS or chamfer > last or (step > 2 and chamfer > 1.3 * best):
                break
            last = chamfer
            turn, move = rigid_fit(placed, goal[nearest])
            matrix, offset = turn @ matrix, turn @ offset + move
    return found


def rigid_fit(source: Array, target: Array) -> tuple[Array, Array]:
    """Rotation [3, 3] and translation [3] that bring source [P, 3] closest to target [P, 3] (Kabsch 1976)."""
    a, b = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((source - a).T @ (target - b))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ flip @ u.T
    return rotation, b - rotation @ a


def even_rotations(count: int) -> Array:
    """`count` rotation matrices [count, 3, 3] spread evenly over SO(3) (super-Fibonacci spirals, Alexa 2022)."""
    s = np.arange(count) + 0.5
    r, rest = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / np.sqrt(2), 2 * np.pi * s / 1.533751168755204288
    quats = np.stack([r * np.sin(alpha), r * np.cos(alpha), rest * np.sin(beta), rest * np.cos(beta)], -1)
    return Rotation.from_quat(quats).as_matrix()


def _candidates(some: Array, goal: Array) -> Array:
    """The CANDIDATES most promising rotations [C, 3, 3] of `some` [P, 3]."""
    rotations = np.concatenate([np.eye(3)[None], even_rotations(ROTATIONS)]).astype(np.float32)
    reach = np.sqrt(3) + 0.1
    costs = np.empty(len(rotations), np.float32)
    _search(
        rotations, some.astype(np.float32), goal[:SEARCH].astype(np.float32), SEARCH,
        _distance_field(goal, reach), _distance_field(some, reach), np.float32(reach), costs,
    )  # fmt: skip
    return rotations[np.argsort(costs)[:CANDIDATES]].astype(np.float64)


def _distance_field(points: Array, reach: float) -> Array:
    """Distances [CELLS, CELLS, CELLS] float32 to the nearest cell with a point, over [-reach, reach]^3."""
    cell = 2 * reach / CELLS
    index = ((points + reach) / cell).astype(int).clip(0, CELLS - 1)
    empty = np.ones((CELLS,) * 3, bool)
    empty[tuple(index.T)] = False
    distances = distance_transform_edt(empty, sampling=cell)
    assert isinstance(distances, np.ndarray)
    return distances.astype(np.float32)


def _some(points: Array, count: int) -> Array:
    """`count` of the points [P, 3], evenly over their order; all where there are fewer."""
    return points if len(points) <= count else points[np.linspace(0, len(points) - 1, count).astype(int)]


def _into_box(points: Array) -> tuple[float, Array]:
    """Scale and shift [3] that set points [P, 3] in a centred box of longest side 2."""
    low, high = points.min(0), points.max(0)
    scale = 2 / max(float((high - low).max()), 1e-9)
    return scale, -scale * (low + high) / 2


@kernel
def _search(rotations, points, goal, count, goal_field, point_field, reach, costs):
    """Cost of each rotation: mean distance of `count` turned and boxed points to the goal, plus the way back."""
    cells = goal_field.shape[0]
    to_cell = np.float32(cells) / (2 * reach)
    turned = np.empty((len(points), 3), np.float32)
    for r in range(len(rotations)):
        R = rotations[r]
        low = np.full(3, np.inf, np.float32)
        high = np.full(3, -np.inf, np.float32)
        for p in range(len(points)):
            for a in range(3):
                value = R[a, 0] * points[p, 0] + R[a, 1] * points[p, 1] + R[a, 2] * points[p, 2]
                turned[p, a] = value
                low[a] = min(low[a], value)
                high[a] = max(high[a], value)
        scale = np.float32(2) / max(high[0] - low[0], high[1] - low[1], high[2] - low[2], np.float32(1e-9))
        middle = (low + high) * np.float32(0.5)
        forth = np.float32(0)
        step = max(1, len(points) // count)
        used = 0
        for p in range(0, len(points), step):
            i = int((scale * (turned[p, 0] - middle[0]) + reach) * to_cell)
            j = int((scale * (turned[p, 1] - middle[1]) + reach) * to_cell)
            k = int((scale * (turned[p, 2] - middle[2]) + reach) * to_cell)
            forth += goal_field[min(max(i, 0), cells - 1), min(max(j, 0), cells - 1), min(max(k, 0), cells - 1)]
            used += 1
        back = np.float32(0)
        for q in range(len(goal)):
            x = goal[q, 0] / scale + middle[0]
            y = goal[q, 1] / scale + middle[1]
            z = goal[q, 2] / scale + middle[2]
            i = int((R[0, 0] * x + R[1, 0] * y + R[2, 0] * z + reach) * to_cell)
            j = int((R[0, 1] * x + R[1, 1] * y + R[2, 1] * z + reach) * to_cell)
            k = int((R[0, 2] * x + R[1, 2] * y + R[2, 2] * z + reach) * to_cell)
            back += point_field[min(max(i, 0), cells - 1), min(max(j, 0), cells - 1), min(max(k, 0), cells - 1)]
        costs[r] = forth / np.float32(used) + scale * back / np.float32(len(goal))

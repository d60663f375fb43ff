# SPDX-License-Identifier: GPL-3.0-or-later
"""Colour that depends on the view: spherical harmonics of degree 1 to 3 on top of a Gaussian's own colour.

The real basis, its order and signs are those of Kerbl et al. 2023 (after Ramamoorthi and Hanrahan 2001): a
Gaussian seen along the unit vector v, from the camera to its mean, has the colour

    c(v) = 0.5 + SH_C0 f_dc + sum_{l=1..3} sum_{m=-l..l} k_lm Y_lm(v)

where the first two terms are `Gaussians.colors` and k [K, 3] is `Gaussians.sh`, K = 3, 8 or 15.
"""

import numpy as np

Array = np.ndarray

BANDS = ((0, 3), (3, 8), (8, 15))
"""Where the coefficients of degree 1, 2 and 3 stand in the K of `sh`."""

_CHUNK = 1 << 16  # Gaussians evaluated together, so that memory does not grow with their number
_COSINE_MEANS = (2 / 3, 1 / 4, 0.0)


def degree(sh: Array | None) -> int:
    """Highest degree in `sh` [N, K, 3], 0 where there is none."""
    return 0 if sh is None else {0: 0, 3: 1, 8: 2, 15: 3}[sh.shape[1]]


def basis(directions: Array, highest: int = 3) -> Array:
    """Y_lm of degree 1 to `highest` at unit vectors [N, 3], in the order of `sh`: [N, 3, 8 or 15]."""
    x, y, z = directions.T
    xx, yy, zz = x * x, y * y, z * z
    c1, c2 = 0.4886025119029199, 1.0925484305920792
    values = [-c1 * y, c1 * z, -c1 * x]
    if highest > 1:
        values += [c2 * x * y, -c2 * y * z, 0.31539156525252005 * (2 * zz - xx - yy), -c2 * x * z, c2 / 2 * (xx - yy)]
    if highest > 2:
        values += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return np.stack(values, -1)


def evaluated(colors: Array, sh: Array | None, directions: Array, weights: tuple[float, ...] = (1, 1, 1)) -> Array:
    """`colors` [N, 3] with the bands of `sh` [N, K, 3] along `directions` [N, 3] or [3], clipped to [0, 1]; float32.

    Directions of any length; one of length 0 adds nothing. `weights` scale the degrees 1, 2 and 3.
    """
    highest = degree(sh)
    if sh is None or highest == 0:
        return colors.copy()
    directions = np.broadcast_to(np.asarray(directions, np.float32), colors.shape)
    factors = np.concatenate([np.full(stop - start, weights[i]) for i, (start, stop) in enumerate(BANDS[:highest])])
    result = np.empty(colors.shape, np.float32)
    for start in range(0, len(colors), _CHUNK):
        part = slice(start, start + _CHUNK)
        lengths = np.linalg.norm(directions[part], axis=1, keepdims=True)
        values = basis(directions[part] / np.maximum(lengths, 1e-20), highest) * factors.astype(np.float32)
        added = np.einsum("nk,nkc->nc", values, sh[part].astype(np.float32)) * (lengths > 0)
        result[part] = np.clip(colors[part] + added, 0, 1)
    return result


def averaged(colors: Array, sh: Array | None, outward: Array) -> Array:
    """Mean colour [N, 3] over all views of surfaces with normals `outward` [N, 3], each by the area it is shown.

    Seen from the direction d (from the surface to the camera, d . n > 0) the surface shows an area proportional to
    d . n, and the Gaussian its colour along v = -d. By the Funk-Hecke theorem, for any kernel K(d . n),

        integral K(d . n) Y_lm(d) d omega = 2 pi Y_lm(n) integral_{-1}^{1} K(t) P_l(t) dt,

    with Legendre's polynomials P_l. K(t) = max(t, 0) / pi makes the weights sum to 1, and 2 integral_0^1 t P_l(t) dt
    is 2/3, 1/4 and 0 for l = 1, 2, 3. So the mean is the colour along v = -n with the bands weighted by these.
    """
    return evaluated(colors, sh, -np.asarray(outward, np.float32), _COSINE_MEANS)


def rotated(sh: Array, rotation: Array) -> Array:
    """Coefficients [N, K, 3] of the same colours after the world has been turned by `rotation` [3, 3].

    Each degree turns in itself: Y_l(R^T v) = Y_l(v) D_l with a matrix D_l, here solved for from more than 2 l + 1
    directions, which is exact to rounding.
    """
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    highest = degree(sh)
    before, after = basis(directions @ np.asarray(rotation, np.float64), highest), basis(directions, highest)
    result = np.empty_like(sh)
    for start, stop in BANDS[:highest]:
        turn = np.linalg.lstsq(after[:, start:stop], before[:, start:stop], rcond=None)[0].astype(np.float32)
        for first in range(0, len(sh), _CHUNK):
            part = sh[first : first + _CHUNK, start:stop].astype(np.float32).transpose(1, 0, 2)
            turned = turn @ part.reshape(stop - start, -1)
            result[first : first + _CHUNK, start:stop] = turned.reshape(part.shape).transpose(1, 0, 2)
    return result

# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of 3D Gaussians (Kerbl et al. 2023, section 4), checked when it is made."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from engine.errors import InputError
from engine.fields import harmonics

Array = np.ndarray

_ROWS = 1 << 16  # checked together, so that checks take no memory to speak of

MAX_SH = 1000.0
"""Coefficients of the view's share in a colour beyond this are cut to it: colours end at 1."""


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians in the object frame of `engine.conventions`. Arrays are float32 and must be finite.

    Raises `InputError` on creation where a shape or value is out of its range. Quaternions are normalised.
    `sh` has half precision: it is three quarters of what a file of captured splats holds, and a colour's fine tuning.
    """

    means: Array  # [N, 3]
    quats: Array  # [N, 4] wxyz, unit length
    scales: Array  # [N, 3] standard deviations, > 0
    opacities: Array  # [N] in [0, 1]
    colors: Array  # [N, 3] sRGB in [0, 1]
    sh: Array | None = None  # [N, K, 3] float16: how the colour depends on the view (`harmonics`), K = 3, 8 or 15

    def __post_init__(self) -> None:
        count = np.shape(self.means)[0] if np.ndim(self.means) else 0
        for name, width in (("means", 3), ("quats", 4), ("scales", 3), ("opacities", 0), ("colors", 3)):
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            shape = (count, width) if width else (count,)
            if value.shape != shape:
                raise InputError(f"Gaussians need {name} of shape {shape}, found {value.shape}.")
            if not np.isfinite(value).all():
                raise InputError(f"Gaussians need finite {name}, found NaN or infinity.")
            object.__setattr__(self, name, value)
        if count and self.scales.min() <= 0:
            raise InputError(f"Gaussians need scales above 0, found {self.scales.min():g}.")
        for name in ("opacities", "colors"):
            value = getattr(self, name)
            if count and (value.min() < 0 or value.max() > 1):
                raise InputError(f"Gaussians need {name} in [0, 1], found {value.min():g} to {value.max():g}.")
        object.__setattr__(self, "quats", _normalised(self.quats))
        if self.sh is not None:
            object.__setattr__(self, "sh", self._checked_sh(np.asarray(self.sh), count))

    @staticmethod
    def _checked_sh(sh: Array, count: int) -> Array | None:
        if sh.ndim != 3 or sh.shape[0] != count or sh.shape[1] not in (0, 3, 8, 15) or sh.shape[2] != 3:
            raise InputError(f"Gaussians need sh of shape ({count}, 3 or 8 or 15, 3), found {sh.shape}.")
        if sh.dtype != np.float16:
            sh = np.clip(sh, -MAX_SH, MAX_SH).astype(np.float16)
        if not all(np.isfinite(sh[start : start + _ROWS]).all() for start in range(0, count, _ROWS)):
            raise InputError("Gaussians need finite sh, found NaN or infinity.")
        return sh if sh.shape[1] else None

    def __len__(self) -> int:
        return len(self.means)

    def rotations(self) -> Array:
        """Rotation matrices [N, 3, 3], columns are the principal axes."""
        w, x, y, z = self.quats.T
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return np.stack([np.stack(row, -1) for row in rows], -2).astype(np.float32)

    def covariances(self) -> Array:
        """Sigma = R S S^T R^T (Kerbl et al. 2023, equation 6), [N, 3, 3]."""
        axes = self.rotations() * self.scales[:, None, :]
        return axes @ axes.transpose(0, 2, 1)

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest mean, [3] each. Raises `InputError` when there are none."""
        if not len(self):
            raise InputError("Found 0 Gaussians where at least one is needed.")
        return self.means.min(0), self.means.max(0)

    def select(self, index: Array) -> "Gaussians":
        """The Gaussians at `index`: a boolean mask [N] or integer positions."""
        return Gaussians(
            self.means[index],
            self.quats[index],
            self.scales[index],
            self.opacities[index],
            self.colors[index],
            None if self.sh is None else self.sh[index],
        )

    def scaled(self, factor: float, shift: Array) -> "Gaussians":
        """Moved by `shift` [3], then scaled about the origin by `factor`."""
        return replace(
            self,
            means=(self.means + np.asarray(shift, np.float32)) * np.float32(factor),
            scales=self.scales * np.float32(factor),
        )

    def rotated(self, rotation: Array) -> "Gaussians":
        """Turned about the origin by `rotation` [3, 3], a proper rotation; shapes and colours turn with it."""
        rotation = np.asarray(rotation, np.float64)
        return replace(
            self,
            means=self.means @ rotation.T.astype(np.float32),
            quats=_turned(self.quats, rotation),
            sh=None if self.sh is None else harmonics.rotated(self.sh, rotation),
        )


def view_colors(gaussians: Gaussians, directions: Array) -> Array:
    """Colours [N, 3], sRGB in [0, 1], of the Gaussians seen along `directions` ([N, 3] or [3], camera to Gaussian).

    Kerbl et al. 2023, section 5.1. Without `sh` they are `gaussians.colors`, whatever the direction.
    """
    return harmonics.evaluated(gaussians.colors, gaussians.sh, directions)


def averaged_colors(gaussians: Gaussians, outward: Array) -> Array:
    """Colours [N, 3], sRGB in [0, 1], for a texture: the mean over all views from outside.

    `outward` [N, 3] are the normals of the surface each Gaussian lies on, of any length; one of length 0 gives
    `gaussians.colors`. In closed form, see `harmonics.averaged`.
    """
    return harmonics.averaged(gaussians.colors, gaussians.sh, outward)


def _normalised(quats: Array) -> Array:
    """Quaternions [N, 4] of unit length; those that have it already are not copied."""
    with np.errstate(over="ignore"):
        squares = np.einsum("nq,nq->n", quats, quats)
    if (np.abs(squares - 1) < 1e-6).all():
        return quats
    largest = np.abs(quats).max(1, keepdims=True)
    if largest.min() < 1e-8:
        raise InputError("Gaussians need quaternions of non-zero length, found one of length 0.")
    quats = quats / largest  # so that the squares of huge ones stay finite
    quats /= np.sqrt(np.einsum("nq,nq->n", quats, quats))[:, None]
    return quats


def _turned(quats: Array, rotation: Array) -> Array:
    """Quaternions [N, 4] of `rotation` [3, 3] after each of `quats` [N, 4]."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().astype(np.float32)
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], np.float32)
    return quats @ left.T

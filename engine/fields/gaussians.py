# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of 3D Gaussians (Kerbl et al. 2023, section 4), checked when it is made."""

from dataclasses import dataclass, replace

import numpy as np

from engine.errors import InputError

Array = np.ndarray


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians in the object frame of `engine.conventions`. Arrays are float32 and must be finite.

    Raises `InputError` on creation where a shape or value is out of its range. Quaternions are normalised.
    """

    means: Array  # [N, 3]
    quats: Array  # [N, 4] wxyz, unit length
    scales: Array  # [N, 3] standard deviations, > 0
    opacities: Array  # [N] in [0, 1]
    colors: Array  # [N, 3] sRGB in [0, 1]

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
        norms = np.linalg.norm(self.quats.astype(np.float64), axis=1, keepdims=True)
        if count and norms.min() < 1e-8:
            raise InputError("Gaussians need quaternions of non-zero length, found one of length 0.")
        object.__setattr__(self, "quats", (self.quats / norms).astype(np.float32))

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
            self.means[index], self.quats[index], self.scales[index], self.opacities[index], self.colors[index]
        )

    def scaled(self, factor: float, shift: Array) -> "Gaussians":
        """Moved by `shift` [3], then scaled about the origin by `factor`."""
        return replace(self, means=(self.means + shift) * np.float32(factor), scales=self.scales * np.float32(factor))

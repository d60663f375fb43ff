# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinhole cameras in the conventions of `engine.conventions` (OpenCV axes, world to camera)."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Cameras:
    """C cameras that share one picture size."""

    viewmats: Array  # [C, 4, 4] world to camera
    Ks: Array  # [C, 3, 3] pixels
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.viewmats)

    def centers(self) -> Array:
        """Positions of the cameras in the world, [C, 3]."""
        rotations, translations = self.viewmats[:, :3, :3], self.viewmats[:, :3, 3]
        return -np.einsum("cji,cj->ci", rotations, translations)


def intrinsics(fov_y_deg: float, width: int, height: int) -> Array:
    """K [3, 3] of a centred pinhole with square pixels."""
    focal = 0.5 * height / np.tan(np.radians(fov_y_deg) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)


def look_at(eye: Array, target: Array, up: Array = (0.0, 1.0, 0.0)) -> Array:  # type: ignore[assignment]
    """World-to-camera matrix [4, 4] of a camera at `eye` [3] that looks at `target` [3]."""
    eye, target, up = (np.asarray(v, np.float64) for v in (eye, target, up))
    forward = (target - eye) / np.linalg.norm(target - eye)
    if abs(forward @ up) > 0.9999 * np.linalg.norm(up):
        up = np.array([0.0, 0.0, -1.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ eye
    return viewmat.astype(np.float32)


def orbit(
    azimuths_deg: Array, elevations_deg: Array, radius: float, fov_y_deg: float, width: int, height: int
) -> Cameras:
    """Cameras on a sphere around the origin, looking at it. Angles broadcast to [C]; radius in object units."""
    azimuths, elevations = np.broadcast_arrays(np.radians(azimuths_deg), np.radians(elevations_deg))
    azimuths, elevations = azimuths.ravel(), elevations.ravel()
    directions = np.stack(
        [np.sin(azimuths) * np.cos(elevations), np.sin(elevations), np.cos(azimuths) * np.cos(elevations)], -1
    )
    viewmats = np.stack([look_at(radius * direction, np.zeros(3)) for direction in directions])
    Ks = np.broadcast_to(intrinsics(fov_y_deg, width, height), (len(viewmats), 3, 3)).copy()
    return Cameras(viewmats, Ks, width, height)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinhole cameras in the conventions of `engine.conventions` (OpenCV axes, world to camera)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

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


@dataclass(frozen=True)
class Photograph:
    """The picture an object was imagined from, and the camera that saw it, in the frame of the object's Gaussians.

    Where alpha is 0 the picture shows something else. A pixel's colour belongs to the first surface on its ray.
    """

    rgba: Array  # [H, W, 4] float32 sRGB, straight alpha
    viewmat: Array  # [4, 4] world to camera, OpenCV axes
    K: Array  # [3, 3] pixels of `rgba`


def intrinsics(fov_y_deg: float, width: int, height: int) -> Array:
    """K [3, 3] of a centred pinhole with square pixels."""
    focal = 0.5 * height / np.tan(np.radians(fov_y_deg) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 1.0, 0.0)) -> Array:
    """World-to-camera matrix [4, 4] of a camera at `eye` [3] that looks at `target` [3].

    `up` [3] points up in the picture; where the camera looks along it, -z does. Raises `ValueError` where eye and
    target are one point.
    """
    eye, target, up = (np.asarray(v, np.float64) for v in (eye, target, up))
    distance = np.linalg.norm(target - eye)
    if distance == 0:
        raise ValueError(f"A camera needs a target away from its eye, found both at {eye}.")
    forward = (target - eye) / distance
    if abs(forward @ up) > 0.9999 * np.linalg.norm(up):
        up = np.array([0.0, 0.0, -1.0])
    right = np.cross(forward, up)
    return _viewmat(eye, right / np.linalg.norm(right), forward)


def orbit(
    azimuths_deg: ArrayLike, elevations_deg: ArrayLike, radius: float, fov_y_deg: float, width: int, height: int
) -> Cameras:
    """Cameras on a sphere around the origin, looking at it. Angles broadcast to [C]; radius in object units.

    The picture's right is the direction of growing azimuth, also straight above and below.
    """
    azimuths, elevations = np.broadcast_arrays(np.radians(azimuths_deg), np.radians(elevations_deg))
    azimuths, elevations = azimuths.ravel(), elevations.ravel()
    directions = np.stack(
        [np.sin(azimuths) * np.cos(elevations), np.sin(elevations), np.cos(azimuths) * np.cos(elevations)], -1
    )
    rights = np.stack([np.cos(azimuths), np.zeros_like(azimuths), -np.sin(azimuths)], -1)
    viewmats = np.stack([_viewmat(radius * d, right, -d) for d, right in zip(directions, rights, strict=True)])
    Ks = np.broadcast_to(intrinsics(fov_y_deg, width, height), (len(viewmats), 3, 3)).copy()
    return Cameras(viewmats, Ks, width, height)


def _viewmat(eye: Array, right: Array, forward: Array) -> Array:
    """World to camera from unit vectors: the rows of the rotation are right, down and forward in the world."""
    rotation = np.stack([right, np.cross(forward, right), forward])
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ eye
    return viewmat.astype(np.float32)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can choose about a mesh, and in which range."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.errors import OptionError


@dataclass(frozen=True)
class MeshOptions:
    """Settings of the road from Gaussians to GLB. Raises `OptionError` on creation where one is out of its range."""

    faces: int = 20_000  # at most this many triangles
    texture: int = 1024  # side of the texture in pixels
    resolution: int = 256  # cells of the grid along the longest side
    size: float = 1.0  # longest side of the object in metres
    seed: int = 0  # same seed, same result
    surface: str = "auto"  # how the surface is found
    topology: str = "triangles"
    watertight: bool = False  # a closed, consistently oriented 2-manifold, or an error that says why not
    smoothing: int = 5  # steps of smoothing at equal volume
    lods: int = 0  # how many simpler copies, each with a quarter of the faces of the one before
    save_splats: bool = False  # also write the splats, as a .ply that lies over the mesh
    views: int = -1  # rendered views of the splats laid over the texture; -1: 12 for splat files, none for pictures
    photo: bool = True  # lay the source photograph over the texture, where there is one
    symmetry: bool = False  # fill unseen texels from the other half, where the object is symmetric
    normal_map: bool = False  # bake the dense surface's normals
    occlusion: bool = False  # bake ambient occlusion
    image: str = "png"  # how textures are stored
    charts: str = "own"  # whose charts the surface is cut into
    fit: int = 0  # steps of fitting imagined splats to their picture
    refine: int = 0  # steps of fitting the mesh to the splats
    up: str = "y"  # the direction that is up in the splat file
    crop: tuple[float, ...] | None = None  # keep splats within x0, y0, z0, x1, y1, z1 of the file's frame
    keep_all: bool = False  # keep everything in the splat file, not only the largest dense object
    keep_frame: bool = False  # leave the object where it is in the splat file, at its size

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, field.type, getattr(self, field.name)))


RANGES: dict[str, tuple[float, float]] = {
    "faces": (100, 1_000_000),
    "texture": (64, 8192),
    "resolution": (32, 512),
    "size": (0.0001, 100_000.0),
    "seed": (0, 2**31 - 1),
    "smoothing": (0, 100),
    "lods": (0, 3),
    "views": (-1, 24),
    "fit": (0, 1000),
    "refine": (0, 1000),
}
"""Lowest and highest value of each number."""

CHOICES: dict[str, tuple[str, ...]] = {
    "surface": ("auto", "density", "tsdf"),
    "topology": ("triangles", "quads"),
    "image": ("png", "webp"),
    "charts": ("own", "xatlas"),
    "up": ("y", "z", "-y"),
}
"""The words each choice knows."""


def mesh_options(values: Mapping[str, Any]) -> MeshOptions:
    """Options by name; those not named keep their defaults. Raises `OptionError` for an unknown name."""
    known = [field.name for field in fields(MeshOptions)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise OptionError(f"There is no option {unknown[0]!r}.", f"Options are {', '.join(known)}.")
    return MeshOptions(**values)


def _checked(name: str, kind: object, value: Any) -> Any:
    """`value` as the option's own type. Raises `OptionError` where it is none of those allowed."""
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise OptionError(f"{name} is {value!r}, which it cannot be.", f"Choose one of {', '.join(CHOICES[name])}.")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise OptionError(f"{name} needs true or false, found {value!r}.", "Leave it out for the default.")
        return value
    if name == "crop":
        return _checked_crop(value)
    low, high = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"{name} needs a number, found {value!r}.", _hint(name))
    if not low <= value <= high:
        raise OptionError(f"{name} is {value:,}, out of its range.", _hint(name))
    if kind is int and value != int(value):
        raise OptionError(f"{name} needs a whole number, found {value}.", _hint(name))
    return int(value) if kind is int else float(value)


def _checked_crop(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        box = tuple(float(edge) for edge in value)
    except (TypeError, ValueError):
        box = ()
    if len(box) != 6 or not all(low < high for low, high in zip(box[:3], box[3:], strict=True)):
        raise OptionError(f"crop is {value!r}, which is no box.", "Give x0 y0 z0 x1 y1 z1, the lower corner first.")
    return box


def _hint(name: str) -> str:
    low, high = RANGES[name]
    return f"Choose {name} from {low:,} to {high:,}."

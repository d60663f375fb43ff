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
    resolution: int = 256  # cells of the density grid along the longest side
    size: float = 1.0  # longest side of the object in metres
    seed: int = 0  # same seed, same result

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise OptionError(f"{field.name} needs a number, found {value!r}.", _hint(field.name))
            if not low <= value <= high:
                raise OptionError(f"{field.name} is {value:,}, out of its range.", _hint(field.name))
            if field.type is int and value != int(value):
                raise OptionError(f"{field.name} needs a whole number, found {value}.", _hint(field.name))
            object.__setattr__(self, field.name, int(value) if field.type is int else float(value))


RANGES: dict[str, tuple[float, float]] = {
    "faces": (100, 1_000_000),
    "texture": (64, 8192),
    "resolution": (32, 512),
    "size": (0.0001, 100_000.0),
    "seed": (0, 2**31 - 1),
}
"""Lowest and highest value of each option."""


def mesh_options(values: Mapping[str, Any]) -> MeshOptions:
    """Options by name; those not named keep their defaults. Raises `OptionError` for an unknown name."""
    unknown = sorted(set(values) - set(RANGES))
    if unknown:
        raise OptionError(f"There is no option {unknown[0]!r}.", f"Options are {', '.join(RANGES)}.")
    return MeshOptions(**values)


def _hint(name: str) -> str:
    low, high = RANGES[name]
    return f"Choose {name} from {low:,} to {high:,}."

# SPDX-License-Identifier: GPL-3.0-or-later
"""How much care a mesh is given: three sets of options, and which of them some options are. No bpy."""

from collections.abc import Mapping
from typing import Any

DRAFT: dict[str, Any] = {"faces": 5_000, "texture": 512, "resolution": 128, "smoothing": 5, "fit": 0, "refine": 0}
STANDARD: dict[str, Any] = {"faces": 20_000, "texture": 1024, "resolution": 256, "smoothing": 5, "fit": 0, "refine": 0}
FINE: dict[str, Any] = {"faces": 80_000, "texture": 2048, "resolution": 384, "smoothing": 5, "fit": 50, "refine": 0}
"""Options by the names and in the types of `engine.options`. What they leave out (seed, size, topology, maps) is a
matter of purpose, not of care, and stays as the user has it."""

PRESETS: dict[str, dict[str, Any]] = {"DRAFT": DRAFT, "STANDARD": STANDARD, "FINE": FINE}
CUSTOM = "CUSTOM"


def preset_of(options: Mapping[str, Any]) -> str:
    """The name of the preset that some options are, or "CUSTOM". Options it does not speak of do not count."""
    for name, preset in PRESETS.items():
        if all(options[key] == value for key, value in preset.items()):
            return name
    return CUSTOM

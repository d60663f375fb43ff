# SPDX-License-Identifier: GPL-3.0-or-later
"""The generators there are and what each needs, in words for the panel. No bpy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Generator:
    """One of the networks that imagine an object."""

    name: str  # as in `engine.generators.base.GENERATORS`
    title: str
    description: str
    needs: str


GENERATORS = (
    Generator(
        "agg",
        "AGG",
        "One pass of a small network: seconds, also without a graphics card",
        "Included. Needs 1 GB of memory and no graphics card",
    ),
)
DEFAULT = GENERATORS[0].name


def generator(name: str) -> Generator:
    """The generator of this name, or the default one where a file of another version names one that is unknown."""
    return next((known for known in GENERATORS if known.name == name), GENERATORS[0])

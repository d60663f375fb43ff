# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints that survive being interrupted while written."""

from pathlib import Path
from typing import Any

import torch

from engine.errors import InputError
from engine.paths import written_whole


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers and strings; the file appears whole, the one before it is kept as `NAME.previous`."""
    path = Path(path)
    if path.exists():
        path.replace(path.with_name(path.name + ".previous"))
    with written_whole(path) as part:
        torch.save(state, part)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Any], str]:
    """The newest readable checkpoint at `path` and a note ("" or that the one before it was taken).

    Raises `InputError` where neither can be read.
    """
    path = Path(path)
    previous = path.with_name(path.name + ".previous")
    reasons = []
    for candidate in (path, previous):
        try:
            state = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for broken files; each is reported below
            reasons.append(f"{candidate.name}: {str(error).splitlines()[0]}")
            continue
        return state, f"{path.name} could not be read; continued from {previous.name}." if reasons else ""
    raise InputError(f"No readable checkpoint in {path.parent} ({'; '.join(reasons)}).", "Give another run folder.")

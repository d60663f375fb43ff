# SPDX-License-Identifier: GPL-3.0-or-later
"""What helps against an error, by its code: the buttons under a failed job. No bpy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """A button: the operator it calls, its label and icon."""

    operator: str
    text: str
    icon: str


TRY_AGAIN = Remedy("gaussmith.retry", "Try Again", "FILE_REFRESH")
CHOOSE_PICTURE = Remedy("gaussmith.retry_with_picture", "Choose Another Picture", "FILE_IMAGE")
FREE_MEMORY = Remedy("gaussmith.free_memory", "Free Memory and Try Again", "FILE_REFRESH")
REPAIR_ENGINE = Remedy("gaussmith.repair_engine", "Repair Engine", "TOOL_SETTINGS")
OPEN_LOG = Remedy("gaussmith.open_log", "Open Log", "TEXT")

_REMEDIES: dict[str, tuple[Remedy, ...]] = {
    "BAD_PICTURE": (CHOOSE_PICTURE,),
    "BAD_SPLATS": (TRY_AGAIN,),
    "EMPTY_RESULT": (CHOOSE_PICTURE,),
    "OUT_OF_MEMORY": (FREE_MEMORY,),
    "NO_ENGINE": (REPAIR_ENGINE,),
    "NO_HELLO": (REPAIR_ENGINE, OPEN_LOG),
    "BAD_MESSAGE": (REPAIR_ENGINE, OPEN_LOG),
    "OTHER_PROTOCOL": (REPAIR_ENGINE,),
    "BAD_WEIGHTS": (REPAIR_ENGINE,),
    "MISSING_PACKAGE": (REPAIR_ENGINE,),
    "ENGINE_DIED": (TRY_AGAIN, OPEN_LOG),
    "INTERNAL": (TRY_AGAIN, OPEN_LOG),
    "TIMEOUT": (TRY_AGAIN, OPEN_LOG),
}


def remedies_for(code: str, is_picture: bool = True) -> tuple[Remedy, ...]:
    """The buttons for an error of a job, the one that helps first; for an unknown error, to try again."""
    remedies = _REMEDIES.get(code, (TRY_AGAIN,))
    return (TRY_AGAIN,) if CHOOSE_PICTURE in remedies and not is_picture else remedies

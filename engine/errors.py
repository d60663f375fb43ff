# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure the engine can explain.

    GaussmithError
    |-- InputError                 what the user gave cannot be used
    |   |-- PictureError           BAD_PICTURE      not a picture, truncated, empty, too large
    |   |-- SplatFileError         BAD_SPLATS       a .ply that holds no usable Gaussians
    |   |-- OptionError            BAD_OPTION       an option out of its range
    |   `-- ProtocolError          BAD_MESSAGE      a line on the wire that is no message, or of another version
    |-- WeightsError               BAD_WEIGHTS      weights missing or not the ones expected
    |-- SurfaceError               BAD_SURFACE      a mesh cannot be made into what was asked for
    |-- EmptyFieldError            EMPTY_RESULT     a generator or file made nothing that has a surface
    |-- OutputError                CANNOT_WRITE     no permission, disk full, file exists
    |-- TrainingError              TRAINING         a training cannot go on: it diverges, or its data cannot be drawn
    |-- MissingPackageError        MISSING_PACKAGE  an optional package is needed for what was asked
    `-- Cancelled                  CANCELLED        the user asked to stop

Anything else that is raised is a fault of ours or of the machine: `explain` gives it the code INTERNAL, OUT_OF_MEMORY,
CANNOT_WRITE (a full disk met outside our own writer) or MISSING_PACKAGE.

The message says what was found and what was expected, the hint what to try.
The code lets Blender offer the right button.
"""

import errno


class GaussmithError(Exception):
    """Base of all errors with a sentence for the user."""

    code = "INTERNAL"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(GaussmithError):
    code = "BAD_INPUT"


class PictureError(InputError):
    code = "BAD_PICTURE"


class SplatFileError(InputError):
    code = "BAD_SPLATS"


class OptionError(InputError):
    code = "BAD_OPTION"


class ProtocolError(InputError):
    code = "BAD_MESSAGE"


class WeightsError(GaussmithError):
    code = "BAD_WEIGHTS"


class SurfaceError(GaussmithError):
    code = "BAD_SURFACE"


class EmptyFieldError(GaussmithError):
    code = "EMPTY_RESULT"


class OutputError(GaussmithError):
    code = "CANNOT_WRITE"


class TrainingError(GaussmithError):
    code = "TRAINING"


class MissingPackageError(GaussmithError):
    code = "MISSING_PACKAGE"


class Cancelled(GaussmithError):
    code = "CANCELLED"

    def __init__(self) -> None:
        super().__init__("Cancelled.")


def explain(error: BaseException) -> tuple[str, str, str]:
    """Code, message and hint for any exception, ours or not."""
    if isinstance(error, GaussmithError):
        return error.code, error.message, error.hint
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if isinstance(error, MemoryError) or "failed to allocate memory" in text.lower():
        return "OUT_OF_MEMORY", "The memory is full.", "Close other programs, or choose a lower resolution or texture."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return OutputError.code, "The disk is full.", "Free some space and try again."
    if isinstance(error, ImportError):
        return (
            MissingPackageError.code,
            f"The Python package {error.name or text} cannot be loaded: {text}.",
            "Set the engine's environment up again, then run `doctor`.",
        )
    return (
        GaussmithError.code,
        f"The engine failed in a way it does not know: {type(error).__name__}{': ' if text else ''}{text}.",
        "Try once more; if it fails again, please report it together with the log.",
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure the engine can explain.

    GaussmithError
    |-- InputError                 what the user gave cannot be used
    |   |-- PictureError           BAD_PICTURE      not a picture, truncated, empty, too large
    |   |-- SplatFileError         BAD_SPLATS       a .ply that holds no usable Gaussians
    |   |-- OptionError            BAD_OPTION       an option out of its range
    |   `-- ProtocolError          BAD_MESSAGE      a line on the wire that is no message, or of another version
    |-- WeightsError               BAD_WEIGHTS      weights missing or not the ones expected
    |-- EmptyFieldError            EMPTY_RESULT     a generator or file made nothing that has a surface
    |-- OutputError                CANNOT_WRITE     no permission, disk full, file exists
    |-- MissingPackageError        MISSING_PACKAGE  an optional package is needed for what was asked
    `-- Cancelled                  CANCELLED        the user asked to stop

The message says what was found and what was expected, the hint what to try.
The code lets Blender offer the right button.
"""


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


class EmptyFieldError(GaussmithError):
    code = "EMPTY_RESULT"


class OutputError(GaussmithError):
    code = "CANNOT_WRITE"


class MissingPackageError(GaussmithError):
    code = "MISSING_PACKAGE"


class Cancelled(GaussmithError):
    code = "CANCELLED"

    def __init__(self) -> None:
        super().__init__("Cancelled.")

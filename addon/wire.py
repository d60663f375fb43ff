# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's wire, the one thing add-on and engine share. No bpy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import protocol
else:
    from .engine import protocol  # inside the extension, or beside it in a checkout

__all__ = ("protocol",)

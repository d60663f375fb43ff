# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""`blender -c gaussmith ...`: known to Blender from the start, loaded when it is called."""

from typing import Any

import bpy

_command: Any = None


def _run(argv: list[str]) -> int:
    from . import batch

    return batch.run_command(argv)


def register() -> None:
    global _command
    _command = bpy.utils.register_cli_command("gaussmith", _run)


def unregister() -> None:
    bpy.utils.unregister_cli_command(_command)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussmith inside Blender: a picture becomes a textured mesh at the 3D cursor.

Nothing here is heavy: the work happens in a child process (`engine/`), and this package speaks to it over a pipe.
`environment`, `client`, `jobs` and `glb` need no Blender; everything else is imported when Blender calls `register`.
"""

from pathlib import Path
from types import ModuleType

# In the installed extension `engine/` lies in this folder; in a checkout it lies beside it.
if not (Path(__file__).parent / "engine").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def _parts() -> tuple[ModuleType, ...]:
    """Everything that registers something, each after what it needs."""
    from . import (
        api,
        command,
        operators,
        panels,
        preferences,
        properties,
        session,
        translations,
    )
    from .results import keeping, object_operators
    from .sidebar import history_operators, job_operators, keymap, source_operators, status_bar, thumbnails

    settings = (translations, preferences, thumbnails, properties)
    clicks = (operators, job_operators, source_operators, history_operators, object_operators)
    return (*settings, *clicks, panels, keymap, session, keeping, status_bar, api, command)


def register() -> None:
    """Makes classes, the session and the command known to Blender. An error undoes what was done."""
    done = []
    try:
        for part in _parts():
            part.register()
            done.append(part)
    except Exception:
        for part in reversed(done):
            part.unregister()
        raise


def unregister() -> None:
    """Ends the engine and takes everything back, in the reverse order."""
    for part in reversed(_parts()):
        part.unregister()

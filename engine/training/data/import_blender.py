# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that only Blender reads, read by a Blender beside us: GAUSSMITH_BLENDER, `blender` on the path, or bpy."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.blender import BLENDER, packages_path
from engine.blender import blender_command as command_for

WITHOUT = f"It needs Blender, and none was found: set {BLENDER} to a Blender program, or install the package bpy."

LIMIT_S = 600
"""Seconds one Blender may take for a batch of files."""

BATCH = 16
"""Files that share one Blender: it takes seconds to start."""


def blender_command() -> list[str] | None:
    """The command that runs `import_blender_child.py` but for its last argument; None where there is no Blender."""
    return command_for(Path(__file__).with_name("import_blender_child.py"))


@contextmanager
def as_glb(files: Sequence[Path]) -> Iterator[list[Path | str]]:
    """For each file a GLB of it, or the reason why there is none. They are gone when the block ends.

    A file at which Blender dies is left out and the rest tried again.
    """
    command = blender_command()
    if command is None:
        yield [WITHOUT] * len(files)
        return
    with tempfile.TemporaryDirectory(prefix="gaussmith-assets-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        pending = list(enumerate(str(path.resolve()) for path in files))
        while pending:
            failure = _run(command, folder, pending)
            begun = [k for k, _ in pending if (folder / f"{k}.glb").exists() or (folder / f"{k}.txt").exists()]
            if failure and (not begun or len(begun) == len(pending)):
                for k, _ in pending:
                    if k not in begun:
                        (folder / f"{k}.txt").write_text(failure, encoding="utf-8")
                break
            pending = [(k, path) for k, path in pending if k not in begun]
        yield [_result(folder, k) for k in range(len(files))]


def _run(command: list[str], folder: Path, files: list[tuple[int, str]]) -> str:
    """One Blender over files; a few words where it failed."""
    (folder / "job.json").write_text(json.dumps({"files": files, "path": packages_path()}), encoding="utf-8")
    try:
        with open(folder / "log.txt", "wb") as log:
            done = subprocess.run(
                [*command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_S,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
    except OSError as error:
        return f"Blender does not start: {error.strerror or error}."
    except subprocess.TimeoutExpired:
        return f"Blender took longer than {LIMIT_S} seconds."
    if done.returncode:
        return f"Blender ended with code {done.returncode}."
    missing = [k for k, _ in files if not (folder / f"{k}.glb").exists() and not (folder / f"{k}.txt").exists()]
    return "Blender ended without a word." if missing else ""


def _result(folder: Path, k: int) -> Path | str:
    path, reason = folder / f"{k}.glb", folder / f"{k}.txt"
    if path.exists():
        return path
    return (
        f"Blender could not read it: {reason.read_text(encoding='utf-8')}"
        if reason.exists()
        else "Blender left it out."
    )

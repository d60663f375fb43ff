# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the pictures of the panel's states for the documentation, in real windows.

python -m tests.blender.panel_pictures [FILE.png ...] [--blender blender-5.2] [--statue angel.ply]        to docs/

The engine is the fake one, but for `import-splats.png`: that needs a file of captured splats, y down, and is left as it
is without one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.conftest import load_build

from .conftest import INSIDE, NO_SPLASH, ROOT, write_fake_python
from .test_window import PICTURES, draw_picture

SECONDS = 1200
GAP = 12
COLOURS = 160
LARGEST_KB = 300
SIDEBARS = ("empty", "picture", "running", "queue", "done", "fail", "memory", "disk", "crash", "ready", "object")


@dataclass(frozen=True)
class Run:
    """One window, and what is made of the pictures taken there."""

    files: dict[str, tuple[str, ...]]  # by their names in docs/, the states they show side by side
    facts: str  # words in the names of the facts wanted
    scale: int = 1
    language: str = ""
    size: str = "1280x800"
    statue: bool = False  # needs captured splats and the real engine


RUNS = (
    Run({"panel-states.png": (*SIDEBARS, "history", "no-engine")}, "_0"),
    Run({"preferences.png": ("preferences",)}, "01 10", size="1280x960"),
    Run({"panel-states-2x.png": ("running", "done", "history")}, "01 02 03 08", scale=2, size="1600x1500"),
    Run({"panel-japanese.png": ("running", "memory", "crash", "object")}, "01 02 03 05 07", language="ja_JP"),
    Run({"panel-advanced.png": ("advanced", "advanced-all")}, "01 11", size="1280x1480"),
    Run({"import-splats.png": ("statue",)}, "12", statue=True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of the panel's states, to docs/.")
    parser.add_argument("files", nargs="*", metavar="FILE.png", help="those wanted; all without a name")
    parser.add_argument("--blender", default="blender-5.2")
    parser.add_argument("--statue", type=Path, metavar="FILE", help="captured splats for import-splats.png")
    arguments = parser.parse_args()
    if (program := shutil.which(arguments.blender)) is None:
        parser.error(f"{arguments.blender} is not on PATH; name a Blender that is.")
    for run in RUNS:
        wanted = {name: states for name, states in run.files.items() if not arguments.files or name in arguments.files}
        if run.statue and arguments.statue is None:
            if wanted:
                print(f"{', '.join(wanted)}: not made, no --statue was named")
            continue
        if wanted:
            with tempfile.TemporaryDirectory(prefix="gaussmith-pictures-") as folder:
                take(program, Path(folder), run, arguments.statue)
                for name, states in wanted.items():
                    save(sheet([crop(Path(folder), state) for state in states]), ROOT / "docs" / name)
    return 0


def take(program: str, folder: Path, run: Run, statue: Path | None) -> None:
    """Runs `panel_states.py` in a window of a new user's."""
    load_build(ROOT).stage(_made(folder / "user" / "extensions" / "user_default"))
    for picture in PICTURES:
        draw_picture(folder / f"{picture}.png")
    for name in ("teapot", "teapot hang"):
        shutil.copy(ROOT / "examples" / "teapot.png", folder / f"{name}.png")
    if run.statue and statue is not None:
        shutil.copy(statue, folder / statue.name)
    environ = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        "GAUSSMITH_ENGINE_PYTHON": sys.executable if run.statue else str(write_fake_python(folder)),
        "GAUSSMITH_FAKE": "",
        "GAUSSMITH_SCALE": str(run.scale),
        "GAUSSMITH_LANGUAGE": run.language,
        "GAUSSMITH_WINDOW": run.size,
        "GAUSSMITH_ONLY": run.facts,
    }
    enable = f"{NO_SPLASH}; bpy.ops.preferences.addon_enable(module='bl_ext.user_default.gaussmith'); "
    enable += "bpy.ops.wm.save_userpref()"
    subprocess.run([program, "-b", "--python-expr", enable], env=environ, capture_output=True, check=True)
    flags = ("-b", "--factory-startup", "--python", INSIDE / "open_window.py", "--", SECONDS)
    script = (INSIDE / "panel_states.py", folder / "outcomes.json", folder)
    subprocess.run([program, *map(str, (*flags, *script))], env=environ, capture_output=True, stdin=subprocess.DEVNULL)
    problems = {fact: told for fact, told in json.loads((folder / "outcomes.json").read_text()).items() if told}
    if problems:
        sys.exit("\n".join(f"{fact}: {told}" for fact, told in problems.items()))


def crop(folder: Path, state: str) -> Image.Image:
    """The part of the window that is meant."""
    picture = Image.open(folder / f"{state}.png").convert("RGB")
    return picture.crop(json.loads((folder / f"{state}.json").read_text()))


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side, in two rows where there are many."""
    rows = [pictures] if len(pictures) < 6 else [pictures[: -(-len(pictures) // 2)], pictures[-(-len(pictures) // 2) :]]
    width = max(sum(picture.width + GAP for picture in row) for row in rows) - GAP
    whole = Image.new(
        "RGB", (width, sum(max(picture.height for picture in row) + GAP for row in rows) - GAP), (20,) * 3
    )
    top = 0
    for row in rows:
        left = 0
        for picture in row:
            whole.paste(picture, (left, top))
            left += picture.width + GAP
        top += max(picture.height for picture in row) + GAP
    return whole


def save(picture: Image.Image, path: Path) -> None:
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size // 1000
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height} pixels, {size} kB")
    if size >= LARGEST_KB:
        sys.exit(f"{path.name} is larger than {LARGEST_KB} kB.")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())

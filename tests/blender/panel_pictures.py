# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the pictures of the panel's states for the documentation, in a real window with the fake engine.

python -m tests.blender.panel_pictures [blender-5.2 [panel-states-2x.png ...]]        to docs/
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.conftest import load_build

from .conftest import INSIDE, NO_SPLASH, ROOT, write_fake_python
from .test_window import PICTURES, draw_picture

SECONDS = 1200
GAP = 12
COLOURS = 160
SIDEBARS = ("empty", "picture", "running", "queue", "done", "fail", "memory", "crash", "ready", "object", "history")
SHEETS = {  # file -> scale, language, size of the window, words in the facts wanted, states
    "panel-states.png": (1, "", "1280x800", "", (*SIDEBARS, "no-engine")),
    "panel-states-2x.png": (2, "", "1600x1500", "01 02 03 08", ("running", "done", "history")),
    "panel-japanese.png": (1, "ja_JP", "1280x800", "01 02 03 05 07", ("running", "memory", "crash", "object")),
}


def main(program: str = "blender-5.2", *names: str) -> int:
    found = shutil.which(program)
    if found is None:
        sys.exit(f"{program} is not on PATH; name a Blender that is.")
    for name, (scale, language, size, only, states) in SHEETS.items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="gaussmith-pictures-") as folder:
            take(found, Path(folder), {"SCALE": str(scale), "LANGUAGE": language, "WINDOW": size, "ONLY": only})
            save(sheet([crop(Path(folder), state) for state in states]), ROOT / "docs" / name)
            if not only:
                save(crop(Path(folder), "preferences"), ROOT / "docs" / "preferences.png")
    return 0


def take(program: str, folder: Path, wanted: dict[str, str]) -> None:
    """Runs `panel_states.py` in a window of a new user's."""
    load_build(ROOT).stage(_made(folder / "user" / "extensions" / "user_default"))
    for picture in PICTURES:
        draw_picture(folder / f"{picture}.png")
    for name in ("teapot", "teapot hang"):
        shutil.copy(ROOT / "examples" / "teapot.png", folder / f"{name}.png")
    environ = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        "GAUSSMITH_ENGINE_PYTHON": str(write_fake_python(folder)),
        "GAUSSMITH_FAKE": "",
        **{f"GAUSSMITH_{name}": value for name, value in wanted.items()},
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
    """The sidebar in a state, without what is empty below."""
    picture = Image.open(folder / f"{state}.png").convert("RGB")
    return picture.crop(json.loads((folder / f"{state}.json").read_text()))


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side, in two rows where there are many."""
    rows = [pictures] if len(pictures) < 6 else [pictures[: -(-len(pictures) // 2)], pictures[-(-len(pictures) // 2) :]]
    width = max(sum(picture.width + GAP for picture in row) for row in rows)
    whole = Image.new("RGB", (width, sum(max(picture.height for picture in row) + GAP for row in rows)), (20, 20, 20))
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
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height} pixels, {path.stat().st_size // 1024} KiB")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

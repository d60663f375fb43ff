# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on costs Blender: its figures in a real window of each Blender, beside their targets.

    python benchmarks/addon.py [blender-4.3 blender-5.2 ...] [--jobs 200] [--only "drawing importing"]

Needs Xvfb, or a display. The window runs `addon_window.py`; jobs are made by the fake engine of the tests, and by the
real one where the answer depends on it. Ends with 1 where a target is missed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.export.glb import write_glb
from engine.surface.mesh import Mesh
from tests.blender.conftest import INSIDE, NO_SPLASH, write_fake_python
from tests.conftest import load_build

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 1800
PICTURES = ("slow", "quick", "hang")
TARGETS = {  # figure -> words, unit, most allowed
    "enable": ("enabling the add-on, first time in this run of Blender", "ms", 50),
    "enable_again": ("enabling it again", "ms", 50),
    "call": ("longest single call of ours during a job", "ms", 30),
    "pause": ("longest pause of the main thread during a job, less that without one", "ms", 30),
    "draw": ("drawing the panels, 50 jobs queued and 500 in the history (median)", "ms", 2),
    "draw_most": ("the same, 95th percentile", "ms", 2),
    "import": ("importing a mesh of 20,000 faces and a texture of 1024 px (median)", "ms", 100),
    "cancel_seen": ("from the click on Cancel until the panel says so (most)", "ms", 300),
    "cancel_idle": ("from the click on Cancel until the real engine is idle (most)", "ms", 2000),
    "growth": ("memory Blender grew by during {jobs} jobs, after 40 to warm up", "MB", 20),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="What the add-on costs Blender, in a real window.")
    parser.add_argument("blenders", nargs="*", default=["blender-4.3", "blender-5.2"], metavar="BLENDER")
    parser.add_argument("--jobs", type=int, default=200, help="how many in a row for the memory (default: 200)")
    parser.add_argument("--only", default="", metavar="WORDS", help="of cancelling, drawing, importing, memory, thread")
    arguments = parser.parse_args()
    build = load_build(ROOT)
    missed = 0
    for name in arguments.blenders:
        if (program := shutil.which(name)) is None:
            sys.exit(f"{name} is not on PATH; name a Blender that is.")
        with tempfile.TemporaryDirectory(prefix="gaussmith-benchmark-") as folder:
            figures = measure(program, build, Path(folder), arguments.jobs, arguments.only)
        missed += show(name, figures, arguments.jobs)
    return 1 if missed else 0


def measure(program: str, build, folder: Path, jobs: int, only: str) -> dict:
    """All figures of one Blender."""
    build.stage(_made(folder / "user" / "extensions" / "user_default"))
    write_inputs(folder)
    environ = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        "GAUSSMITH_ENGINE_PYTHON": str(write_fake_python(folder)),
        "GAUSSMITH_REAL_PYTHON": sys.executable,
        "GAUSSMITH_JOBS": str(jobs),
        "GAUSSMITH_ONLY": only,
        "GAUSSMITH_FAKE": "",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode is kept, as where users start Blender
    compiled = "import addon_utils; addon_utils.enable('bl_ext.user_default.gaussmith')"  # as after its first start
    subprocess.run(
        [program, "-b", "--python-expr", f"{NO_SPLASH}; {compiled}"], env=environ, capture_output=True, check=True
    )
    flags = ("-b", "--factory-startup", "--python-exit-code", "3", "--python", INSIDE / "open_window.py", "--", SECONDS)
    script = Path(__file__).with_name("addon_window.py")
    command = [program, *map(str, flags), str(script), str(folder / "outcomes.json"), str(folder)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    outcomes = json.loads((folder / "outcomes.json").read_text()) if (folder / "outcomes.json").exists() else {}
    problems = [problem for problem in outcomes.values() if problem]
    if done.returncode or problems or not outcomes:
        print("\n".join([*problems, done.stderr[-2000:], f"Blender ended with {done.returncode}."]), file=sys.stderr)
    written = folder / "figures.json"
    return json.loads(written.read_text()) if written.exists() else {"version": "no window", "notes": {}}


def show(name: str, figures: dict, jobs: int) -> int:
    """Prints one line per figure and returns how many miss their target or were not measured."""
    missed = 0
    print(f"{name} ({figures['version']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
    for key, (words, unit, most) in TARGETS.items():
        found = figures.get(key)
        verdict = "not measured" if found is None else "ok" if found <= most else "MISSED"
        missed += verdict != "ok"
        figure = "-" if found is None else f"{found:.2f}"
        print(f"  {words.format(jobs=jobs):72} {figure:>9} {unit}  target {most:>5} {unit}  {verdict}")
    for words, value in figures["notes"].items():
        print(f"    {words}: {value}")
    return missed


def write_inputs(folder: Path) -> None:
    """Pictures whose names tell the fake engine what to do, one for the real engine, and a mesh to import."""
    for name in PICTURES:
        picture = Image.new("RGBA", (256, 256))
        ImageDraw.Draw(picture).ellipse((48, 48, 208, 208), fill=(200, 80, 40, 255))
        picture.save(folder / f"{name}.png")
    shutil.copy(ROOT / "examples" / "teapot.png", folder / "teapot.png")
    write_glb(folder / "torus.glb", torus(100, 100, 1024), "torus")


def torus(around: int, across: int, side: int) -> Mesh:
    """A torus of 2 `around` `across` faces with a texture of `side` pixels."""
    u, v = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, across + 1), indexing="ij")
    reach = 0.6 + 0.3 * np.cos(2 * np.pi * v)
    points = np.stack([reach * np.cos(2 * np.pi * u), 0.3 * np.sin(2 * np.pi * v), reach * np.sin(2 * np.pi * u)], -1)
    corner = (np.arange(around)[:, None] * (across + 1) + np.arange(across)).reshape(-1)
    quads = np.stack([corner, corner + 1, corner + across + 2, corner + across + 1], -1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    noise = np.random.default_rng(0).integers(0, 24, (side, side, 3))
    texture = (np.linspace(0, 230, side)[None, :, None] + noise).astype(np.uint8)
    uvs = np.stack([u, v], -1).reshape(-1, 2).astype(np.float32)
    return Mesh(points.reshape(-1, 3).astype(np.float32), faces, uvs=uvs, texture=texture)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())

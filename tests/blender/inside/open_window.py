# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens a Blender window on a display of its own, runs a script in it and waits for its end.

    blender -b --factory-startup --python-exit-code 3 --python open_window.py -- SECONDS SCRIPT [ARGUMENT...]

It runs in Blender itself so that the display server is looked for where this Blender lives, in a container too.
Ends with Blender's exit code, 124 after SECONDS, or 77 where there is no Xvfb.
"""

import os
import shutil
import subprocess
import sys

import bpy

WIDTH, HEIGHT = map(int, os.environ.get("GAUSSMITH_WINDOW", "1280x800").split("x"))
NO_DISPLAY, TOO_LONG = 77, 124


def main(seconds: float, script: str, arguments: list[str]) -> int:
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        print("Xvfb is not installed", file=sys.stderr)
        return NO_DISPLAY
    number, told = os.pipe()
    display = subprocess.Popen(
        [xvfb, "-displayfd", str(told), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp"],
        pass_fds=[told],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(told)
    try:
        with os.fdopen(number) as answer:
            name = f":{answer.readline().strip()}"
        environ = {**os.environ, "DISPLAY": name, "LIBGL_ALWAYS_SOFTWARE": "1"}
        environ.pop("WAYLAND_DISPLAY", None)
        command = [bpy.app.binary_path, "--no-window-focus", "--window-geometry", "0", "0", str(WIDTH), str(HEIGHT)]
        command += ["--enable-event-simulate", "--python-exit-code", "3", "--python", script, "--", *arguments]
        try:
            return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return TOO_LONG
    finally:
        display.terminate()
        display.wait()


given = sys.argv[sys.argv.index("--") + 1 :]
sys.stdout.flush()
sys.exit(main(float(given[0]), given[1], given[2:]))

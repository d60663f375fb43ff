# SPDX-License-Identifier: GPL-3.0-or-later
"""From Gaussians to a GLB: seconds per stage, warm (same process) and cold (a new process from click to file).

Takes splat files as arguments, or the synthetic sets beside the checkout, or else a scene of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from engine.fields.splats import write_splats
from engine.pipeline import splats_to_mesh

ROOT = Path(__file__).resolve().parents[1]
SYNTHETIC = ROOT.parent / "shared" / "data" / "splats" / "synthetic"
ROUNDS = 3


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(argument) for argument in arguments] or sorted(SYNTHETIC.glob("*_splats.ply"))[:3]
        if not files:
            from density import scene  # the benchmark beside this one

            files = [Path(folder) / "scene.ply"]
            write_splats(files[0], scene(65_536))
        for file in files:
            measure(file, Path(folder) / "out.glb")
    return 0


def measure(file: Path, output: Path) -> None:
    """Prints the table of one file."""
    start = time.perf_counter()
    command = [sys.executable, "-X", "utf8", "-I", str(ROOT / "engine"), "mesh", str(file), "-o", str(output), "--json"]
    done = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, encoding="utf-8", check=True)
    wall = time.perf_counter() - start
    cold = json.loads(done.stdout.splitlines()[-1])["seconds"]
    splats_to_mesh(file, output)
    reports = [splats_to_mesh(file, output) for _ in range(ROUNDS)]
    warm = {stage: float(np.median([report["seconds"][stage] for report in reports])) for stage in cold}
    last = reports[-1]
    print(f"{file.name}: {last['gaussians']} Gaussians -> {last['faces']} faces, watertight: {last['watertight']}")
    print(f"  {'stage':12} {'warm s':>8} {'cold s':>8}")
    for stage in cold:
        print(f"  {stage:12} {warm[stage]:8.3f} {cold[stage]:8.3f}")
    print(f"  {'process':12} {sum(value for key, value in warm.items() if key != 'total'):8.3f} {wall:8.3f}")
    for warning in last["warnings"]:
        print(f"  {warning}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds and peak memory of our conversion over the number of Gaussians, each in a process of its own."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from shape_metrics import Truth, surface_samples

from engine.fields.gaussians import Gaussians
from engine.fields.splats import write_splats

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (16_384, 65_536, 262_144, 1_048_576)
RESOLUTIONS = (256, 512)
ROUNDS = 2
"""In one process; the first compiles kernels, the last is timed."""


def resampled(truth: Truth, count: int) -> Gaussians:
    """`count` Gaussians on the visible surface, made as the sets are: flat, 0.7 spacings wide, opacity 0.95."""
    drawn = surface_samples(truth.mesh, round(count / truth.visible.mean()), seed=3)
    seen = truth.visible[KDTree(truth.samples.points).query(drawn.points)[1]]
    points, normals = drawn.points[seen][:count], drawn.normals[seen][:count]
    spacing = float(np.sqrt(truth.area * truth.visible.mean() / count))
    # the rotation that takes z to the normal, without spin
    quats = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.full(len(normals), 1e-6)], -1)
    scales = np.tile(0.7 * spacing * np.array([1, 1, 0.15]), (len(points), 1))
    colors = truth.colors[KDTree(truth.mesh.vertices).query(points)[1]]
    return Gaussians(points, quats, scales, np.full(len(points), 0.95), colors)


def scaling_table(truth: Truth) -> list[dict[str, Any]]:
    """Prints and returns one row per resolution and number of Gaussians."""
    print(f"\nGaussians on {truth.name}; whole conversion, warm; memory is the peak of the process and of its helper")
    print(f"  {'grid':>6} {'Gaussians':>10} {'seconds':>8} {'MB':>7} {'helper MB':>9}  stages")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{count}.ply" for count in COUNTS]
        for file, count in zip(files, COUNTS, strict=True):
            write_splats(file, resampled(truth, count))
        for resolution in RESOLUTIONS:
            for file in files:
                rows.append(in_child(file, resolution))
                row = rows[-1]
                stages = ", ".join(f"{k} {v:.2f}" for k, v in row["stages"].items() if k != "total" and v >= 0.005)
                print(
                    f"  {resolution:>4}^3 {row['gaussians']:>10,} {row['stages']['total']:8.2f} {row['peak_mb']:7.0f} "
                    f"{row['helper_mb'] or np.nan:9.0f}  {stages}",
                    flush=True,
                )
    return rows


def in_child(splats: Path, resolution: int) -> dict[str, Any]:
    """Converts in a process of its own; its last line is the row."""
    code = "import json, sys, mesh_scaling; print(json.dumps(mesh_scaling.convert(sys.argv[1], int(sys.argv[2]))))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    command = [sys.executable, "-c", code, str(splats), str(resolution)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"The conversion of {splats.name} at {resolution}^3 failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def convert(splats: str, resolution: int) -> dict[str, Any]:
    """The row of one file and resolution."""
    from engine.options import MeshOptions
    from engine.pipeline import splats_to_mesh, stop_children

    with tempfile.TemporaryDirectory() as folder:
        options = MeshOptions(resolution=resolution)
        reports = [splats_to_mesh(splats, Path(folder) / "mesh.glb", options) for _ in range(ROUNDS)]
    own, helper = peak_mb(), max((peak_mb(child) for child in children()), default=None)
    stop_children()
    report = reports[-1]
    return {
        "resolution": resolution,
        "gaussians": report["gaussians"],
        "stages": report["seconds"],
        "peak_mb": own,
        "helper_mb": helper,
        "warnings": report["warnings"],
    }


def peak_mb(process: str = "self") -> float:
    """The most memory a process held. From /proc where there is one: `ru_maxrss` also counts what the parent held."""
    status = Path("/proc") / process / "status"
    if status.is_file():
        return next(int(row.split()[1]) for row in status.read_text().splitlines() if row.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def processor_seconds() -> float:
    """That this process and, where there is /proc, its children have spent so far."""
    total = time.process_time()
    for child in children():
        stat = Path("/proc") / child / "stat"
        fields = stat.read_text().rsplit(")", 1)[1].split()  # the name before may hold spaces
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def children() -> list[str]:
    """Numbers of this process' children; none where there is no /proc."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return listed.read_text().split() if listed.is_file() else []

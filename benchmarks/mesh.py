# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats to mesh: ours beside a DreamGaussian-style and an LGM-like conversion, on splat sets with known surface.

All in one run, warm and in one process. What is measured stands in `shape_metrics`, what the peers do in `baselines`.

    python build.py bench mesh                                 the table of all methods and sets
    PYTHONPATH=. python benchmarks/mesh.py --help              parts of it, sizes, contact sheets, JSON
    PYTHONPATH=. python benchmarks/mesh.py --scaling           seconds and memory over the number of Gaussians
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mesh_scaling import processor_seconds, scaling_table
from mesh_sheets import write_sheets
from shape_metrics import Truth, score, truth_sets

from engine.export.preview import read_mesh
from engine.options import MeshOptions, mesh_options
from engine.pipeline import splats_to_mesh
from engine.surface.mesh import Mesh

ROOT = Path(__file__).resolve().parents[1]
SPLATS = ROOT.parent / "shared" / "data" / "splats"
OURS = ("ours, density", "ours, tsdf", "ours", "ours, 24 views")
PEERS = ("DreamGaussian-style", "the same, eased", "LGM-like, no refine")
ROUNDS = 3

COLUMNS = (  # key of a score or of a row, heading, format
    ("total", "seconds", "8.2f"),
    ("processor", "CPU s", "7.2f"),
    ("chamfer", "chamfer", "7.3f"),
    ("f_0.5", "F 0.5", "6.3f"),
    ("f_1", "F 1", "6.3f"),
    ("f_0.5_whole", "F0.5 whole", "10.3f"),
    ("f_1_whole", "F1 whole", "8.3f"),
    ("offset", "offset", "6.2f"),
    ("normal_deg", "normals", "7.1f"),
    ("watertight", "closed", ">6"),
    ("components", "parts", "5.0f"),
    ("faces", "faces", "7.0f"),
    ("area_ratio", "area", "5.2f"),
    ("area_visible", "of seen", "7.2f"),
    ("psnr", "PSNR", "6.2f"),
    ("psnr_vertex", "vertex", "6.2f"),
    ("ssim", "SSIM", "6.4f"),
)
LEGEND = """\
ours      the surfacer chosen by measure, without views over the texture unless said
seconds   by the clock; CPU s: of all threads and helper processes, which depends less on what else the machine does
chamfer   mean distance from the result to the true surface plus mean distance from the visible true surface to it,
          per cent of the longest side of the true bounding box
F 0.5/1   F-score at 0.5 and 1 % of that side: precision against the whole true surface, recall of its part that can be
          seen from outside, which the splats were made from (`whole`: recall of all of it, unseen inner faces included)
offset    mean signed distance to the true surface, per cent, outwards positive;  normals: mean error in degrees
closed    every edge has two faces that run along it in opposite directions;  parts: components
area      over that of the whole true mesh, and of its visible part
PSNR      24 unlit pictures of 512 x 512 over white, from directions no method paints from, against the textured true
SSIM      object (vertex: against the set's own mesh with colours at vertices)
eased     the DreamGaussian-style conversion with (h/2)^2 added to each variance, for without it these thin Gaussians
          fall between its samples and most of the surface goes as debris, and with inverses of covariances made once"""


@dataclass(frozen=True)
class Made:
    """What a method made of one set."""

    mesh: Mesh | None  # in the frame of the splat file; None where nothing was left
    seconds: dict[str, float]  # per stage, and "total"
    processor: float  # seconds of all threads and helper processes
    notes: list[str] = field(default_factory=list)


Method = Callable[[Truth], Made]


def ours(truth: Truth, options: MeshOptions, rounds: int) -> Made:
    """The product's own road from file to file, as a user gets it; median seconds per stage of some rounds."""
    assert truth.splats is not None
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mesh.glb"
        reports, processor = [], []
        for _ in range(rounds):
            before = processor_seconds()
            reports.append(splats_to_mesh(truth.splats, output, options))
            processor.append(processor_seconds() - before)
        mesh = read_mesh(output)
    stages = reports[-1]["seconds"]
    seconds = {stage: float(np.median([report["seconds"].get(stage, 0.0) for report in reports])) for stage in stages}
    return Made(mesh, seconds, float(np.median(processor)), reports[-1]["warnings"])


def peer(convert: Callable[..., Any], truth: Truth, **settings: Any) -> Made:
    assert truth.splats is not None
    mesh, clock, notes = convert(truth.splats, **settings)
    return Made(mesh, {**clock.seconds, "total": sum(clock.seconds.values())}, clock.processor, notes)


def methods_of(arguments: argparse.Namespace) -> dict[str, Method]:
    """The methods asked for, by name, in the order of the tables."""
    # After the engine, which sets how threads wait, before torch reads it.
    from baselines import dream_gaussian
    from lgm_like import lgm_like

    size = {"faces": arguments.faces, "texture": arguments.texture, "resolution": arguments.resolution}
    known: dict[str, Method] = {}
    for name, surface, views in zip(OURS, ("density", "tsdf", "auto", "auto"), (0, 0, 0, 24), strict=True):
        options = mesh_options({**size, "surface": surface, "views": views, "keep_frame": True})
        known[name] = partial(ours, options=options, rounds=arguments.rounds)
    known[PEERS[0]] = partial(peer, dream_gaussian, share=arguments.sample_blocks)
    known[PEERS[1]] = partial(peer, dream_gaussian, share=arguments.sample_blocks, eased=True)
    known[PEERS[2]] = partial(peer, lgm_like, iterations=arguments.iterations)
    return {name: known[name] for name in known if name in arguments.methods}


def measure(truths: list[Truth], methods: dict[str, Method], sheets: Path | None) -> list[dict[str, Any]]:
    """One row per set and method, printed as it is found."""
    rows = []
    for number, truth in enumerate(truths):
        print(
            f"\n{truth.name}: {len(truth.mesh.faces)} true faces, {'closed' if truth.closed else 'open'}, "
            f"{100 * truth.visible.mean():.1f} % of the area can be seen from outside"
        )
        print(heading())
        made: dict[str, Made] = {}
        for name, method in methods.items():
            if number == 0 and name in OURS:
                method(truth)  # compiles kernels, starts the helper process
            made[name] = method(truth)
            scores = score(made[name].mesh, truth)
            rows.append({"set": truth.name, "method": name, "seconds": made[name].seconds, **scores})
            rows[-1] |= {
                "total": made[name].seconds["total"],
                "processor": made[name].processor,
                "notes": made[name].notes,
            }
            print(line(rows[-1]), flush=True)
        for name, result in made.items():
            print(f"  {name}: " + stages_of([result.seconds]))
            for note in result.notes:
                print(f"    {note}")
        if sheets and truth.splats:
            write_sheets(truth.splats, {n: result.mesh for n, result in made.items() if result.mesh}, sheets)
    return rows


def heading() -> str:
    return f"  {'':20}" + " ".join(f"{title:>{width(format_)}}" for _, title, format_ in COLUMNS)


def width(format_: str) -> int:
    return int(format_.lstrip(">").split(".")[0])


def line(row: dict[str, Any], title: str = "") -> str:
    """One row of a table."""
    cells = []
    for key, _, format_ in COLUMNS:
        value = row.get(key)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        cells.append(f"{'-':>{width(format_)}}" if value is None else format(value, format_))
    return f"  {title or row['method']:20}" + " ".join(cells)


def stages_of(all_seconds: list[dict[str, float]]) -> str:
    """Mean seconds per stage in one line."""
    names = dict.fromkeys(stage for seconds in all_seconds for stage in seconds)
    means = {name: np.mean([seconds.get(name, 0.0) for seconds in all_seconds]) for name in names}
    return ", ".join(f"{name} {value:.3f}" for name, value in means.items() if value >= 0.0005)


def means_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Method -> mean of each column over the sets; `watertight` as the number of sets."""
    means: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        means[name] = {"method": name, "sets": len(own)}
        for key, *_ in COLUMNS:
            values = [row[key] for row in own if row[key] is not None]
            if key == "watertight":
                means[name][key] = f"{sum(values)}/{len(own)}"
            else:
                means[name][key] = float(np.mean(values)) if values else None
        for key in ("f_0.5", "f_1", "area_ratio", "psnr", "total"):
            values = [row[key] for row in own if row[key] is not None]
            means[name][f"least_{key}"] = min(values, default=None)
            means[name][f"most_{key}"] = max(values, default=None)
        means[name]["stages"] = [row["seconds"] for row in own]
    return means


def summary(rows: list[dict[str, Any]], means: dict[str, dict[str, Any]]) -> None:
    """Means per method, and ours over each peer."""
    print(f"\nMeans over {len({row['set'] for row in rows})} sets")
    print(heading())
    for mean in means.values():
        print(line(mean))
        print(f"  {'':20}{stages_of(mean['stages'])}")
    print("\nWorst set of each method")
    for name, mean in means.items():
        print(
            f"  {name:20}F 0.5 {mean['least_f_0.5']:.3f}, F 1 {mean['least_f_1']:.3f}, "
            f"area at most {mean['most_area_ratio']:.2f}, PSNR {mean['least_psnr'] or 0:.2f}, "
            f"seconds at most {mean['most_total']:.2f}"
        )
    for own in (name for name in OURS if name in means):
        for other in (name for name in PEERS if name in means):
            faster, less = (means[other][key] / means[own][key] for key in ("total", "processor"))
            decibels = (means[own]["psnr"] or 0) - (means[other]["psnr"] or 0)
            print(f"  {own:20}against {other}: {faster:.1f} x as fast, by CPU time {less:.1f} x, {decibels:+.2f} dB")


def load() -> str:
    """What else the machine does, in words."""
    return f", {os.getloadavg()[0]:.1f} processes wanted to run in the last minute" if hasattr(os, "getloadavg") else ""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mesh.py", description="Splats to mesh: ours and peers in one run.")
    parser.add_argument("--data", type=Path, default=SPLATS / "synthetic", help="folder of the sets, with index.csv")
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME", help="only sets whose name begins so")
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS], metavar="METHOD")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of ours; medians count")
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--texture", type=int, default=1024)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument(
        "--sample-blocks",
        type=float,
        default=1 / 8,
        metavar="SHARE",
        help="of the peer's density blocks to gather and time; the time is scaled up, and values come from a scatter",
    )
    parser.add_argument("--iterations", type=int, default=150, help="of the LGM-like fit (LGM: 512, on a GPU)")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="write contact sheets there, also of the statues")
    parser.add_argument(
        "--scaling", action="store_true", help="seconds and memory over the number of Gaussians instead"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    if not (arguments.data / "index.csv").is_file():
        print(f"Found no index.csv in {arguments.data}. Name the folder of the splat sets with --data.")
        return 1
    truths = truth_sets(arguments.data)
    truths = [t for t in truths if not arguments.sets or any(t.name.startswith(name) for name in arguments.sets)]
    if not truths:
        print(f"Found no set called {' or '.join(arguments.sets)} in {arguments.data}.")
        return 1
    print(f"{os.cpu_count()} processors{load()}")
    result: dict[str, Any]
    if arguments.scaling:
        result = {"scaling": scaling_table(truths[0])}
    else:
        print(LEGEND)
        methods = methods_of(arguments)
        rows = measure(truths, methods, arguments.sheets)
        means = means_of(rows)
        summary(rows, means)
        if arguments.sheets:
            for file in sorted(arguments.data.parent.glob("*.ply")):  # captured ones, y down
                write_sheets(file, {}, arguments.sheets, up="-y")
        result = {"rows": rows, "means": means}
    print(f"At the end{load()}")
    if arguments.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

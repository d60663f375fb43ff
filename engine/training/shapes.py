# SPDX-License-Identifier: GPL-3.0-or-later
"""Procedural shapes as a pack for training: `python -m engine train shapes -o shapes.csv --count 2000 --seed 0`."""

import argparse
import json
import sys
import time

import numba
from tqdm import tqdm

from engine.errors import OptionError
from engine.training.data.pack_writer import index_path, write_pack
from engine.training.data.procedural import ShapeSettings, shapes
from engine.training.data.procedural_things import FAMILIES


def main(argv: list[str]) -> int:
    """The command line of `engine train shapes`; returns the exit code."""
    defaults = ShapeSettings()
    parser = argparse.ArgumentParser(prog="engine train shapes", description=__doc__)
    parser.add_argument("-o", "--output", required=True, metavar="PACK.csv", help="index file; shards lie beside it")
    parser.add_argument("--count", type=int, default=2000, help="objects (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same objects")
    parser.add_argument("--texture", type=int, default=defaults.texture, help="pixels a side (default %(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", choices=list(FAMILIES), metavar="KIND", help="only these: " + ", ".join(FAMILIES)
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a pack of this name")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args(argv)
    for name, low, high in (("count", 1, 1_000_000), ("texture", 32, 1024), ("seed", 0, 2**31)):
        if not low <= getattr(arguments, name) <= high:
            raise OptionError(f"{name} is {getattr(arguments, name)}.", f"Choose {name} from {low} to {high}.")
    numba.set_num_threads(1)  # kernels here are too short for more
    shares = {name: FAMILIES[name][1] for name in arguments.kinds or FAMILIES}
    settings = ShapeSettings(arguments.texture, tuple(shares.items()))
    began = time.perf_counter()
    drawn = shapes(arguments.count, arguments.seed, settings)
    bar = tqdm(drawn, total=arguments.count, disable=not sys.stderr.isatty(), unit=" shapes")
    report = write_pack(arguments.output, bar, arguments.overwrite)
    index = index_path(arguments.output)
    size = sum(path.stat().st_size for path in index.parent.glob(f"{index.stem}*") if path.is_file())
    seconds = time.perf_counter() - began
    if arguments.json:
        print(json.dumps({"pack": str(index), "written": report.written, "bytes": size, "seconds": round(seconds, 1)}))
    else:
        print(f"{index}: {report.written} objects, {size / 1e6:.1f} MB, {seconds / report.written:.3f} s each")
    return 0

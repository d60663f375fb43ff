# SPDX-License-Identifier: GPL-3.0-or-later
"""What each part of AGG earns: `python -m engine ablate agg --data TRAIN --pack DEV --minutes M`.

Every variant is trained for the same minutes with the same seed, data and settings, each in a folder of its own below
`--runs`: from nothing, or with --start from weights trained before, of which all take depth layers and camera, so that
the minutes go to the parts in question. Each is measured on the same pictures: one of each object, 12 new views, in the
camera's frame and aligned, with the averaged weights in torch. The table shows each variant's difference to the full
network with 95 % intervals over objects; below zero in PSNR or F means that the part earns its place. The minutes are
equal, so a part also pays for the time it takes; the column `examples` says how many each variant saw. On a processor
they are minutes of processor time, so that what else the machine does counts for none.

Stopped, it goes on where it was: finished variants are not trained again, the one at work continues.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.errors import Cancelled, GaussmithError, OptionError
from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.evaluate import Settings, evaluate
from engine.generators.agg.network import AggNetwork
from engine.generators.agg.quick import torch_generator
from engine.generators.agg.train import SHARES, STOPPED, TrainSettings, train
from engine.paths import written_whole
from engine.training.checkpoint import load_checkpoint
from engine.training.device import choose_device
from engine.training.evaluation.statistics import paired_difference

FULL = "full"
RESULT = "ablation.json"
FIGURES = ("psnr", "perceptual_r", "psnr_input", "chamfer", "f_0.1", "aligned_f_0.1")
VIEWS = 12
LOOK = ("vit", "unet", "unet_context", "layer_head", "camera_head")
"""The parts of the network that every variant has."""


def variants(config: AggConfig) -> dict[str, AggConfig]:
    """The full network first, then each without one of its parts. Parts the preset lacks have no variant."""
    found = {FULL: config}
    changes: dict[str, dict[str, Any]] = {
        "no-texture-field": {"texture_field": False},
        "no-warmup": {"warmup": False},
        "no-superres": {"superres": 1},
        "no-projected": {"projected": False},
        "learned-queries": {"start": "learned", "generate": config.queries * config.superres},
        "isotropic": {"anisotropic": False},
        "no-latent": {"latent": 0},
    }
    for name, change in changes.items():
        changed = replace(config, **change)
        if changed != config:
            found[name] = changed
    return found


@dataclass(frozen=True)
class Ablation:
    """What all variants have in common."""

    data: Sequence[str | Path]  # index files of packs to train on, with shares or without
    pack: Path  # index file of the pack to measure on
    runs: Path
    settings: TrainSettings
    limit: int | None = None  # objects measured
    start: Path | None = None  # weights whose look all variants begin with


def ablate(ablation: Ablation, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Results by name of variant, trained where they are not finished. Raises `Cancelled` where it was asked to stop.

    A result holds `mean` and `rows` of `evaluate`, `steps`, `examples` and `parameters`.
    """
    results = {}
    for name, config in _chosen(PRESETS[ablation.settings.preset], names).items():
        folder = ablation.runs / name
        done = finished(folder, ablation)
        results[name] = done or _result(folder, config, ablation)
        print(f"{name}: {'finished before' if done else 'finished'}", file=sys.stderr, flush=True)
    return results


def finished(folder: Path, ablation: Ablation) -> dict[str, Any] | None:
    """The result in the folder of a variant, where it is of this very ablation."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return result if result["of"] == _identity(ablation) else None
    except (OSError, ValueError, KeyError):
        return None


def _chosen(config: AggConfig, names: Sequence[str]) -> dict[str, AggConfig]:
    known = variants(config)
    wrong = [name for name in names if name not in known]
    if wrong:
        raise OptionError(f"There is no variant {wrong[0]!r} of this preset.", f"Variants are {', '.join(known)}.")
    return {name: config for name, config in known.items() if not names or name in (FULL, *names)}


def _result(folder: Path, config: AggConfig, ablation: Ablation) -> dict[str, Any]:
    """Trains one variant to its end, measures it and keeps the result in its folder."""
    begin = _look_of(ablation.start, folder.parent / "look.pt") if ablation.start else None
    state, _ = load_checkpoint(train(ablation.data, folder, ablation.settings, True, begin, config))
    network = AggNetwork(config)
    network.load_state_dict(state["ema"])
    measured = Settings(pictures=1, views=VIEWS, limit=ablation.limit, baselines=False, timed=False)
    figures = evaluate(ablation.pack, torch_generator(network), measured, folder / "sheet.png")
    result = {
        "of": _identity(ablation),
        "steps": state["step"],
        "examples": state.get("examples", state["step"] * ablation.settings.batch),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "mean": figures["mean"]["agg"],
        "rows": figures["rows"],
    }
    with written_whole(folder / RESULT) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _look_of(start: Path, path: Path) -> Path:
    """Writes to `path` those weights of `start` that make the look of a picture, and returns it."""
    state, _ = load_checkpoint(start)
    look = {name: value for name, value in state["network"].items() if name.split(".")[0] in LOOK}
    with written_whole(path) as part:
        torch.save({"preset": state["preset"], "network": look}, part)
    return path


def _identity(ablation: Ablation) -> dict[str, Any]:
    """What results must share to stand in one table."""
    shared = {name: getattr(ablation.settings, name) for name in ("preset", "minutes", "clock", "batch", "seed")}
    shared |= {"shares": list(ablation.settings.shares), "start": str(ablation.start)}
    data = [str(index) for index in ablation.data]
    return shared | {"data": data, "pack": str(ablation.pack), "limit": ablation.limit}


def compared(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of each variant its means, and its difference to the full network, [mean, low, high] by figure."""
    whole = results[FULL]["rows"]
    objects = [row["object"] for row in whole]
    table: dict[str, Any] = {}
    for name, result in results.items():
        table[name] = {key: result[key] for key in ("steps", "examples", "parameters", "mean")}
        if name != FULL:
            table[name]["difference"] = {
                figure: paired_difference(
                    [row["agg"][figure] for row in result["rows"]], [row["agg"][figure] for row in whole], objects
                ).as_list()
                for figure in FIGURES
            }
    return table


def told(table: dict[str, Any]) -> str:
    """The table for people: means of the full network, differences of the others with their intervals."""
    lines = [f"{'variant':18}{'examples':>10}{'M param.':>10}" + "".join(f"{figure:>26}" for figure in FIGURES)]
    for name, row in table.items():
        head = f"{name:18}{row['examples']:10,}{row['parameters'] / 1e6:10.2f}"
        if "difference" not in row:
            lines.append(head + "".join(f"{row['mean'][figure]:26.4f}" for figure in FIGURES))
            continue
        cells = []
        for figure in FIGURES:
            mean, low, high = row["difference"][figure]
            cells.append(f"{f'{mean:+.3f} ({low:+.3f}, {high:+.3f})':>26}")
        lines.append(head + "".join(cells))
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line of `engine ablate agg`; returns the exit code, 130 where it was stopped."""
    defaults = TrainSettings()
    parser = argparse.ArgumentParser(prog="engine ablate agg", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", nargs="+", required=True, metavar="PACK[:SHARE]", help="packs to train on")
    parser.add_argument("--pack", type=Path, required=True, help="index file of the pack to measure on")
    parser.add_argument("--minutes", type=float, required=True, help="of training, for each variant")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="folder for the runs [%(default)s]")
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME", help="only these, beside the full network")
    parser.add_argument("--preset", choices=list(PRESETS), default=defaults.preset)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--shares", type=float, nargs=4, default=defaults.shares, metavar=SHARES,
                        help="of the minutes, at which the stages after the first begin")  # fmt: skip
    parser.add_argument("--start", type=Path, metavar="WEIGHTS.pt", help="begin with the look of these weights")
    parser.add_argument("--limit", type=int, help="measure on only so many objects")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the table")
    options = parser.parse_args(argv)
    settings = replace(defaults, preset=options.preset, minutes=options.minutes, batch=options.batch,
                       workers=options.workers, threads=options.threads, seed=options.seed,
                       shares=tuple(options.shares),
                       clock="processor" if choose_device("auto").type == "cpu" else "wall")  # fmt: skip
    ablation = Ablation(options.data, options.pack, options.runs, settings, options.limit, options.start)
    try:
        table = compared(ablate(ablation, options.variants))
        if options.output:
            with written_whole(options.output) as part:
                part.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    except Cancelled:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return STOPPED
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(told(table))
    return 0

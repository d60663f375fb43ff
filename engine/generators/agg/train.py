# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of AGG, from a pack of objects to a checkpoint that `engine export agg` makes into weights.

    python -m engine train agg --preset s --data train.csv shapes.csv:0.5 --minutes 600 --run runs/agg-s
    python -m engine train agg --resume runs/agg-s                  # stopped, killed, or copied from another machine
    python -m engine train agg --resume runs/agg-s --minutes 900    # longer: the rate falls to the new end
    python -m engine train agg --resume runs/agg-s --stage sr       # that stage only, from what the run holds
    python -m engine train agg --preset s --start engine/weights/agg_s.pt --data mine.csv --run runs/mine
    torchrun --nproc-per-node 8 -m -- engine train agg --preset m --data train.csv --run runs/agg-m
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -m -- engine train agg ...

A run is a folder: `run.json` says what it is made of, `checkpoint.pt` holds it, with the one before it beside, and
`stats.jsonl`, `grid-*.png` and, with --dev, `best.pt` tell how it goes. A copy of the folder goes on under the same id
on any machine; what the command does not say, --resume takes from the run. The minutes are those of all sittings.
Ctrl-C or termination saves before it ends. In several processes each takes its own --batch and gradients are averaged;
torchrun needs the `--`, or it takes --run for an option of its own.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numba
import torch

from engine.errors import Cancelled, GaussmithError, OptionError
from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.data import batches
from engine.generators.agg.loss import Batch, LossWeights, geometry_loss, look_at_best, look_loss, rendering_loss
from engine.generators.agg.network import AggNetwork
from engine.generators.agg.quick import quick_figures
from engine.training.checkpoint import has_checkpoint, load_checkpoint
from engine.training.data.mixture import Mixture, parse_data
from engine.training.data.packs import Pack
from engine.training.data.views import ViewSettings
from engine.training.device import DEVICES, autocast
from engine.training.distributed import is_first
from engine.training.ema import Ema
from engine.training.interrupt import STOPPED
from engine.training.muon import Muon
from engine.training.run_folder import CHECKPOINT, RunPlan, remembered
from engine.training.schedule import learning_rate
from engine.training.sitting import Limits, Sitting
from engine.training.stats import save_grid

STAGES = ("layers", "warmup", "coarse", "sr", "joint")
"""Depth layers and camera alone; then the queries too, by distances of points; then both with rendered views; then only
the super-resolution; then all."""

SHARES = tuple(stage.upper() for stage in STAGES[1:])
"""What `--shares` takes."""

TARGETS = {"coarse": 80, "sr": 112, "joint": 112}
"""Side of the rendered views, in pixels; other stages render none."""

JOINT = 0.2
"""Share of the highest rate that all weights together are trained with at the end."""

LATENTS = 4
"""Random latents of which the best is trained."""

DECISIVE = "f_0.1"
"""The figure by which the best weights of a run are told."""

CLOCKS = {"wall": time.monotonic, "processor": time.process_time}
"""By which a run's minutes are counted."""

FREE = ("generate", "warmup")
"""Numbers of the configuration that may change within a run."""


@dataclass(frozen=True)
class TrainSettings:
    """What a run is made of."""

    preset: str = "xs"
    minutes: float = 90.0
    clock: str = "wall"  # what minutes are of; or "processor": this process's, fair beside other work
    batch: int = 8
    peak_rate: float = 1e-3
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.995
    shares: tuple[float, ...] = (0.3, 0.4, 0.75, 0.9)  # of the minutes used when the stages after the first begin
    warmup_queries: int = 512
    workers: int = 1
    threads: int = 2  # one, where other work shares the machine: waiting for a busy core costs more than it gains
    seed: int = 0
    stage: str = "all"  # or the only one to train
    dev: str = ""  # index file of a pack for figures now and then
    dev_every: float = 10.0  # minutes
    device: str = "auto"
    save_every: float = 180.0  # seconds
    report_every: int = 25  # steps


def begin_with(network: AggNetwork, start: Path, preset: str) -> list[str]:
    """Loads the weights an export left in `start` (.pt); returns the names of those it lacks, which stay as they were.

    Raises `OptionError` for another preset, or where nothing fits.
    """
    state, _ = load_checkpoint(start)
    if state["preset"] != preset:
        raise OptionError(
            f"{start} holds weights of preset {state['preset']!r}, not {preset!r}.", "Give that --preset."
        )
    own = network.state_dict()
    fitting = {name: value.float() for name, value in state["network"].items()
               if name in own and own[name].shape == value.shape}  # fmt: skip
    if not fitting:
        raise OptionError(f"{start} holds no weights of this network.", "Give the .pt beside an exported AGG.")
    network.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def stage_at(fraction: float, shares: tuple[float, ...], config: AggConfig, only: str = "all") -> tuple[str, float]:
    """The stage at a fraction of the minutes, and how much of it is over; left-out stages go to the one before."""
    if only != "all":
        return only, fraction
    bounds = (0.0, *shares, 1.0)
    index = sum(fraction >= share for share in shares)
    if not config.warmup and index < 2:
        index, bounds = 2, (0.0, 0.0, 0.0, *bounds[3:])
    if config.superres == 1 and index > 2:
        index, bounds = 2, (*bounds[:3], 1.0, 1.0, 1.0)
    begin, end = bounds[index], bounds[index + 1]
    return STAGES[index], min(1.0, (fraction - begin) / max(end - begin, 1e-9))


def rate_at(
    stage: str, progress: float, fraction: float, step: int, settings: TrainSettings, config: AggConfig
) -> float:
    """The learning rate: one cosine up to the coarse stage's end, one for super-resolution, a low one for both."""
    if stage == "sr":  # its weights are new: the others are annealed already
        return learning_rate(progress, round(1000 * progress), settings.peak_rate)
    if stage == "joint":
        return learning_rate(progress, round(1000 * progress), JOINT * settings.peak_rate)
    alone = settings.stage != "all" or config.superres == 1
    return learning_rate(fraction if alone else fraction / settings.shares[2], step, settings.peak_rate)


def train(
    indexes: Sequence[str | Path],
    run: Path,
    settings: TrainSettings,
    resume: bool,
    start: Path | None = None,
    config: AggConfig | None = None,
) -> Path:
    """Trains until the run's minutes are used and returns the path of its last checkpoint.

    `indexes` may have shares (`parse_data`). A new run begins with the weights in `start`, where given; `resume`
    continues the run in the folder, where there is one. `config` takes the place of the preset's sizes. Raises
    `Cancelled` where it was asked to stop, once it has saved; other errors as `Sitting` does.
    """
    # Settings
    config = config or PRESETS[settings.preset]
    check_stage(settings.stage, config)
    views = ViewSettings(picture=config.picture, layers=config.layers)
    packs = parse_data(indexes)
    fixed = {name: value for name, value in asdict(config).items() if name not in FREE}
    plan = RunPlan("agg", settings.preset, asdict(settings), packs, fixed)
    limits = Limits(settings.minutes, settings.batch, settings.clip, settings.seed, settings.save_every,
                    60 * settings.dev_every, CLOCKS[settings.clock])  # fmt: skip
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    numba.set_num_threads(min(settings.threads, numba.get_num_threads()))

    with Sitting(run, plan, resume, limits, settings.device, "python -m engine train agg") as sitting:
        for note in sitting.group.from_first(lambda: notes_on(packs, settings.dev)):
            sitting.say(note)

        # Network
        network = AggNetwork(config)
        network.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(sitting.device)
        if start is not None:
            missing = begin_with(network, start, settings.preset)
            sitting.say(f"Beginning with {start}" + (f", but for {len(missing)} new weights." if missing else "."))
        ema = Ema(network, settings.ema)

        # Optimiser
        optimizer = Muon(network, settings.peak_rate, weight_decay=settings.weight_decay)
        sitting.begin(network, ema, optimizer)

        # Loop
        latents = torch.Generator().manual_seed(sitting.seed())
        while sitting.goes_on():
            stage, progress = stage_at(sitting.fraction, settings.shares, config, settings.stage)
            rendering = stage in TARGETS
            drawn = replace(config, queries=config.queries if rendering else settings.warmup_queries)
            shown = replace(views, targets=views.targets if rendering else 0, target=TARGETS.get(stage, 8))
            mixed = rendering and config.start == "layers"  # learned queries are always as many
            draw = partial(batches, indexes, drawn, shown, settings.batch, settings.workers, mixed=mixed)
            batch = sitting.batch(stage, draw)
            if batch is None:
                break
            batch = batch.to(sitting.device)
            rate = sitting.set_rate(rate_at(stage, progress, sitting.fraction, sitting.step, settings, config))
            rendered = None
            weights = LossWeights()
            if rendering:
                over = progress if stage == "coarse" else 1.0
                network.release = max(0.0, 2 * over - 1)
                weights = replace(weights, chamfer=1 - over + over * weights.chamfer_end)
            output = coarse = None
            with autocast(sitting.device):
                with torch.set_grad_enabled(stage != "sr"):
                    inputs, look = look_at_best(network, batch, LATENTS, latents)
                    if stage != "layers":
                        output = coarse = network.coarse(inputs, look)
                if stage in ("sr", "joint") and network.superres:
                    output = network.superres(coarse, inputs.picture, inputs.spacing)
            loss, parts = look_loss(look, batch, weights) if coarse is None else geometry_loss(coarse, batch, weights)
            if output is not None and rendering:
                more_loss, more, rendered = rendering_loss(output, batch, config, weights)
                loss, parts = loss + more_loss, parts | more
            sitting.take(loss, parts)

            # Report and save
            if sitting.step % settings.report_every == 0:
                sitting.report(stage=stage, rate=round(rate, 7))
            if sitting.step % (20 * settings.report_every) == 0:
                grid = partial(_save_pictures, run / f"grid-{sitting.step:06d}.png", batch, look.layers, rendered)
                sitting.attempt(grid)
            if settings.dev:
                sitting.figures_when_due(lambda: quick_figures(ema.applied_to(network), Path(settings.dev)), DECISIVE)
            sitting.save_when_due()
        sitting.end()
    return sitting.run.checkpoint


def notes_on(packs: list[tuple[Path, float]], dev: str) -> list[str]:
    """Sentences on objects that were left out. Raises `InputError` where a pack cannot be read."""
    return Mixture(packs).notes() + ([note] if dev and (note := Pack(dev).note()) else [])


def check_stage(stage: str, config: AggConfig) -> None:
    """Raises `OptionError` where the network has no such stage."""
    if stage not in ("all", *STAGES):
        raise OptionError(f"The stage is {stage!r}.", f"Choose one of {', '.join(STAGES)}.")
    if stage in ("sr", "joint") and config.superres == 1:
        raise OptionError(
            f"There is no super-resolution to train in stage {stage!r}.", "Choose another preset or stage."
        )


def _save_pictures(path: Path, batch: Batch, layers: torch.Tensor, rendered: torch.Tensor | None) -> None:
    """The first examples: picture, true and predicted layers; in the coarse stage true and rendered views."""
    rows = []
    size = batch.picture.shape[-1]

    def grown(picture: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], size=size)[0].permute(1, 2, 0)

    for b in range(min(6, len(batch.picture))):
        rgba = batch.picture[b].permute(1, 2, 0)
        row = [rgba[..., :3] * rgba[..., 3:]]
        for pair in (batch.layers[b], layers[b] * batch.mask[b]):
            row += [grown((z[..., None] * 0.4 + 0.5).expand(-1, -1, 3)) for z in pair]
        if rendered is not None:
            for t in range(1, rendered.shape[1]):
                row += [grown(batch.targets[b, t, ..., :3] * batch.targets[b, t, ..., 3:]), grown(rendered[b, t])]
        rows.append([picture.detach().float().cpu().numpy() for picture in row])
    save_grid(path, rows)


def main(argv: list[str]) -> int:
    """The command line of `engine train agg`; returns the exit code."""
    defaults = TrainSettings()
    parser = argparse.ArgumentParser(
        prog="engine train agg", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    parser.add_argument(
        "--data", nargs="+", metavar="PACK[:SHARE]", help="index files of packs, and in which shares they are drawn"
    )
    parser.add_argument("--run", type=Path, help="folder of the run [runs/agg]")
    parser.add_argument(
        "--resume", type=Path, nargs="?", const=None, metavar="RUN",
        help="continue that run; without a name the one in --run, or begin it where there is none",
    )  # fmt: skip
    parser.add_argument("--start", type=Path, help="weights a new run begins with: the .pt beside exported ones")
    parser.add_argument("--preset", choices=list(PRESETS), help=f"[{defaults.preset}]")
    parser.add_argument("--minutes", type=float, help=f"all sittings together [{defaults.minutes:g}]")
    parser.add_argument("--stage", choices=("all", *STAGES), help="train only this one [all, by --shares]")
    parser.add_argument(
        "--shares", type=float, nargs=4, metavar=SHARES,
        help="shares of the minutes at which the stages after the first begin",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, help=f"examples in a step of one process [{defaults.batch}]")
    parser.add_argument("--rate", dest="peak_rate", type=float, help=f"highest learning rate [{defaults.peak_rate}]")
    parser.add_argument("--device", choices=DEVICES, help="what to compute on [auto: a card where there is one]")
    parser.add_argument("--workers", type=int, help=f"processes that draw examples [{defaults.workers}]")
    parser.add_argument("--threads", type=int, help=f"threads of the processor [{defaults.threads}]")
    parser.add_argument(
        "--dev", metavar="PACK", help="index file of a pack for figures now and then; best.pt is the best by them"
    )
    parser.add_argument("--dev-every", type=float, metavar="MINUTES", help=f"[{defaults.dev_every:g}]")
    parser.add_argument("--seed", type=int)
    given = vars(parser.parse_args(argv))
    try:
        checkpoint = train(**wanted(given))
    except Cancelled:
        return STOPPED
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if is_first():
        print(checkpoint)
    return 0


def wanted(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `train` for options as given; a run that goes on has its own settings for all others.

    Raises `OptionError` where there is no data, or the run to be continued does not exist.
    """
    resume, named = "resume" in given, given.get("resume")
    run = named or given.get("run", Path("runs/agg"))
    known: dict[str, Any] = {}
    if resume and (named or has_checkpoint(run / CHECKPOINT)):
        known = remembered(run)
    data = given.get("data") or known.get("data")
    if not data:
        raise OptionError("There is no data to learn from.", "Give --data PACK.csv.")
    names = {field.name for field in fields(TrainSettings)}
    settings: dict[str, Any] = {
        name: value for name, value in (known | {"device": "auto"} | given).items() if name in names
    }
    if "shares" in settings:
        settings["shares"] = tuple(settings["shares"])
    return {
        "indexes": data, "run": run, "settings": TrainSettings(**settings), "resume": resume,
        "start": given.get("start"),
    }  # fmt: skip

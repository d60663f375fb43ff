# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of AGG's coarse stage: `python -m engine train agg --data INDEX.csv --minutes 90 --run runs/agg-xs`."""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numba
import torch
from tqdm import tqdm

from engine.errors import GaussmithError, OptionError
from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.data import batches
from engine.generators.agg.loss import Batch, LossWeights, geometry_loss, look_at_best, look_loss, rendering_loss
from engine.generators.agg.network import AggNetwork
from engine.training.checkpoint import load_checkpoint, save_checkpoint
from engine.training.data.views import ViewSettings
from engine.training.ema import Ema
from engine.training.schedule import TimeBudget, learning_rate
from engine.training.stats import Stats, save_grid

STAGES = ("layers", "warmup", "coarse", "sr", "joint")
"""Depth layers and camera alone; then the queries too, by distances of points; then both with rendered views; then only
the super-resolution; then all."""

TARGETS = {"coarse": 80, "sr": 112, "joint": 112}
"""Side of the rendered views, in pixels; other stages render none."""

LATENTS = 4
"""Random latents of which the best is trained."""


@dataclass(frozen=True)
class TrainSettings:
    """What a run is made of."""

    preset: str = "xs"
    minutes: float = 90.0
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


def stage_at(fraction: float, shares: tuple[float, ...], config: AggConfig) -> tuple[str, float]:
    """The stage at a fraction of the minutes, and how much of it is over; left-out stages go to the one before."""
    bounds = (0.0, *shares, 1.0)
    index = sum(fraction >= share for share in shares)
    if not config.warmup and index < 2:
        index, bounds = 2, (0.0, 0.0, 0.0, *bounds[3:])
    if config.superres == 1 and index > 2:
        index, bounds = 2, (*bounds[:3], 1.0, 1.0, 1.0)
    begin, end = bounds[index], bounds[index + 1]
    return STAGES[index], min(1.0, (fraction - begin) / max(end - begin, 1e-9))


def train(
    indexes: list[Path],
    run: Path,
    settings: TrainSettings,
    resume: bool,
    start: Path | None = None,
    config: AggConfig | None = None,
) -> Path:
    """Trains until the run's minutes are used and returns the path of its last checkpoint.

    A new run begins with the weights in `start`, where given; `resume` continues the run in the folder. `config` takes
    the place of the preset's sizes.
    """
    # Settings
    config = config or PRESETS[settings.preset]
    views = ViewSettings(picture=config.picture, layers=config.layers)
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run / "checkpoint.pt"
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    numba.set_num_threads(min(settings.threads, numba.get_num_threads()))

    # Network
    network = AggNetwork(config)
    network.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        missing = begin_with(network, start, settings.preset)
        tqdm.write(f"Beginning with {start}" + (f", but for {len(missing)} new weights." if missing else "."))
    ema = Ema(network, settings.ema)

    # Optimiser
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.peak_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    budget, step = TimeBudget(settings.minutes), 0
    if resume and checkpoint.exists():
        state, note = load_checkpoint(checkpoint)
        if state["preset"] != settings.preset:
            raise OptionError(
                f"{run} is a run of preset {state['preset']!r}, not {settings.preset!r}.",
                "Give another --run folder or that preset.",
            )
        network.load_state_dict(state["network"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        budget, step = TimeBudget(settings.minutes, state["seconds"]), state["step"]
        tqdm.write(note or f"Continuing {run} at step {step}, {state['seconds'] / 60:.1f} minutes used.")

    # Loop
    precision = torch.bfloat16 if _has_bfloat16() else torch.float32
    stats, weights, stage, stream = Stats(run), LossWeights(), "", None
    latents = torch.Generator().manual_seed(settings.seed + step)
    saved = budget.elapsed()

    def keep() -> None:
        state = {
            "preset": settings.preset,
            "settings": asdict(settings),
            "step": step,
            "seconds": budget.elapsed(),
            "network": network.state_dict(),
            "ema": ema.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        save_checkpoint(checkpoint, state)

    bar = tqdm(total=100, unit="%", disable=not sys.stderr.isatty(), bar_format="{l_bar}{bar}| {postfix}")
    while not budget.over():
        current, progress = stage_at(budget.fraction(), settings.shares, config)
        if current != stage:
            stage = current
            rendering = stage in TARGETS
            queries = config.queries if rendering else settings.warmup_queries
            stage_views = replace(views, targets=views.targets if rendering else 0, target=TARGETS.get(stage, 8))
            drawn = replace(config, queries=queries)
            stream = batches(indexes, drawn, stage_views, settings.batch, settings.workers, settings.seed + step)
        assert stream is not None
        batch = next(stream)
        rate = learning_rate(budget.fraction(), step, settings.peak_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rendered = None
        if stage == "coarse":
            network.release = max(0.0, 2 * progress - 1)
            weights = replace(LossWeights(), chamfer=(1 - progress) + progress * LossWeights().chamfer_end)
        output = coarse = None
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            with torch.set_grad_enabled(stage != "sr"):
                inputs, look = look_at_best(network, batch, LATENTS, latents)
                if stage != "layers":
                    output = coarse = network.coarse(inputs, look)
            if stage in ("sr", "joint") and network.superres:
                output = network.superres(coarse, inputs.picture, inputs.spacing)
        loss, parts = look_loss(look, batch, weights) if coarse is None else geometry_loss(coarse, batch, weights)
        if output is not None and stage in TARGETS:
            more_loss, more, rendered = rendering_loss(output, batch, config, weights)
            loss, parts = loss + more_loss, parts | more
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        if torch.isfinite(norm):
            optimizer.step()
            ema.update(network, step)
        stats.add(parts | {"loss": loss.item(), "skipped": float(not torch.isfinite(norm))})
        step += 1

        # Report
        if step % settings.report_every == 0:
            line = stats.report(step=step, minutes=round(budget.elapsed() / 60, 2), stage=stage, rate=round(rate, 7))
            bar.n = round(100 * budget.fraction(), 1)
            bar.set_postfix_str(f"step {step} {stage} loss {line['loss']:.4f}")
        if step % (20 * settings.report_every) == 0:
            _save_pictures(run / f"grid-{step:06d}.png", batch, look.layers.detach(), rendered)

        # Save
        if budget.elapsed() - saved > settings.save_every:
            saved = budget.elapsed()
            keep()
    bar.close()
    keep()
    return checkpoint


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated it is many times slower than float32."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
        rows.append([picture.numpy() for picture in row])
    save_grid(path, rows)


def main(argv: list[str]) -> int:
    """The command line of `engine train agg`; returns the exit code."""
    defaults = TrainSettings()
    parser = argparse.ArgumentParser(prog="engine train agg", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="index files of packs")
    parser.add_argument("--run", type=Path, default=Path("runs/agg"), help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--start", type=Path, help="weights a new run begins with: the .pt beside exported ones")
    parser.add_argument("--preset", choices=list(PRESETS), default=defaults.preset)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="all sittings together")
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument(
        "--rate", dest="peak_rate", type=float, default=defaults.peak_rate, help="highest learning rate"
    )
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument(
        "--shares", type=float, nargs=4, default=defaults.shares, metavar=tuple(stage.upper() for stage in STAGES[1:]),
        help="shares of the minutes at which the stages after the first begin",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=defaults.seed)
    options = vars(parser.parse_args(argv))
    options["shares"] = tuple(options["shares"])
    indexes, run, resume, start = (options.pop(name) for name in ("data", "run", "resume", "start"))
    try:
        if not resume and (run / "checkpoint.pt").exists():
            raise OptionError(f"{run} already holds a run.", "Add --resume to continue it, or give another --run.")
        checkpoint = train(indexes, run, TrainSettings(**options), resume, start)
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(checkpoint)
    return 0

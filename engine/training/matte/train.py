# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the matte: `python -m engine train matte --data INDEX.csv --minutes 55 --run runs/matte`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from engine.errors import Cancelled, GaussmithError
from engine.image.border import hints
from engine.training.checkpoint import load_checkpoint
from engine.training.device import autocast
from engine.training.ema import Ema
from engine.training.interrupt import STOPPED
from engine.training.matte.composites import compose
from engine.training.matte.cutouts import Cutouts, CutoutSettings, render_cutouts
from engine.training.matte.network import MatteConfig, MatteNetwork
from engine.training.muon import Muon
from engine.training.run_folder import RunPlan
from engine.training.schedule import learning_rate
from engine.training.sitting import Limits, Sitting
from engine.training.stats import save_grid

SIZES = (96, 128, 192)
"""Pixels of the pictures learned from, one after the other: small ones teach most of it at a quarter of the cost."""


@dataclass(frozen=True)
class TrainSettings:
    """What a run is made of."""

    minutes: float = 55.0
    batch: int = 8
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.995
    shares: tuple[float, float] = (0.35, 0.7)  # of the minutes used when the second and third size begin
    cutouts: int = 2400
    workers: int = 1
    threads: int = 1
    seed: int = 0
    save_every: float = 120.0  # seconds
    report_every: int = 25  # steps


class Pictures(IterableDataset):
    """An endless stream of pictures [7, S, S] uint8: sRGB, 255 inside of the letterbox, two hints, alpha."""

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        self.folder, self.size, self.seed = folder, size, seed

    def __iter__(self) -> Iterator[np.ndarray]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, self.size, worker.id if worker else 0])
        cutouts = Cutouts(self.folder)
        while True:
            composite = compose(cutouts, self.size, rng)
            planes = np.zeros((7, self.size, self.size), np.uint8)
            top, bottom, left, right = composite.inside
            seen = planes[:, top:bottom, left:right]
            rgb = composite.rgb[top:bottom, left:right]
            known = np.concatenate([rgb, np.ones_like(rgb[..., :1]), hints(rgb)], -1)
            seen[:6] = (known.transpose(2, 0, 1) * 255 + 0.5).astype(np.uint8)
            planes[6] = (composite.alpha * 255 + 0.5).astype(np.uint8)
            yield planes


def batches(folder: Path, size: int, settings: TrainSettings, seed: int) -> Iterator[Tensor]:
    """An endless stream of [B, 7, S, S] uint8."""
    loader = DataLoader(
        Pictures(folder, size, seed),
        batch_size=settings.batch,
        collate_fn=_stacked,
        num_workers=settings.workers,
        multiprocessing_context="spawn" if settings.workers else None,
        prefetch_factor=4 if settings.workers else None,
    )
    return iter(loader)


def _stacked(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures))


def split(planes: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees [B, 6, S, S] and the true alpha [B, 1, S, S], from `planes` [B, 7, S, S] uint8."""
    values = planes.float() / 255
    inside = values[:, 3:4]
    return torch.cat([(values[:, :3] - 0.5) * inside, values[:, 3:6]], 1), values[:, 6:]


def matte_loss(logits: Tensor, alpha: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy, heavier along the outline, and 1 - soft IoU of each picture that shows something."""
    blurred = F.avg_pool2d(alpha, 9, 1, 4)
    weights = 1 + 4 * (4 * blurred * (1 - blurred))
    entropy = F.binary_cross_entropy_with_logits(logits, alpha, weights)
    found = torch.sigmoid(logits)
    both = (found * alpha).sum((1, 2, 3))
    union = (found + alpha - found * alpha).sum((1, 2, 3))
    shown = (alpha.sum((1, 2, 3)) > 0).float()
    overlap = (1 - (both + 1) / (union + 1)) * shown
    loss = entropy + overlap.mean()
    with torch.no_grad():
        a, b = logits > 0, alpha > 0.5
        iou = (a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3)).clamp(min=1)
        measured = float((iou * shown).sum() / shown.sum().clamp(min=1))
    return loss, {"entropy": entropy.item(), "iou": measured}


def train(
    indexes: list[Path],
    run: Path,
    settings: TrainSettings,
    resume: bool,
    folder: Path | None,
    start: Path | None = None,
) -> Path:
    """Trains until the run's minutes are used and returns the path of its last checkpoint.

    `folder` holds the cut-outs, or gets them; by default that is a folder of the run. A new run begins with the
    weights in `start`, where given.
    """
    # Settings
    folder = folder or run / "cutouts"
    torch.set_num_threads(settings.threads)
    numba.set_num_threads(min(settings.threads, numba.get_num_threads()))
    plan = RunPlan("matte", "small", asdict(settings), [(index, 1.0) for index in indexes])
    limits = Limits(settings.minutes, settings.batch, settings.clip, settings.seed, settings.save_every)
    with Sitting(run, plan, resume, limits, "cpu", "python -m engine train matte") as sitting:
        render_cutouts(indexes, folder, CutoutSettings(settings.cutouts, seed=settings.seed))

        # Network
        network = MatteNetwork(MatteConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start is not None:
            network.load_state_dict(load_checkpoint(start)[0]["network"])
        ema = Ema(network, settings.ema)

        # Optimiser
        optimizer = Muon(network, settings.peak_rate, weight_decay=settings.weight_decay)
        sitting.begin(network, ema, optimizer)

        # Loop
        while sitting.goes_on():
            size = SIZES[sum(sitting.fraction >= share for share in settings.shares)]
            planes = sitting.batch(str(size), lambda seed, size=size: batches(folder, size, settings, seed))
            if planes is None:
                break
            picture, alpha = split(planes)
            rate = sitting.set_rate(learning_rate(sitting.fraction, sitting.step, settings.peak_rate))
            with autocast(sitting.device):
                logits = network(picture.to(memory_format=torch.channels_last))
            loss, parts = matte_loss(logits.float(), alpha)
            sitting.take(loss, parts)
            if sitting.step % settings.report_every == 0:
                sitting.report(size=size, rate=round(rate, 7))
            if sitting.step % (20 * settings.report_every) == 0:
                rows = _pictures(picture, alpha, logits.detach().float())
                path = sitting.run.path / f"grid-{sitting.step:06d}.png"
                sitting.attempt(lambda path=path, rows=rows: save_grid(path, rows))
            sitting.save_when_due()
        sitting.end()
        return sitting.run.checkpoint


def _pictures(picture: Tensor, alpha: Tensor, logits: Tensor) -> list[list[np.ndarray]]:
    """Rows of the first examples: pictures, true and found mattes."""
    shown = picture[:8, :3] + 0.5, alpha[:8].expand(-1, 3, -1, -1), torch.sigmoid(logits[:8]).expand(-1, 3, -1, -1)
    return [[one.permute(1, 2, 0).numpy() for one in row] for row in shown]


def main(argv: list[str]) -> int:
    """The command line of `engine train matte`; returns the exit code."""
    defaults = TrainSettings()
    parser = argparse.ArgumentParser(prog="engine train matte", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="index files of packs")
    parser.add_argument("--run", type=Path, default=Path("runs/matte"), help="folder of the run")
    parser.add_argument("--folder", type=Path, help="folder of the cut-outs, kept between runs; RUN/cutouts by default")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--start", type=Path, help="weights a new run begins with: a checkpoint of another run")
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="all sittings together")
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--cutouts", type=int, default=defaults.cutouts, help="objects rendered before training begins")
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    options = vars(parser.parse_args(argv))
    indexes, run, resume, folder, start = (options.pop(name) for name in ("data", "run", "resume", "folder", "start"))
    try:
        checkpoint = train(indexes, run, TrainSettings(**options), resume, folder, start)
    except Cancelled:
        return STOPPED
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(checkpoint)
    return 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches for AGG: examples drawn in worker processes, stacked into tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from engine.generators.agg.anchors import make_anchors
from engine.generators.agg.config import AggConfig
from engine.generators.agg.loss import Batch
from engine.image.inflate import inflate_alpha
from engine.training.data.mixture import Mixture, parse_data
from engine.training.data.views import Example, ViewSettings, make_example
from engine.training.data.visible import visible_points

KEPT_POINTS = 8192
"""Visible points remembered per object; each example draws from them."""


def example_arrays(example: Example, config: AggConfig, seed: int) -> dict[str, np.ndarray | np.float32]:
    """One example as the arrays of `Batch`, without the leading B."""
    anchors, spacing = make_anchors(example.picture[..., 3], config.queries, seed)
    return {
        "picture": example.picture.transpose(2, 0, 1),
        "inflated": inflate_alpha(example.picture[..., 3], config.layers)[None],
        "anchors": anchors,
        "spacing": np.float32(spacing),
        "layers": example.layers,
        "mask": example.mask,
        "points": example.points,
        "targets": example.targets,
        "depths": example.depths,
        "viewmats": example.viewmats,
        "Ks": example.Ks,
        "tan_half_fov": np.float32(example.tan_half_fov),
        "elevation": np.float32(example.elevation),
    }


class Examples(IterableDataset):
    """An endless stream of examples from packs (`parse_data`); each worker process draws its own.

    With `mixed` every `batch` of them has another number of queries: half the configuration's, as many, or double.
    """

    def __init__(
        self,
        indexes: Sequence[str | Path],
        config: AggConfig,
        settings: ViewSettings,
        batch: int,
        seed: int,
        mixed: bool = False,
    ) -> None:
        self.indexes, self.config, self.settings, self.seed = indexes, config, settings, seed
        self.batch, self.mixed = batch, mixed

    def __iter__(self) -> Iterator[dict[str, np.ndarray | np.float32]]:
        import numba

        numba.set_num_threads(1)  # one process per core already
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        objects = Mixture(parse_data(self.indexes))
        points: dict[int, np.ndarray] = {}
        config, drawn = self.config, 0
        while True:
            if self.mixed and drawn % self.batch == 0:
                queries = int(self.config.queries * 2.0 ** rng.integers(-1, 2))
                config = replace(self.config, queries=max(queries, self.config.group))
            chosen, mesh = objects.draw(rng)
            if chosen not in points:
                points[chosen] = visible_points(mesh, KEPT_POINTS, rng).astype(np.float16)
            some = rng.choice(KEPT_POINTS, 2048, replace=False)
            example = make_example(mesh, points[chosen][some].astype(np.float32), self.settings, rng)
            if example.mask.sum() < 12:
                continue  # a hair seen edge-on: no picture to learn from
            drawn += 1
            yield example_arrays(example, config, int(rng.integers(2**31)))


def collate(arrays: list[dict[str, np.ndarray | np.float32]]) -> Batch:
    """Stacks examples into one batch of tensors."""
    return Batch(**{f.name: torch.from_numpy(np.stack([a[f.name] for a in arrays])) for f in fields(Batch)})


def batches(
    indexes: Sequence[str | Path],
    config: AggConfig,
    settings: ViewSettings,
    batch: int,
    workers: int,
    seed: int,
    mixed: bool = False,
) -> Iterator[Batch]:
    """An endless stream of batches drawn by `workers` processes; `mixed` as in `Examples`."""
    loader = DataLoader(
        Examples(indexes, config, settings, batch, seed, mixed),
        batch_size=batch,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=3 if workers else None,
    )
    return iter(loader)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What fitting to the picture (`--fit N`) brings on objects the network never saw, N by N, against not fitting.

    python -m benchmarks.fit --pack INDEX [--steps 25 50 100] [--every 1]

One picture of each object, as `evaluate agg` draws it. From the true cameras: the input view, 24 novel views, and the
shape without alignment, all as in `engine.generators.agg.evaluate`. From the camera the network believes, which is the
one it fits to: PSNR over white and the overlap of outlines. Each figure is the mean difference to 0 steps, with its
95 % interval over objects. Last the processor time of a step. Needs PyTorch.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians
from engine.generators.agg.evaluate import make_case, measure
from engine.generators.agg.fit import fit
from engine.generators.agg.generate import AggGenerator, Seen, reduced
from engine.render.splat_cpu import render
from engine.training.data.packs import Pack
from engine.training.data.views import view_frame_camera
from engine.training.evaluation.statistics import paired_difference
from engine.training.metrics import psnr

Array = np.ndarray

SIZE = 128
SHOWN = ("psnr", "ssim", "perceptual_r", "psnr_input", "psnr_believed", "outline", "f_0.1", "chamfer", "solid")


def photograph_of(photo: Array, seen: Seen) -> Photograph:
    """The framed picture [S, S, 4] with the camera the network believes in, in the view frame."""
    viewmat, K = view_frame_camera(seen.tan_half_fov, len(photo))
    return Photograph(photo, viewmat.astype(np.float32), K.astype(np.float32))


def believed(gaussians: Gaussians, photograph: Photograph) -> dict[str, float]:
    """How the camera that was fitted to sees them."""
    K = np.diag([SIZE / len(photograph.rgba)] * 2 + [1]) @ photograph.K
    seen = render(gaussians, photograph.viewmat, K, SIZE, SIZE, (1, 1, 1))
    rgba = reduced(photograph.rgba, SIZE)
    ours, theirs = seen.alphas > 0.5, rgba[..., 3] > 0.5
    return {
        "psnr_believed": psnr(seen.colors, rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]),
        "outline": float((ours & theirs).sum() / max((ours | theirs).sum(), 1)),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fit", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="index file of the pack to measure on")
    parser.add_argument("--weights", type=Path, help="an .onnx file; the bundled weights by default")
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--every", type=int, default=1, help="only each so manyth object")
    chosen = parser.parse_args(argv)
    pack, generator = Pack(chosen.pack), AggGenerator.load(chosen.weights)
    rows: dict[int, list[dict[str, float]]] = {steps: [] for steps in (0, *chosen.steps)}
    seconds = 0.0
    objects = range(0, len(pack), chosen.every)
    for i in objects:
        rng = np.random.default_rng([i, 0])
        case = make_case(pack.mesh(i), rng)
        seen = generator.look(case.photo)
        photograph = photograph_of(case.photo, seen)
        fit(seen.gaussians, photograph, 1)  # compiled before the clock runs
        for steps, found in rows.items():
            start = time.process_time()
            gaussians = fit(seen.gaussians, photograph, steps)
            seconds += time.process_time() - start
            figures, _ = measure(gaussians, case, np.random.default_rng(i))
            found.append(figures | believed(gaussians, photograph))
        done = len(rows[0])
        if done > 1 and (done % 5 == 0 or done == len(objects)):
            show(rows, list(objects)[:done])
    print(f"processor time of a step: {1000 * seconds / (sum(chosen.steps) * len(objects)):.1f} ms")
    return 0


def show(rows: dict[int, list[dict[str, float]]], objects: list[int]) -> None:
    """Prints what is known of the objects so far."""
    start = {name: float(np.mean([row[name] for row in rows[0]])) for name in SHOWN}
    print(f"{len(objects)} objects, not fitted: " + _line({name: f"{mean:.4f}" for name, mean in start.items()}))
    for steps in list(rows)[1:]:
        told = {}
        for name in SHOWN:
            found = paired_difference([r[name] for r in rows[steps]], [r[name] for r in rows[0]], objects)
            told[name] = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        print(f"{steps:4} steps: " + _line(told), flush=True)


def _line(words: dict[str, str]) -> str:
    return ", ".join(f"{name} {word}" for name, word in words.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

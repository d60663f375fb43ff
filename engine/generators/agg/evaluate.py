# SPDX-License-Identifier: GPL-3.0-or-later
"""How good AGG is on objects it never saw, beside what needs no network: `python -m engine evaluate agg --pack INDEX`.

Protocol. Each object is pictured from `--pictures` seeded cameras (the training distribution, colours unchanged).
Views: 24 seeded directions all around, 128 pixels, white background, rendered from the Gaussians and from the true
mesh; PSNR and SSIM averaged over views. Geometry: points drawn from the Gaussians of opacity above 0.5 against points
of the visible true surface, in the camera's frame without alignment, each set in a box of longest side 2: Chamfer
distance (both mean distances summed) and F-score at 0.1. Baselines: the blank background, and the silhouette inflated
(`engine.image.inflate`) with the picture's colours on front and back.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.errors import GaussmithError
from engine.fields.cameras import Cameras
from engine.fields.gaussians import Gaussians
from engine.generators.agg.anchors import make_anchors
from engine.generators.agg.generate import PHOTO, AggGenerator, isotropic, photo_colors, reduced
from engine.image.inflate import inflate
from engine.paths import written_whole
from engine.render.mesh_cpu import Light, render_mesh
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh
from engine.training.data.packs import Pack
from engine.training.data.views import ViewSettings, random_elevation, target_cameras, view_frame, view_frame_camera
from engine.training.data.visible import visible_points
from engine.training.metrics import chamfer_and_f, psnr, ssim
from engine.training.stats import save_grid

Array = np.ndarray

VIEWS, SIZE, POINTS = 24, 128, 8192
METHODS = ("agg", "inflated", "blank")


@dataclass(frozen=True)
class Case:
    """One object seen once, in the view frame."""

    photo: Array  # [PHOTO, PHOTO, 4] the framed picture
    points: Array  # [POINTS, 3] visible surface
    cameras: Cameras  # the input view, then VIEWS others
    truth: Array  # [1 + VIEWS, SIZE, SIZE, 3] over white


def make_case(mesh: Mesh, rng: np.random.Generator) -> Case:
    """Draws a camera as training does and renders the truth."""
    settings = ViewSettings()
    elevation = random_elevation(settings, rng)
    azimuth, fov = rng.uniform(-60, 60), rng.uniform(*settings.fov)
    matrix, shift, t = view_frame(mesh, azimuth, elevation, fov, settings.fill)
    seen = replace(mesh, vertices=(mesh.vertices @ matrix.T + shift).astype(np.float32))
    points = visible_points(mesh, POINTS, rng) @ matrix.T + shift
    light = Light(np.array([0.3, 0.6, 0.74], np.float32), ambient=0.7)
    viewmat, K = view_frame_camera(t, PHOTO)
    photo = render_mesh(seen, Cameras(viewmat[None], K[None], PHOTO, PHOTO), light)[0][0]
    cameras = target_cameras(seen.vertices, viewmat, t, SIZE, VIEWS, rng)
    rgba = render_mesh(seen, cameras, light)[0]
    truth = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    return Case(photo, points.astype(np.float32), cameras, truth)


def inflated_silhouette(photo: Array, settings: dict, tan_half_fov: float = 0.25) -> Gaussians:
    """The baseline without a network: anchors on the inflated silhouette, coloured by the picture."""
    picture = reduced(photo, settings["picture"])
    anchors, spacing = make_anchors(picture[..., 3], settings["generate"])
    depth = inflate(picture[..., 3] > 0.5)
    rows = ((1 - anchors[:, 1]) * (len(depth) / 2)).astype(int).clip(0, len(depth) - 1)
    columns = ((anchors[:, 0] + 1) * (len(depth) / 2)).astype(int).clip(0, len(depth) - 1)
    z = (2 * anchors[:, 2] - 1) * depth[rows, columns]
    means = np.concatenate([anchors[:, :2] * (1 - tan_half_fov * z)[:, None], z[:, None]], 1).astype(np.float32)
    colors, _ = photo_colors(photo, means, tan_half_fov)
    return isotropic(means, settings["scale"] * spacing, np.full(len(means), 0.9), colors)


def measure(gaussians: Gaussians | None, case: Case, rng: np.random.Generator) -> tuple[dict[str, float], Array]:
    """Figures of one result and its views [1 + VIEWS, SIZE, SIZE, 3]; `None` is the blank background."""
    if gaussians is None:
        views = np.ones_like(case.truth)
    else:
        views = np.stack([
            render(gaussians, viewmat, K, SIZE, SIZE, background=(1, 1, 1)).colors
            for viewmat, K in zip(case.cameras.viewmats, case.cameras.Ks, strict=True)
        ])  # fmt: skip
    pairs = list(zip(views, case.truth, strict=True))
    figures = {
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs[1:]])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs[1:]])),
        "psnr_input": psnr(*pairs[0]),
    }
    if gaussians is not None:
        solid = gaussians.means[gaussians.opacities > 0.5]
        if len(solid) == 0:
            return figures | {"chamfer": float("inf"), "f_0.1": 0.0, "solid": 0.0}, views
        chosen = solid[rng.choice(len(solid), POINTS)]
        chamfer, f_score = chamfer_and_f(chosen, case.points)
        figures |= {"chamfer": chamfer, "f_0.1": f_score, "solid": len(solid) / len(gaussians)}
    return figures, views


def evaluate(index: Path, generator: AggGenerator, pictures: int, sheet: Path | None, limit: int | None = None) -> dict:
    """Mean figures by method over a pack, and by style of object for AGG; a contact sheet on request."""
    pack = Pack(index)
    rows: dict[str, list[dict]] = {method: [] for method in METHODS}
    styles, grid = [], []
    for i in range(min(len(pack), limit or len(pack))):
        for picture in range(pictures):
            rng = np.random.default_rng([i, picture])
            case = make_case(pack.mesh(i), rng)
            results = {
                "agg": generator.look(case.photo).gaussians,
                "inflated": inflated_silhouette(case.photo, generator.settings),
                "blank": None,
            }
            shown = {}
            for method, gaussians in results.items():
                figures, shown[method] = measure(gaussians, case, rng)
                rows[method].append(figures)
            styles.append(pack.entries[i].style)
            if picture == 0:
                grid.append([*case.truth[:5], *shown["agg"][:5]])
    if sheet:
        save_grid(sheet, grid)
    by_style = {style: _mean([row for row, s in zip(rows["agg"], styles, strict=True) if s == style])
                for style in sorted(set(styles))}  # fmt: skip
    return {"pictures": len(styles), "mean": {m: _mean(rows[m]) for m in METHODS}, "agg_by_style": by_style}


def _mean(rows: list[dict]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def main(argv: list[str]) -> int:
    """The command line of `engine evaluate agg`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="engine evaluate agg", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="index file of the pack to measure on")
    parser.add_argument("--weights", type=Path, help="an .onnx file; the bundled weights by default")
    parser.add_argument("--pictures", type=int, default=2, help="pictures of each object")
    parser.add_argument("--limit", type=int, help="only the first objects of the pack")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures; a contact sheet lies beside it")
    options = parser.parse_args(argv)
    try:
        generator = AggGenerator.load(options.weights)
        sheet = options.output.with_suffix(".png") if options.output else None
        figures = evaluate(options.pack, generator, options.pictures, sheet, options.limit)
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.output:
        with written_whole(options.output) as part:
            part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{'method':10}" + "".join(f"{name:>12}" for name in figures["mean"]["agg"]))
    for method, row in figures["mean"].items():
        print(f"{method:10}" + "".join(f"{row.get(name, float('nan')):12.4f}" for name in figures["mean"]["agg"]))
    return 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""How good AGG is on objects it never saw, beside what needs no network: `python -m engine evaluate agg --pack INDEX`.

Pictures. Each object is pictured by `--pictures` seeded cameras of the training distribution; colours are not changed.
Views. `--views` seeded directions all around, 128 pixels, white background, of the result and of the true mesh: PSNR,
SSIM and `perceptual_r` (`training.evaluation.perceptual`; never comparable with published LPIPS) averaged over views;
`psnr_input` is the picture's own view.
Geometry, twice. `chamfer`, `f_0.1`, `f_0.2`, `f_0.5`: in the camera's frame without alignment, points of the result
(Gaussians of opacity above 0.5) against points of the visible true surface, each set in a box of longest side 2;
Chamfer is both mean distances summed. `aligned_...`: the published single-image protocol, stated in
`training.evaluation.alignment`.
`solid` is the share of Gaussians of opacity above 0.5. With `--mesh` the Gaussians' mesh is measured too (method
`mesh`: signed distance, marching cubes, smoothing, 20,000 faces, as the product makes it), by points of its visible
surface.

Beside AGG: the silhouette inflated (`image.inflate`) with the picture's colours on front and back; with `--train` the
training object that looks most like the picture, posed as it does and lit as the truth is; the blank background.
Differences come with 95 % intervals from a bootstrap over objects.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engine.conventions import OBJECT_EXTENT
from engine.errors import EmptyFieldError, GaussmithError, OptionError, SurfaceError
from engine.fields.cameras import Cameras
from engine.fields.gaussians import Gaussians
from engine.generators.agg.anchors import make_anchors
from engine.generators.agg.generate import PHOTO, AggGenerator, isotropic, photo_colors, reduced
from engine.generators.agg.stages import stage_seconds
from engine.image.inflate import inflate
from engine.nets.runtime import OnnxNetwork
from engine.paths import written_whole
from engine.render.mesh_cpu import Light, render_mesh
from engine.render.splat_cpu import render
from engine.surface.choose import choose_surfacer, look
from engine.surface.cleanup import clean
from engine.surface.density_surface import density_surface
from engine.surface.isosurface import extract
from engine.surface.mesh import Mesh
from engine.surface.simplify import simplify
from engine.surface.tsdf import tsdf_grid
from engine.training.data.packs import Pack
from engine.training.data.views import ViewSettings, random_elevation, target_cameras, view_frame, view_frame_camera
from engine.training.data.visible import visible_points
from engine.training.evaluation.alignment import aligned_figures
from engine.training.evaluation.nearest import NearestObject
from engine.training.evaluation.perceptual import perceptual_r
from engine.training.evaluation.statistics import paired_difference
from engine.training.metrics import no_surface, psnr, ssim, surface_figures, to_box
from engine.training.stats import save_grid

Array = np.ndarray

VIEWS, SIZE, POINTS = 24, 128, 8192
LIGHT = Light(np.array([0.3, 0.6, 0.74], np.float32), ambient=0.7)
SHOWN, SHOWN_ROWS = 3, 24
"""Views of each method and objects on the contact sheet."""
FACES = 20000
TIMED = 8
"""Pictures whose stages are timed."""


@dataclass(frozen=True)
class Case:
    """One object seen once, in the view frame."""

    photo: Array  # [PHOTO, PHOTO, 4] the framed picture
    points: Array  # [POINTS, 3] visible surface
    upright: Array  # [3, 3] from the view frame to the object's axes, but for scale
    cameras: Cameras  # the input view, then others
    truth: Array  # [1 + V, SIZE, SIZE, 3] over white


def make_case(mesh: Mesh, rng: np.random.Generator, views: int = VIEWS) -> Case:
    """Draws a camera as training does and renders the truth."""
    settings = ViewSettings()
    elevation = random_elevation(settings, rng)
    azimuth, fov = rng.uniform(-60, 60), rng.uniform(*settings.fov)
    matrix, shift, t = view_frame(mesh, azimuth, elevation, fov, settings.fill)
    seen = replace(mesh, vertices=(mesh.vertices @ matrix.T + shift).astype(np.float32))
    points = visible_points(mesh, POINTS, rng) @ matrix.T + shift
    viewmat, K = view_frame_camera(t, PHOTO)
    photo = render_mesh(seen, Cameras(viewmat[None], K[None], PHOTO, PHOTO), LIGHT)[0][0]
    cameras = target_cameras(seen.vertices, viewmat, t, SIZE, views, rng)
    return Case(photo, points.astype(np.float32), np.linalg.inv(matrix), cameras, mesh_views(seen, cameras))


def mesh_views(mesh: Mesh, cameras: Cameras) -> Array:
    """Pictures [C, H, W, 3] of a mesh of the view frame over white."""
    rgba = render_mesh(mesh, cameras, LIGHT)[0]
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def splat_views(gaussians: Gaussians, cameras: Cameras) -> Array:
    """Pictures [C, H, W, 3] of Gaussians of the view frame over white."""
    return np.stack([
        render(gaussians, viewmat, K, cameras.width, cameras.height, background=(1, 1, 1)).colors
        for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True)
    ])  # fmt: skip


def inflated_silhouette(photo: Array, settings: dict[str, Any], tan_half_fov: float = 0.25) -> Gaussians:
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


# ---- measures -------------------------------------------------------------------------------------------------------


def view_figures(views: Array, case: Case) -> dict[str, float]:
    """How near views [1 + V, SIZE, SIZE, 3] come to the truth; the first is the input's own."""
    pairs = list(zip(views, case.truth, strict=True))
    return {
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs[1:]])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs[1:]])),
        "perceptual_r": float(perceptual_r(views[1:], case.truth[1:]).mean()),
        "psnr_input": psnr(*pairs[0]),
    }


def point_figures(points: Array | None, case: Case, aligned: bool = False) -> dict[str, float]:
    """How near points [P, 3] come to the true surface, as they lie; then after alignment, too."""
    if points is None:
        figures = no_surface()
        return figures | ({f"aligned_{name}": value for name, value in figures.items()} if aligned else {})
    figures = surface_figures(to_box(points), to_box(case.points))
    if aligned:
        after = aligned_figures(points @ case.upright.T, case.points @ case.upright.T)
        figures |= {f"aligned_{name}": value for name, value in after.items()}
    return figures


def solid_points(gaussians: Gaussians, rng: np.random.Generator) -> Array | None:
    """POINTS means [POINTS, 3] of those with an opacity above 0.5; `None` where there are none."""
    solid = gaussians.means[gaussians.opacities > 0.5]
    return solid[rng.choice(len(solid), POINTS)] if len(solid) else None


def measure(
    gaussians: Gaussians | None, case: Case, rng: np.random.Generator, aligned: bool = False
) -> tuple[dict[str, float], Array]:
    """Figures of one result and its views [1 + V, SIZE, SIZE, 3]; `None` is the blank background."""
    if gaussians is None:
        views = np.ones_like(case.truth)
        return view_figures(views, case), views
    views = splat_views(gaussians, case.cameras)
    figures = view_figures(views, case) | point_figures(solid_points(gaussians, rng), case, aligned)
    return figures | {"solid": float((gaussians.opacities > 0.5).mean())}, views


def measure_mesh(mesh: Mesh, case: Case, rng: np.random.Generator) -> tuple[dict[str, float], Array]:
    """The same of a textured mesh in the view frame."""
    views = mesh_views(mesh, case.cameras)
    return view_figures(views, case) | point_figures(_visible(mesh, rng), case, aligned=True), views


def mesh_of(gaussians: Gaussians) -> Mesh:
    """The mesh that the product makes of Gaussians, in their frame, without texture.

    Raises `EmptyFieldError` or `SurfaceError` where it makes none.
    """
    low, high = gaussians.bounds()
    factor, center = OBJECT_EXTENT / max(float((high - low).max()), 1e-6), (low + high) / 2
    placed = gaussians.scaled(factor, -center)
    way = {"density": density_surface, "tsdf": tsdf_grid}[choose_surfacer(placed, look(placed)).surface]
    mesh = simplify(clean(extract(way(placed, 256))), FACES, lambda sentence: None)
    return replace(mesh, vertices=(mesh.vertices / factor + center).astype(np.float32))


def _visible(mesh: Mesh, rng: np.random.Generator) -> Array:
    """POINTS points of the visible surface of a mesh in any frame."""
    low, high = mesh.bounds()
    size, center = max(float((high - low).max()), 1e-6), (low + high) / 2
    boxed = replace(mesh, vertices=((mesh.vertices - center) / size).astype(np.float32))
    return visible_points(boxed, POINTS, rng) * size + center


# ---- the evaluation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    pictures: int = 2  # of each object
    views: int = VIEWS  # of each picture
    limit: int | None = None  # only so many objects, evenly over the pack
    mesh: bool = False
    aligned: bool = True
    baselines: bool = True
    timed: bool = True  # needs an exported network


def evaluate(
    index: Path,
    generator: AggGenerator,
    settings: Settings | None = None,
    sheet: Path | None = None,
    train: Path | None = None,
) -> dict[str, Any]:
    """Figures by method over a pack: means, means by style, differences with intervals, seconds by stage, and rows.

    A contact sheet goes to `sheet`. Raises `InputError` for packs that cannot be read.
    """
    settings = settings or Settings()
    pack = Pack(index)
    nearest = NearestObject(train) if train else None
    chosen = np.unique(np.linspace(0, len(pack) - 1, min(settings.limit or len(pack), len(pack))).astype(int))
    tasks = [(int(i), picture) for i in chosen for picture in range(settings.pictures)]
    rows: list[dict[str, Any]] = []
    grid, photos = [], []
    shown_objects = set(chosen[np.unique(np.linspace(0, len(chosen) - 1, SHOWN_ROWS).astype(int))].tolist())
    for i, picture in tqdm(tasks, disable=not sys.stderr.isatty(), unit="picture"):
        rng = np.random.default_rng([i, picture])
        case = make_case(pack.mesh(i), rng, settings.views)
        figures, views = _results(case, generator, nearest, settings, rng)
        rows.append({"object": i, "name": pack.entries[i].name, "style": pack.entries[i].style, "picture": picture}
                    | figures)  # fmt: skip
        photos.append(case.photo)
        if sheet and picture == 0 and i in shown_objects:
            grid.append([case.truth[0], *case.truth[1 : 1 + SHOWN]]
                        + [view for of_method in views.values() for view in of_method[:SHOWN]])  # fmt: skip
    if sheet:
        save_grid(sheet, grid)
    figures: dict[str, Any] = {"pictures": len(rows), "objects": len(chosen), **summary(rows)}
    if settings.timed:
        figures["seconds"] = stage_seconds(generator, photos[:: max(1, len(photos) // TIMED)][:TIMED])
    return figures | {"rows": rows}


def _results(
    case: Case, generator: AggGenerator, nearest: NearestObject | None, settings: Settings, rng: np.random.Generator
) -> tuple[dict[str, dict[str, float]], dict[str, Array]]:
    """Figures by method, and the views of each for the contact sheet: AGG's with the input's own, others without."""
    gaussians = generator.look(case.photo).gaussians
    figures, views = {}, {}
    figures["agg"], views["agg"] = measure(gaussians, case, rng, settings.aligned)
    if settings.mesh:
        try:
            points = _visible(mesh_of(gaussians), rng)
        except (EmptyFieldError, SurfaceError):
            points = None
        figures["mesh"] = point_figures(points, case, settings.aligned)
    if settings.baselines:
        inflated = inflated_silhouette(case.photo, generator.settings)
        figures["inflated"], views["inflated"] = measure(inflated, case, rng, settings.aligned)
        if nearest:
            figures["nearest"], views["nearest"] = measure_mesh(nearest.find(case.photo)[0], case, rng)
        figures["blank"], _ = measure(None, case, rng)
    return figures, {method: shown if method == "agg" else shown[1:] for method, shown in views.items()}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means by method, by style and method, and AGG's differences to every other method, [mean, low, high] each."""
    facts = ("object", "name", "style", "picture")
    methods = [name for name in rows[0] if name not in facts]
    styles = sorted({row["style"] for row in rows})
    objects = [row["object"] for row in rows]
    differences = {}
    for method in methods[1:]:
        shared = [name for name in rows[0][methods[0]] if name in rows[0][method]]
        differences[f"{methods[0]} - {method}"] = {
            name: paired_difference(
                [row[methods[0]][name] for row in rows], [row[method][name] for row in rows], objects
            ).as_list()
            for name in shared
        }
    return {
        "mean": {method: _mean([row[method] for row in rows]) for method in methods},
        "by_style": {style: {method: _mean([row[method] for row in rows if row["style"] == style])
                             for method in methods} | {"pictures": sum(row["style"] == style for row in rows)}
                     for style in styles},
        "differences": differences,
    }  # fmt: skip


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


COLUMNS = {
    "psnr": "PSNR", "ssim": "SSIM", "perceptual_r": "perc_r", "psnr_input": "input", "chamfer": "Chamfer",
    "f_0.1": "F@0.1", "f_0.2": "F@0.2", "f_0.5": "F@0.5", "aligned_chamfer": "a.Chamfer", "aligned_f_0.1": "a.F@0.1",
    "aligned_f_0.2": "a.F@0.2", "aligned_f_0.5": "a.F@0.5", "solid": "solid",
}  # fmt: skip

COMPARED = ("psnr", "perceptual_r", "f_0.1", "aligned_f_0.1", "aligned_chamfer")
"""Figures whose differences are printed; the JSON has all."""


def table(figures: dict[str, Any]) -> str:
    """The figures for people: methods, differences with their intervals, styles, seconds."""
    mean = figures["mean"]
    width = max(len(name) for name in (*mean, *figures["differences"])) + 1
    lines = [f"{'method':{width}}" + "".join(f"{title:>10}" for title in COLUMNS.values())]

    def line(title: str, row: dict[str, float]) -> str:
        cells = [f"{row[name]:10.4f}" if name in row else f"{'-':>10}" for name in COLUMNS]
        return f"{title:{width}}" + "".join(cells)

    lines += [line(method, row) for method, row in mean.items()]
    lines += ["", "difference, with its 95 % interval over objects"]
    for title, row in figures["differences"].items():
        told = [f"{COLUMNS[name]} {row[name][0]:+.3f} ({row[name][1]:+.3f} to {row[name][2]:+.3f})"
                for name in COMPARED if name in row]  # fmt: skip
        lines.append(f"{title:{width + 8}}" + "  ".join(told))
    first = next(iter(mean))
    lines += ["", f"{first} by style"]
    lines += [line(f"{style} ({row['pictures']})", row[first]) for style, row in figures["by_style"].items()]
    if seconds := figures.get("seconds"):
        told = "  ".join(f"{stage} {value:.3f}" for stage, value in seconds.items())
        lines += ["", f"seconds, median, warm: {told}"]
    return "\n".join(lines)


def write(output: Path, figures: dict[str, Any]) -> None:
    """The figures as JSON at `output`; the row of each picture beside it, as NAME.rows.json."""
    short = {name: value for name, value in figures.items() if name != "rows"}
    for path, content in ((output, short), (output.with_suffix(".rows.json"), figures["rows"])):
        with written_whole(path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def append(path: Path, figures: dict[str, Any], examples: int) -> None:
    """Adds the means of AGG to a file of evaluations, one JSON object a line, for `engine evaluate curve`."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"examples": examples, **figures["mean"]["agg"]}) + "\n")


def main(argv: list[str], load: Callable[[Path | None], AggGenerator] = AggGenerator.load) -> int:
    """The command line of `engine evaluate agg`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="engine evaluate agg", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--pack", type=Path, required=True, help="index file of the pack to measure on")
    parser.add_argument("--weights", type=Path, help="an .onnx file; the bundled weights by default")
    parser.add_argument("--train", type=Path, help="index of the training pack, for the nearest object as a baseline")
    parser.add_argument("--mesh", action="store_true", help="also measure the meshes made of the Gaussians")
    parser.add_argument("--pictures", type=int, default=2, help="pictures of each object (default %(default)s)")
    parser.add_argument("--views", type=int, default=VIEWS, help="new views of each (default %(default)s)")
    parser.add_argument("--limit", type=int, help="only so many objects, evenly over the pack")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures; a contact sheet lies beside it")
    parser.add_argument("--append", type=Path, metavar="JSONL", help="also add the means to this file of evaluations")
    options = parser.parse_args(argv)
    try:
        for name in ("pictures", "views", "limit"):
            if getattr(options, name) is not None and getattr(options, name) < 1:
                raise OptionError(f"{name} is {getattr(options, name)}.", f"Choose {name} of at least 1.")
        generator = load(options.weights)
        sheet = options.output.with_suffix(".png") if options.output else None
        timed = isinstance(generator.network, OnnxNetwork)
        settings = Settings(options.pictures, options.views, options.limit, options.mesh, timed=timed)
        figures = evaluate(options.pack, generator, settings, sheet, options.train)
        if options.output:
            write(options.output, figures)
        if options.append:
            training = generator.network.card["training"]
            append(options.append, figures, training["steps"] * training["batch"])
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(figures))
    return 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road on one page: a picture, or a file of splats, becomes a textured mesh in a GLB file.

Each `with run.stage(...)` line is one folder of the engine. The order of the stages, their share of the time and what
is reported about them stand here and nowhere else.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from engine import __version__
from engine.errors import OptionError
from engine.export.glb import Placement, placement_of, write_glb
from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians
from engine.fields.prepare import prepare_splats
from engine.fields.splats import read_splats, write_splats
from engine.generators.agg.fit import fit
from engine.generators.base import Generator, Report, silent
from engine.image.load import DETAIL_SIDE, load_picture
from engine.image.matte import matte
from engine.jit import compiled_before
from engine.options import MeshOptions
from engine.paths import check_writable, lod_paths, splats_path
from engine.refine.refine import refine
from engine.surface.choose import choose_surfacer, look
from engine.surface.cleanup import clean
from engine.surface.density_surface import density_surface
from engine.surface.field import SignedGrid
from engine.surface.isosurface import extract
from engine.surface.mesh import Mesh
from engine.surface.quads import to_quads
from engine.surface.report import MeshReport, mesh_report
from engine.surface.simplify import simplify
from engine.surface.topology import make_watertight
from engine.surface.tsdf import tsdf_grid
from engine.texture.bake import bake
from engine.texture.maps import normal_map, occlusion
from engine.texture.photograph import sharpened
from engine.texture.unwrap import stop_helper, unwrap

FIELD_STAGES = {"density": 8, "surface": 4, "simplify": 8, "unwrap": 12, "bake": 5, "refine": 0, "lods": 0, "export": 2}
PICTURE_STAGES = {"picture": 1, "matte": 4, "generate": 6, "fit": 0, **FIELD_STAGES}
SPLAT_STAGES = {"splats": 2, **FIELD_STAGES}
"""Stages in their order, each with its typical share of the time: they place the progress bar."""

SPLAT_VIEWS = 12
"""Views laid over the texture of a captured object: sharper by 2 dB on statues, for half a second."""

DETAILED = 1024
"""Side of a texture above which the photograph is read once more, in all its pixels."""

Warn = Callable[[str], None]


def picture_to_mesh(
    picture: str | Path,
    output: str | Path,
    generator: Generator,
    options: MeshOptions | None = None,
    report: Report = silent,
    warn: Warn | None = None,
) -> dict[str, Any]:
    """Makes the GLB file `output` from one picture; returns the report.

    Simpler copies and saved splats go beside it (`lod_paths`, `splats_path`). `report(stage, fraction, text)` gets the
    fraction of the whole job and may raise `Cancelled`. Raises the errors of `engine.errors`; `output` then is as it
    was before.
    """
    options = options or MeshOptions()
    run = Run(_weighed(PICTURE_STAGES, options), report, warn)
    _check_outputs(output, options)
    with run.stage("picture", "Reading the picture"):
        loaded = load_picture(picture)
    with run.stage("matte", "Cutting the object out"):
        cut = matte(loaded)
        run.warn(cut.warning)
    with run.stage("generate", "Imagining the object") as inner:
        imagined = generator.generate(cut.rgba, seed=options.seed, report=inner)
    gaussians = imagined.gaussians
    if options.fit and imagined.photograph:
        with run.stage("fit", "Fitting to the picture") as inner:
            gaussians = fit(gaussians, imagined.photograph, options.fit, inner)
    facts = {"picture": str(picture), "generator": generator.name, "matte_confidence": round(cut.confidence, 3)}
    options = _with_views(options, 0)
    photograph = imagined.photograph if options.photo else None
    if photograph and options.texture > DETAILED:
        photograph = sharpened(photograph, load_picture(picture, DETAIL_SIDE).rgba)
    return _field_to_glb(gaussians, photograph, None, output, Path(picture).stem, options, run, facts)


def splats_to_mesh(
    splats: str | Path,
    output: str | Path,
    options: MeshOptions | None = None,
    report: Report = silent,
    warn: Warn | None = None,
) -> dict[str, Any]:
    """Makes the GLB file `output` from a file of Gaussian splats; as `picture_to_mesh` otherwise."""
    options = options or MeshOptions()
    run = Run(_weighed(SPLAT_STAGES, options), report, warn)
    _check_outputs(output, options, Path(splats))
    with run.stage("splats", "Reading the splats"):
        prepared = prepare_splats(read_splats(splats, run.warn), options.up, options.crop, options.keep_all)
        for note in prepared.notes:
            run.warn(note)
    options = _with_views(options, SPLAT_VIEWS)
    placement = (prepared.scale, prepared.center) if options.keep_frame else None
    name = Path(splats).stem
    return _field_to_glb(prepared.gaussians, None, placement, output, name, options, run, {"splats": str(splats)})


def _field_to_glb(
    field: Gaussians,
    photograph: Photograph | None,
    placement: Placement | None,
    output: str | Path,
    name: str,
    options: MeshOptions,
    run: "Run",
    facts: dict[str, Any],
) -> dict[str, Any]:
    """The second half, the same for every source of Gaussians."""
    with run.stage("density", "Finding the surface") as inner:
        grid, how = _grid(field, options, lambda: inner("density", 0, ""))
    with run.stage("surface", "Smoothing the surface") as inner:
        dense = extract(grid)
        del grid
        inner("surface", 0, "")
        dense = clean(dense, options.smoothing)
    with run.stage("simplify", "Reducing faces") as inner:
        mesh = _reduced(dense, options.faces, options, run, lambda: inner("simplify", 0, ""))
    method = "xatlas" if options.charts == "xatlas" else "charts"

    def unfolded(mesh: Mesh, check: Callable[[], None]) -> Mesh:
        return unwrap(mesh, method=method, check=check, warn=run.warn)

    with run.stage("unwrap", "Unfolding the surface") as inner:
        mesh = unfolded(mesh, lambda: inner("unwrap", 0, ""))
    with run.stage("bake", "Painting the texture") as inner:
        painted = _painter(field, photograph, options, lambda: inner("bake", 0, ""))
        mesh = painted(mesh, options.texture)
    if options.refine:
        with run.stage("refine", "Fitting the mesh to the splats") as inner:
            refined = refine(mesh, field, options.refine, photograph, inner)
            mesh, facts = refined.mesh, {**facts, "error_before": refined.before, "error_after": refined.after}
    copies = []
    if options.lods:
        with run.stage("lods", "Making simpler copies") as inner:
            for level in range(1, options.lods + 1):
                check = partial(inner, "lods", (level - 1) / options.lods, "")
                check()
                faces, size = max(options.faces // 4**level, 100), max(options.texture // 2**level, 64)
                copy = unfolded(_reduced(dense, faces, options, run, check), check)
                copies.append(_with_maps(painted(copy, size), dense, options, check))
    with run.stage("export", "Writing the file") as inner:
        mesh = _with_maps(mesh, dense, options, lambda: inner("export", 0, ""))
        inner("export", 0, "")
        shape = _checked(mesh_report(mesh, options.texture, options.size), run)
        for path, copy in zip(lod_paths(output, options.lods), copies, strict=True):
            write_glb(path, copy, path.stem, options.size, options.image, None, placement)
        extras = {"gaussmith": {**shape.as_dict(), "surface": how}}
        if options.save_splats:
            scale, center = placement or placement_of(mesh.vertices, options.size)
            write_splats(splats_path(output), field.scaled(scale, center / scale))
            facts = {**facts, "saved_splats": str(splats_path(output))}
        write_glb(output, mesh, name, options.size, options.image, extras, placement)
    run.finish()
    return {
        "output": str(output),
        **facts,
        "seconds": run.seconds,
        **shape.as_dict(),
        "surface": how,
        "lods": [str(path) for path in lod_paths(output, options.lods)],
        "gaussians": len(field),
        "warnings": run.warnings,
        "options": asdict(options),
        "seed": options.seed,
        "engine": __version__,
    }


def _check_outputs(output: str | Path, options: MeshOptions, source: Path | None = None) -> None:
    """Raises an error where a file that will be made could not be written, or would replace its own source."""
    saved = [splats_path(output)] if options.save_splats else []
    if source is not None and any(path.exists() and source.exists() and path.samefile(source) for path in saved):
        raise OptionError(f"The splats would be saved over {source}, which they are read from.", "Use another folder.")
    for path in (output, *saved, *lod_paths(output, options.lods)):
        check_writable(path)


def _with_views(options: MeshOptions, views: int) -> MeshOptions:
    """The number of views asked for, or this one."""
    return replace(options, views=views) if options.views < 0 else options


def _grid(field: Gaussians, options: MeshOptions, check: Callable[[], None]) -> tuple[SignedGrid, str]:
    """The surface as a signed grid, and the name of the way it was found."""
    how = options.surface
    if how == "auto":
        how = choose_surfacer(field, look(field), options.resolution).surface
        check()
    way = {"density": density_surface, "tsdf": tsdf_grid}[how]
    return way(field, options.resolution, check=check), how


def _reduced(
    dense: Mesh, faces: int, options: MeshOptions, run: "Run", check: Callable[[], None] | None = None
) -> Mesh:
    """The mesh with the faces, the topology and the guarantees asked for."""
    if options.topology == "quads":
        mesh = to_quads(dense, faces, check=check, warn=run.warn)
    else:
        mesh = simplify(dense, faces, run.warn)
    if check:
        check()
    return make_watertight(mesh, run.warn) if options.watertight else mesh


def _painter(
    field: Gaussians, photograph: Photograph | None, options: MeshOptions, check: Callable[[], None]
) -> Callable[[Mesh, int], Mesh]:
    """Gives a mesh its texture of a size, from all the sources asked for."""
    return lambda mesh, size: bake(mesh, field, size, options.views, photograph, options.symmetry, check)


def _with_maps(mesh: Mesh, dense: Mesh, options: MeshOptions, check: Callable[[], None]) -> Mesh:
    """With the maps asked for, of the size of its texture."""
    size = options.texture if mesh.texture is None else len(mesh.texture)
    return replace(
        mesh,
        normal_map=normal_map(mesh, dense, size, check) if options.normal_map else None,
        occlusion=occlusion(mesh, size, check) if options.occlusion else None,
    )


def _checked(shape: MeshReport, run: "Run") -> MeshReport:
    if not shape.watertight and not any("watertight" in text for text in run.warnings):
        run.warn("The mesh is not watertight: some of its edges have not exactly two faces.")
    return shape


def _weighed(stages: Mapping[str, float], options: MeshOptions) -> dict[str, float]:
    """The stages with the time that these options add to them."""
    extra = {
        "density": 60 if options.resolution > 256 else 0,
        "simplify": 60 if options.topology == "quads" else 0,
        "bake": 1.2 * max(options.views, 0),
        "fit": 0.2 * options.fit,
        "refine": 1.5 * options.refine,
        "lods": 12 * options.lods,
        "export": 10 * (options.normal_map + options.occlusion),
    }
    return {name: share + extra.get(name, 0) for name, share in stages.items()}


def stop_children() -> None:
    """Ends the processes that stages have started: called by a process that is about to end without ceremony."""
    stop_helper()


class Run:
    """Clock, progress and warnings of one job."""

    def __init__(self, stages: Mapping[str, float], report: Report, warn: Warn | None = None) -> None:
        total = sum(stages.values())
        self._shares = {name: share / total for name, share in stages.items()}
        self._report, self._warn = report, warn
        self._done = 0.0
        self._start = time.perf_counter()
        self._hint = "" if compiled_before() else " (compiling, this first time only)"
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[Report]:
        """Times the block as stage `name`; yields a report whose fractions are of this stage alone."""
        share = self._shares[name]

        def inner(_: str, fraction: float, detail: str) -> None:
            self._report(name, self._done + share * min(1.0, max(0.0, fraction)), detail or text + self._hint)

        self._report(name, self._done, text + self._hint)
        start = time.perf_counter()
        yield inner
        self.seconds[name] = round(time.perf_counter() - start, 4)
        self._done += share

    def warn(self, text: str) -> None:
        """Keeps a warning for the report and shows it at once; an empty one is none."""
        if text and text not in self.warnings:
            self.warnings.append(text)
            if self._warn:
                self._warn(text)

    def finish(self) -> None:
        """Ends the clock. Nothing is reported any more: what is written can no longer be cancelled."""
        self.seconds["total"] = round(time.perf_counter() - self._start, 4)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road on one page: a picture, or a file of splats, becomes a textured mesh in a GLB file.

Each `with run.stage(...)` line is one folder of the engine. The order of the stages, their share of the time and what
is reported about them stand here and nowhere else.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import __version__
from engine.export.glb import write_glb
from engine.fields.gaussians import Gaussians
from engine.fields.splats import read_splats, write_splats
from engine.generators.base import Generator, Report, silent
from engine.image.load import load_picture
from engine.image.matte import matte
from engine.options import MeshOptions
from engine.paths import check_writable
from engine.surface.cleanup import clean
from engine.surface.density_surface import density_surface
from engine.surface.isosurface import extract
from engine.surface.report import mesh_report
from engine.surface.simplify import simplify
from engine.texture.bake import bake
from engine.texture.unwrap import stop_helper, unwrap, warm_up

FIELD_STAGES = {"density": 2, "surface": 9, "simplify": 8, "unwrap": 16, "bake": 4, "export": 2}
PICTURE_STAGES = {"picture": 1, "matte": 4, "generate": 6, **FIELD_STAGES}
SPLAT_STAGES = {"splats": 2, **FIELD_STAGES}
"""Stages in their order, each with its typical share of the time: they place the progress bar."""

Warn = Callable[[str], None]


def picture_to_mesh(
    picture: str | Path,
    output: str | Path,
    generator: Generator,
    options: MeshOptions | None = None,
    report: Report = silent,
    warn: Warn | None = None,
    splats: str | Path | None = None,
) -> dict[str, Any]:
    """Makes the GLB file `output` from one picture, and on request the splat file `splats`; returns the report.

    `report(stage, fraction, text)` gets the fraction of the whole job and may raise `Cancelled`.
    Raises the errors of `engine.errors`; `output` then is as it was before.
    """
    options = options or MeshOptions()
    run = Run(PICTURE_STAGES, report, warn)
    for path in filter(None, (output, splats)):
        check_writable(path)
    with run.stage("picture", "Reading the picture"):
        loaded = load_picture(picture)
    with run.stage("matte", "Cutting the object out"):
        cut = matte(loaded)
        run.warn(cut.warning)
    with run.stage("generate", "Imagining the object") as inner:
        field = generator.generate(cut.rgba, seed=options.seed, report=inner).gaussians
        if splats:
            write_splats(splats, field)
    facts = {"picture": str(picture), "generator": generator.name, "matte_confidence": round(cut.confidence, 3)}
    if splats:
        facts["splats"] = str(splats)
    return _field_to_glb(field, output, Path(picture).stem, options, run, facts)


def splats_to_mesh(
    splats: str | Path,
    output: str | Path,
    options: MeshOptions | None = None,
    report: Report = silent,
    warn: Warn | None = None,
) -> dict[str, Any]:
    """Makes the GLB file `output` from a file of Gaussian splats; as `picture_to_mesh` otherwise."""
    options = options or MeshOptions()
    run = Run(SPLAT_STAGES, report, warn)
    check_writable(output)
    with run.stage("splats", "Reading the splats"):
        field = read_splats(splats)
    return _field_to_glb(field, output, Path(splats).stem, options, run, {"splats": str(splats)})


def _field_to_glb(
    field: Gaussians, output: str | Path, name: str, options: MeshOptions, run: "Run", facts: dict[str, Any]
) -> dict[str, Any]:
    """The second half, the same for every source of Gaussians."""
    with run.stage("density", "Filling the density grid"):
        grid = density_surface(field, options.resolution)
    with run.stage("surface", "Finding the surface"):
        surface = clean(extract(grid), options.smoothing)
    with run.stage("simplify", "Reducing faces"):
        mesh = simplify(surface, options.faces, run.warn)
        shape = mesh_report(mesh)
    if not shape.watertight and not any("watertight" in text for text in run.warnings):
        run.warn("The mesh is not watertight: some of its edges have not exactly two faces.")
    with run.stage("unwrap", "Unfolding the surface") as inner:
        mesh = unwrap(mesh, check=lambda: inner("unwrap", 0, ""), warn=run.warn)
    with run.stage("bake", "Painting the texture"):
        mesh = bake(mesh, field, options.texture)
    with run.stage("export", "Writing the file"):
        write_glb(output, mesh, name, options.size)
    run.finish()
    return {
        "output": str(output),
        **facts,
        "seconds": run.seconds,
        "faces": len(mesh.faces),
        "vertices": shape.vertices,
        "watertight": shape.watertight,
        "components": shape.components,
        "gaussians": len(field),
        "warnings": run.warnings,
        "options": asdict(options),
        "seed": options.seed,
        "engine": __version__,
    }


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
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        warm_up()  # the unwrapping process starts while the first stages work

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[Report]:
        """Times the block as stage `name`; yields a report whose fractions are of this stage alone."""
        share = self._shares[name]

        def inner(_: str, fraction: float, detail: str) -> None:
            self._report(name, self._done + share * min(1.0, max(0.0, fraction)), detail or text)

        self._report(name, self._done, text)
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

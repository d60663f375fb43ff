# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's commands: generate, mesh, render, doctor, serve, train, evaluate, export.

Exit codes: 0 all done, 1 some failed, 2 usage, 3 engine fault. People read stdout and, on a terminal, progress bars on
stderr; programs add `--json` and read the last line of stdout.
"""

import argparse
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine import __version__
from engine.errors import EmptyFieldError, GaussmithError, InputError, OptionError, OutputError, explain
from engine.options import MeshOptions

if TYPE_CHECKING:
    from engine.batch import Task
    from engine.generators.base import Generator

DONE, SOME_FAILED, USAGE, ENGINE_FAULT, STOPPED = 0, 1, 2, 3, 130

LoadGenerator = Callable[[str], "Generator"]


def main(argv: Sequence[str] | None = None, load: LoadGenerator | None = None) -> int:
    """Runs one command and returns its exit code. `load` loads a generator by name; the bundled ones by default."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _never_stumble_over_names()
    if argv[:1] and argv[0] in LEARNING:
        return _learn(argv[0], argv[1:])
    arguments = _parser().parse_args(argv)
    return _told(lambda: arguments.run(arguments, load), getattr(arguments, "json", False))


def _told(command: Callable[[], int | None], as_json: bool = False) -> int:
    """Runs `command`; what it raises becomes a sentence and an exit code (a traceback where we are at fault)."""
    try:
        return command() or DONE
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except Exception as error:
        code, message, hint = explain(error)
        if code == GaussmithError.code:
            traceback.print_exception(error)
        print(f"error: {message} {hint}".rstrip(), file=sys.stderr)
        if as_json:
            print(json.dumps({"error": {"code": code, "message": message, "hint": hint}}, ensure_ascii=False))
        if isinstance(error, OptionError):
            return USAGE
        return SOME_FAILED if isinstance(error, (InputError, OutputError, EmptyFieldError)) else ENGINE_FAULT


def _never_stumble_over_names() -> None:
    """A path that the terminal's encoding lacks is shown with escapes; it never ends a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


# ---- generate and mesh ----------------------------------------------------------------------------------------------


def _generate(arguments: argparse.Namespace, load: LoadGenerator | None) -> int:
    from engine.batch import PICTURES, plan, run_batch

    options = _options(arguments)
    tasks = plan(arguments.pictures, arguments.output, PICTURES)
    todo = [task for task in tasks if arguments.overwrite or not task.output.exists()]
    generator = _load(arguments.generator, load) if todo else None

    def work(task: "Task", report: Any, warn: Any) -> dict[str, Any]:
        from engine.pipeline import picture_to_mesh

        assert generator
        splats = task.output.with_suffix(".ply") if arguments.save_splats else None
        if splats and splats.exists() and not arguments.overwrite:
            raise OutputError(f"{splats} exists already.", "Add --overwrite, or leave out --save-splats.")
        return picture_to_mesh(task.source, task.output, generator, options, report, warn, splats)

    return run_batch(tasks, work, overwrite=arguments.overwrite, as_json=arguments.json)


def _mesh(arguments: argparse.Namespace, load: LoadGenerator | None) -> int:
    from engine.batch import SPLATS, plan, run_batch

    options = _options(arguments)

    def work(task: "Task", report: Any, warn: Any) -> dict[str, Any]:
        from engine.pipeline import splats_to_mesh

        return splats_to_mesh(task.source, task.output, options, report, warn)

    tasks = plan(arguments.splats, arguments.output, SPLATS)
    return run_batch(tasks, work, overwrite=arguments.overwrite, as_json=arguments.json)


def _load(name: str, load: LoadGenerator | None) -> "Generator":
    if load is None:
        from engine.generators.base import load_generator as load
    return load(name)


def _options(arguments: argparse.Namespace) -> MeshOptions:
    names = [field.name for field in fields(MeshOptions) if hasattr(arguments, field.name)]
    return MeshOptions(**{name: getattr(arguments, name) for name in names})


# ---- render, doctor, serve ------------------------------------------------------------------------------------------


def _render(arguments: argparse.Namespace, load: LoadGenerator | None) -> int:
    for name, low, high in (("views", 1, 64), ("size", 16, 2048)):
        if not low <= getattr(arguments, name) <= high:
            raise OptionError(f"{name} is {getattr(arguments, name)}.", f"Choose {name} from {low} to {high}.")
    from engine.export.preview import contact_sheet

    contact_sheet(arguments.asset, arguments.output, arguments.views, arguments.size)
    if arguments.json:
        print(json.dumps({"asset": str(arguments.asset), "output": str(arguments.output)}, ensure_ascii=False))
    else:
        print(arguments.output)
    return DONE


def _doctor(arguments: argparse.Namespace, load: LoadGenerator | None) -> int:
    from engine.doctor import examine, table

    findings = examine(load)
    print(json.dumps(findings, ensure_ascii=False) if arguments.json else table(findings))
    return DONE if findings["works"] else ENGINE_FAULT


def _serve(arguments: argparse.Namespace, load: LoadGenerator | None) -> NoReturn:
    from engine.server import serve

    serve(load)


# ---- train, evaluate, export ----------------------------------------------------------------------------------------


def _train_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.train import main

    return main(argv)


def _evaluate_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.evaluate import main

    return main(argv)


def _export_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.export import main

    return main(argv)


LEARNING = {"train": {"agg": _train_agg}, "evaluate": {"agg": _evaluate_agg}, "export": {"agg": _export_agg}}
"""Commands that need PyTorch: by name, then by system. Each has options of its own."""


def _learn(command: str, argv: list[str]) -> int:
    systems = LEARNING[command]
    if not argv or argv[0] not in systems:
        print(f"usage: engine {command} {{{','.join(systems)}}} [options]", file=sys.stderr)
        if argv[:1] in (["-h"], ["--help"]):
            return DONE
        found = repr(argv[0]) if argv else "nothing"
        print(f"error: {command} needs the name of a system first, found {found}.", file=sys.stderr)
        return USAGE
    return _told(lambda: systems[argv[0]](argv[1:]))


# ---- the command line -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="engine",
        description="Gaussmith's engine: one picture becomes a clean, textured mesh.",
        epilog="Exit codes: 0 all done, 1 some failed, 2 wrong usage, 3 the engine cannot work.",
    )
    parser.add_argument("--version", action="version", version=f"Gaussmith engine {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    generate = commands.add_parser("generate", help="make textured meshes from pictures")
    generate.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files or folders of them")
    generate.add_argument("-o", "--output", required=True, metavar="OUT", help="folder, or a .glb file for one picture")
    generate.add_argument("--generator", default="agg", metavar="NAME", help="which network imagines the object")
    generate.add_argument("--seed", type=int, default=MeshOptions.seed, help="same seed, same result")
    _mesh_arguments(generate)
    generate.add_argument("--save-splats", action="store_true", help="also write the Gaussians, as .ply")
    generate.set_defaults(run=_generate)

    mesh = commands.add_parser("mesh", help="make textured meshes from Gaussian splat files")
    mesh.add_argument("splats", nargs="+", metavar="SPLATS", help=".ply files or folders of them")
    mesh.add_argument("-o", "--output", required=True, metavar="OUT", help="a .glb file, or a folder")
    _mesh_arguments(mesh)
    mesh.set_defaults(run=_mesh, seed=MeshOptions.seed)

    render = commands.add_parser("render", help="draw an asset from all around on one sheet")
    render.add_argument("asset", metavar="ASSET", type=Path, help="a .glb mesh or a .ply of splats")
    render.add_argument("-o", "--output", required=True, metavar="OUT.png", type=Path)
    render.add_argument("--views", type=int, default=8, help="how many views (default %(default)s)")
    render.add_argument("--size", type=int, default=256, help="pixels of each view (default %(default)s)")
    render.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    render.set_defaults(run=_render)

    doctor = commands.add_parser("doctor", help="check what is installed and whether it works")
    doctor.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    doctor.set_defaults(run=_doctor)

    serve = commands.add_parser("serve", help="work for Blender over stdin and stdout")
    serve.set_defaults(run=_serve)

    for command, text in (
        ("train", "train a generator (needs PyTorch)"),
        ("evaluate", "measure a generator (needs PyTorch)"),
        ("export", "write a trained generator as ONNX (needs PyTorch)"),
    ):
        commands.add_parser(command, help=text, add_help=False)  # taken by `main` before the parser sees it
    return parser


def _mesh_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = MeshOptions()
    parser.add_argument("--faces", type=int, default=defaults.faces, help="most triangles (default %(default)s)")
    parser.add_argument("--texture", type=int, default=defaults.texture, help="texture side in pixels (%(default)s)")
    parser.add_argument("--resolution", type=int, default=defaults.resolution, help="density cells (%(default)s)")
    parser.add_argument("--size", type=float, default=defaults.size, help="longest side in metres (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist; else they are skipped")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")

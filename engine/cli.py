# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's commands: generate, mesh, render, doctor, serve, train, evaluate, ablate, export.

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
from engine.options import CHOICES, MeshOptions
from engine.paths import lod_paths, splats_path

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
        _keep_files_beside(task.output, options, arguments)
        return picture_to_mesh(task.source, task.output, generator, options, report, warn)

    return run_batch(tasks, work, overwrite=arguments.overwrite, as_json=arguments.json)


def _mesh(arguments: argparse.Namespace, load: LoadGenerator | None) -> int:
    from engine.batch import SPLATS, plan, run_batch

    options = _options(arguments)

    def work(task: "Task", report: Any, warn: Any) -> dict[str, Any]:
        from engine.pipeline import splats_to_mesh

        _keep_files_beside(task.output, options, arguments)
        return splats_to_mesh(task.source, task.output, options, report, warn)

    tasks = plan(arguments.splats, arguments.output, SPLATS)
    return run_batch(tasks, work, overwrite=arguments.overwrite, as_json=arguments.json)


def _keep_files_beside(output: Path, options: MeshOptions, arguments: argparse.Namespace) -> None:
    """Files made beside the mesh do not replace others unasked."""
    saved = [splats_path(output)] if options.save_splats else []
    for flag, paths in (("--save-splats", saved), ("--lods", lod_paths(output, options.lods))):
        for path in paths:
            if path.exists() and not arguments.overwrite:
                raise OutputError(f"{path} exists already.", f"Add --overwrite, or leave out {flag}.")


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


def _train_pack(argv: list[str]) -> int | None:
    from engine.training.pack import main

    return main(argv)


def _train_shapes(argv: list[str]) -> int | None:
    from engine.training.shapes import main

    return main(argv)


def _train_matte(argv: list[str]) -> int | None:
    from engine.training.matte.train import main

    return main(argv)


def _evaluate_matte(argv: list[str]) -> int | None:
    from engine.training.matte.evaluate import main

    return main(argv)


def _export_matte(argv: list[str]) -> int | None:
    from engine.training.matte.export import main

    return main(argv)


def _evaluate_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.evaluate import main

    return main(argv)


def _evaluate_curve(argv: list[str]) -> int | None:
    from engine.training.evaluation.curve import main

    return main(argv)


def _ablate_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.ablate import main

    return main(argv)


def _export_agg(argv: list[str]) -> int | None:
    from engine.generators.agg.export import main

    return main(argv)


LEARNING = {
    "train": {"agg": _train_agg, "matte": _train_matte, "pack": _train_pack, "shapes": _train_shapes},
    "evaluate": {"agg": _evaluate_agg, "matte": _evaluate_matte, "curve": _evaluate_curve},
    "ablate": {"agg": _ablate_agg},
    "export": {"agg": _export_agg, "matte": _export_matte},
}
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
    _mesh_arguments(generate, of_splats=False)
    generate.set_defaults(run=_generate)

    mesh = commands.add_parser("mesh", help="make textured meshes from Gaussian splat files")
    mesh.add_argument(
        "splats", nargs="+", metavar="SPLATS", help="splat files (.ply .splat .ksplat .spz .sog) or folders"
    )
    mesh.add_argument("-o", "--output", required=True, metavar="OUT", help="a .glb file, or a folder")
    _mesh_arguments(mesh, of_splats=True)
    mesh.set_defaults(run=_mesh)

    render = commands.add_parser("render", help="draw an asset from all around on one sheet")
    render.add_argument("asset", metavar="ASSET", type=Path, help="a mesh (.glb, .obj, .ply) or a file of splats")
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
        ("ablate", "train a generator without one part after another (needs PyTorch)"),
        ("export", "write a trained generator as ONNX (needs PyTorch)"),
    ):
        commands.add_parser(command, help=text, add_help=False)  # taken by `main` before the parser sees it
    return parser


def _mesh_arguments(parser: argparse.ArgumentParser, of_splats: bool) -> None:
    """The options of `MeshOptions`, with their defaults; `_options` puts them together."""
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            if name not in (OF_PICTURES if of_splats else OF_SPLATS):
                _argument(group, name)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist; else they are skipped")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


OF_SPLATS = ("up", "crop", "keep_all", "keep_frame")
OF_PICTURES = ("seed", "photo", "fit")

GROUPS = {
    "shape": (
        "fit",
        "surface",
        "resolution",
        "smoothing",
        "faces",
        "topology",
        "watertight",
        "lods",
        "size",
        "save_splats",
    ),
    "texture": ("texture", "image", "charts", "views", "photo", "symmetry", "normal_map", "occlusion", "refine"),
    "splat file": OF_SPLATS,
}

HELP = {
    "surface": "how the surface is found (default %(default)s: the way that agrees better with the splats)",
    "resolution": "cells of the grid along the longest side (default %(default)s)",
    "smoothing": "steps of smoothing at equal volume (default %(default)s)",
    "faces": "most triangles, or number of quads (default %(default)s)",
    "topology": "default %(default)s; quads need the package pynanoinstantmeshes or a Blender",
    "watertight": "a closed, consistently oriented 2-manifold, or an error that says why not",
    "lods": "so many simpler copies, each with a quarter of the faces (default %(default)s)",
    "size": "longest side in metres (default %(default)s)",
    "save_splats": "also write the splats as a .ply that lies over the mesh",
    "texture": "texture side in pixels (default %(default)s)",
    "image": "how the texture is stored (default %(default)s)",
    "charts": "how the surface is cut and unfolded (default %(default)s: fewer and larger charts, faster)",
    "views": "lay so many renders of the splats over the texture (default 12 for splat files, else none)",
    "photo": "do not lay the picture itself over the texture",
    "symmetry": "show on unseen parts the mirror image of seen ones, where the object is symmetric",
    "normal_map": "bake the dense surface's normals",
    "occlusion": "bake ambient occlusion",
    "fit": "steps of fitting the imagined splats to the picture (default %(default)s: 50 take half a second to one and "
    "make the picture's own side truer; other sides stay as good, and the mesh's outline gains little)",
    "refine": "steps of fitting the mesh to the splats (default %(default)s)",
    "up": "what is up in the file (default %(default)s, as in .spz; other captures often have -y)",
    "crop": "keep splats within this box of the file's frame",
    "keep_all": "keep everything in the file, not only the largest dense object",
    "keep_frame": "leave the object where it is in the file, at its size",
}


def _argument(group: argparse._ArgumentGroup, name: str) -> None:
    """One option of `MeshOptions` as a flag of its type."""
    default, flag, text = getattr(MeshOptions(), name), "--" + name.replace("_", "-"), HELP[name]
    if name == "crop":
        group.add_argument(flag, nargs=6, type=float, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"), help=text)
    elif default is True:
        group.add_argument(flag.replace("--", "--no-", 1), dest=name, action="store_false", help=text)
    elif default is False:
        group.add_argument(flag, action="store_true", help=text)
    elif name in CHOICES:
        group.add_argument(flag, choices=CHOICES[name], default=default, help=text)
    else:
        group.add_argument(flag, type=type(default), default=default, metavar="N", help=text)

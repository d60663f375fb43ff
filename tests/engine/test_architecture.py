# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the import rules of engine/DESIGN.md, by reading every file, and what no file of the repository may contain."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "engine"

EVERYWHERE = ("conventions", "errors", "paths", "jit")
"""May be imported by every part of the engine, beside `__version__`."""

ALLOWED = {  # part of the engine: the parts it may import, beside itself and EVERYWHERE
    "jit": (),
    "image": ("nets.runtime",),
    "fields": (),
    "render": ("fields", "surface.mesh"),
    "surface": ("blender", "fields", "render"),
    "texture": ("fields", "render", "surface"),
    "refine": ("fields", "render", "surface", "texture"),
    "export": ("fields", "render", "surface", "texture"),
    "nets": ("device",),
    "training": ("blender", "fields", "image", "nets", "render", "surface", "texture"),
    "generators": ("fields", "image", "nets", "render"),
    "options": (),
    "device": (),
    "pipeline": (
        "image",
        "generators.base",
        "generators.agg.fit",
        "fields",
        "surface",
        "texture",
        "refine",
        "export",
        "options",
    ),
    "batch": ("image.load",),
    "server": ("protocol", "pipeline", "device", "options", "generators.base"),
    "doctor": ("pipeline", "device", "options", "generators.base"),
    "cli": ("batch", "doctor", "export", "generators", "options", "pipeline", "server", "training"),
    "__main__": ("cli",),
}
STANDARD_LIBRARY_ONLY = ("blender", "protocol", "conventions", "errors", "paths")
TRAINING_FILES = (
    "network",
    "superres",
    "lookups",
    "loss",
    "train",
    "data",
    "export",
    "evaluate",
    "stages",
    "quick",
    "ablate",
)
"""Files of a generator's folder that only training needs: they may also import training, render, surface and torch."""
TORCH = ("torch", "onnx", "onnxscript")


def modules(folder: Path) -> dict[str, Path]:
    """Dotted name below `folder` -> file, of every Python file."""
    files = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    return {".".join(path.relative_to(folder).with_suffix("").parts): path for path in files}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """All that a file imports, also in functions; `from a.b import c` gives `a.b.c`, relative ones begin with a dot."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return frozenset(found)


def is_in(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def is_training(module: str) -> bool:
    """Whether only training and its tests run this file, so that it may import torch."""
    words = module.split(".")
    if words[0] == "generators":
        return len(words) == 3 and words[2] in TRAINING_FILES
    if words[0] == "nets":
        return words[-1] not in ("runtime", "__init__")
    return words[0] == "training" or module in ("render.splat_torch", "render.splat_reference")


def allowed(module: str) -> tuple[str, ...]:
    part = module.split(".")[0]
    extra = ("training", "surface") if part == "generators" and is_training(module) else ()
    return (*EVERYWHERE, "__version__", part, *ALLOWED[part], *extra)


ENGINE_MODULES = {name: path for name, path in modules(ENGINE).items() if not name.endswith("__init__")}


def test_imports_point_one_way():
    """Each part of the engine may import those of ALLOWED; see engine/DESIGN.md."""
    wrong = {}
    for module in ENGINE_MODULES.keys() - STANDARD_LIBRARY_ONLY:
        own = {name.removeprefix("engine.") for name in imports(ENGINE_MODULES[module]) if is_in(name, ("engine",))}
        if forbidden := {name for name in own if not is_in(name, allowed(module))}:
            wrong[module] = forbidden
    assert wrong == {}


def test_the_ground_floor_needs_the_standard_library_only():
    for module in STANDARD_LIBRARY_ONLY:
        names = imports(ENGINE_MODULES[module])
        foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
        assert {name for name in foreign if not is_in(name, ("engine.errors",))} == set(), module


def test_inside_the_engine_imports_are_absolute():
    assert [name for name, path in ENGINE_MODULES.items() if any(word[0] == "." for word in imports(path))] == []


def test_what_makes_meshes_names_no_torch_and_nothing_that_imports_it():
    wrong = {}
    for module, path in ENGINE_MODULES.items():
        if is_training(module) or module == "cli":
            continue
        own = {name.removeprefix("engine.") for name in imports(path) if is_in(name, ("engine",))}
        reached = {other for name in own for other in ENGINE_MODULES if name == other or name.startswith(other + ".")}
        found = [name for name in imports(path) if is_in(name, TORCH)] + [n for n in reached if is_training(n)]
        if found:
            wrong[module] = found
    assert wrong == {}


def test_the_command_line_imports_training_inside_functions_only():
    top = parsed(ENGINE_MODULES["cli"]).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert [name for name in names if is_training(name.removeprefix("engine."))] == []


@pytest.mark.slow
def test_every_module_that_makes_meshes_loads_where_torch_is_not_installed():
    wanted = [f"engine.{name}" for name in ENGINE_MODULES if not is_training(name) and name != "__main__"]
    code = (
        "import importlib, sys\n"
        f"for name in {TORCH!r}: sys.modules[name] = None\n"  # importing these now fails
        f"for name in {wanted!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_addon_takes_only_the_wire_from_the_engine():
    heavy = ("numba", "onnxruntime", "scipy", "skimage", "trimesh", "xatlas", "PIL", *TORCH)
    wrong = {}
    for module, path in modules(ROOT / "addon").items():
        of_engine = {name.lstrip(".") for name in imports(path) if is_in(name.lstrip("."), ("engine",))}
        found = {name for name in of_engine if not is_in(name, ("engine.protocol",))}
        found |= {name for name in imports(path) if is_in(name, heavy)}
        if found:
            wrong[module] = found
    assert wrong == {}


def test_what_says_it_needs_no_blender_knows_none():
    files = modules(ROOT / "addon").values()
    without = [path for path in files if "No bpy." in (ast.get_docstring(parsed(path)) or "")]
    assert {"jobs", "client", "environment", "wire"} <= {path.stem for path in without}
    assert [path.name for path in without if any(is_in(name, ("bpy", "mathutils")) for name in imports(path))] == []


# --- What every file holds -------------------------------------------------------------------------------------------


def repository_files() -> list[Path]:
    """The files under version control; of an unpacked archive, all but what building makes."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    made = {".venv", "dist", "out", "runs", "__pycache__"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not made.intersection(path.parts)]


FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(?:wor" + r"k|roo" + r"t|hom" + r"e/\w+|Use" + r"rs/\w+)/",
    "a host of a package registry": r"\bpypi" + r"\.org|python" + r"hosted|pytorch" + r"\.org/whl|anaconda" + r"\.org",
}


def test_no_file_names_a_machine_or_a_registry():
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures, weights
        for what, pattern in FORBIDDEN.items():
            found += [f"{path.relative_to(ROOT)}: {what}: {match[0]}" for match in re.finditer(pattern, text)]
    assert found == []


BEGINNING = re.compile(r'(?:#!.*\n)?# SPDX-License-Identifier: GPL-3\.0-or-later\n(?:#.*\n)*\s*(r?"""\S)?')


def test_every_python_file_begins_with_its_licence_and_says_what_it_is():
    wrong = []
    for path in repository_files():
        if path.suffix == ".py":
            begins = BEGINNING.match(path.read_text(encoding="utf-8"))
            if not begins or (path.name != "__init__.py" and not begins[1]):
                wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []

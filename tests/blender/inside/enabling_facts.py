# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what enabling the add-on costs, told in a Blender that has not loaded it yet; in every Blender."""

import builtins
import sys
from contextlib import contextmanager
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.harness import Results, run_all

RESULTS, FOLDER = (Path(argument) for argument in sys.argv[sys.argv.index("--") + 1 :])
SPARED = (
    "numpy",
    "hashlib",
    "http",
    "traceback",
    "urllib.parse",
    "urllib.request",
    "concurrent.futures",
    "addon.batch",
    "addon.headless.workers",
    "addon.files.glb",
)
"""What takes long to load, and is needed only later."""


@contextmanager
def imports_of_ours():
    """Names our modules import meanwhile, those Blender's own add-ons have loaded before us among them."""
    asked, original = set(), builtins.__import__

    def noting(name, *arguments):
        importer = (arguments[0] if arguments else None) or {}
        if importer.get("__name__", "").partition(".")[0] == "addon":
            asked.add(name)
        return original(name, *arguments)

    builtins.__import__ = noting
    try:
        yield asked
    finally:
        builtins.__import__ = original


def fact_enabling_loads_nothing_that_is_needed_only_later():
    before = set(sys.modules)
    assert "addon" not in before
    with imports_of_ours() as asked:
        import addon

        addon.register()
    try:
        loaded = asked | set(sys.modules) - before
        assert "addon.session" in loaded
        assert "pathlib" in asked
        assert loaded.intersection(SPARED) == set()
    finally:
        addon.unregister()


if __name__ == "__main__":
    own = [value for name, value in list(globals().items()) if name.startswith("fact_")]
    run_all(own, Results(RESULTS), lambda: bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True))

# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripting interface in every Blender, and the examples in its documentation."""

import ast
import re
from pathlib import Path

import pytest

from .conftest import HOSTS, INSIDE, ROOT, check_outcome, find_blender, run_in_window

pytestmark = [pytest.mark.blender, pytest.mark.slow]

WINDOW = INSIDE / "window_api.py"
DOCUMENT = ROOT / "docs" / "scripting.md"
SCRIPT = INSIDE / "api_facts.py"


def facts_in(script: Path) -> list[str]:
    body = ast.parse(script.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("fact_")]


EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, environ):
    """Runs all facts in a Blender, once."""
    runs = {}

    def run(name: str):
        if name not in runs:
            folder = tmp_path_factory.mktemp(f"api {name}")
            runs[name] = (
                folder / "r.json",
                find_blender(name).run(SCRIPT, folder / "r.json", folder, environ=environ),
            )
        return runs[name]

    return run


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("fact", facts_in(SCRIPT))
def test_fact(host, fact, outcomes):
    results, done = outcomes(host)
    check_outcome(results, fact, done.stdout + done.stderr)


@pytest.mark.parametrize("host", HOSTS)
def test_blender_ends_well_after_all_facts(host, outcomes):
    _, done = outcomes(host)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def window(user, tmp_path_factory):
    """All facts in a window of Blender with the installed extension."""
    _, own = user("blender-5.2")
    folder = tmp_path_factory.mktemp("api window")
    for name in ("cat", "slow"):
        (folder / f"{name}.png").write_bytes(b"the fake engine looks at the name only")
    return folder, run_in_window("blender-5.2", WINDOW, folder, own)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fact", facts_in(WINDOW))
def test_fact_in_a_window(fact, window):
    folder, done = window
    check_outcome(folder / "outcomes.json", fact, done.stdout + done.stderr)


def test_every_example_of_the_documentation_runs(environ, tmp_path):
    """One after another in one Blender, with pictures of the names they use."""
    assert len(EXAMPLES) >= 6
    (tmp_path / "pictures").mkdir()
    for name in ("cat.png", "pictures/a.png", "pictures/b.png", "pictures/fail.png"):
        (tmp_path / name).write_bytes(b"the fake engine looks at the name only")
    script = tmp_path / "examples.py"
    lines = [f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport addon\naddon.register()\n"]
    for number, example in enumerate(EXAMPLES):
        own = example.replace("bl_ext.user_default.gaussmith", "addon").replace("addon.register()\n", "")
        lines.append(f"names = {{}}\nexec({own!r}, names)\nprint('example', {number}, 'ran', flush=True)\n")
        if "timers.register(look)" in own:  # which Blender as a module would wait for at its end
            lines.append("names['bpy'].app.timers.unregister(names['look'])\n")
    script.write_text("".join([*lines, "addon.unregister()\n"]), encoding="utf-8")
    done = find_blender("bpy").run(script, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ran") == len(EXAMPLES)
    assert "BAD_PICTURE" in done.stdout
    assert (tmp_path / "cat.glb").read_bytes()[:4] == b"glTF"


def test_every_flag_of_the_batch_that_is_documented_exists(environ):
    batch = find_blender("bpy").run(ROOT / "addon" / "batch.py", "--help", environ=environ)
    flags = set(re.findall(r"`(--[a-z]+)", DOCUMENT.read_text(encoding="utf-8")))
    assert len(flags) > 8
    assert {flag for flag in flags if flag not in batch.stdout} == set()

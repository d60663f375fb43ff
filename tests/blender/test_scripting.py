# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripting interface in a window, and the examples in its documentation; `test_facts.py` has the rest."""

import re

import pytest

from .conftest import INSIDE, ROOT, check_outcome, facts_in, find_blender, run_in_window

pytestmark = [pytest.mark.blender, pytest.mark.slow]

WINDOW = "window_api.py"
DOCUMENT = ROOT / "docs" / "scripting.md"


EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def window(user, tmp_path_factory):
    """All facts in a window of Blender with the installed extension."""
    _, own = user("blender-5.2")
    folder = tmp_path_factory.mktemp("api window")
    for name in ("cat", "slow"):
        (folder / f"{name}.png").write_bytes(b"the fake engine looks at the name only")
    return folder, run_in_window("blender-5.2", INSIDE / WINDOW, folder, own)


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fact of the scripts below, in `inside/`, in every Blender."""

import signal

import pytest

from .conftest import EVERY_HOST, INSIDE, check_outcome, facts_in, find_blender

pytestmark = [pytest.mark.blender, pytest.mark.slow]


SCRIPTS = (
    "facts.py",
    "splat_facts.py",
    "life_facts.py",
    "result_facts.py",
    "kept_facts.py",
    "interface_facts.py",
    "enabling_facts.py",
    "sidebar_facts.py",
    "history_facts.py",
    "api_facts.py",
)
# Blender 4.2 as a module crashes when Python ends wherever Blender's own glTF exporter has run, without any add-on of
# ours too; splat_facts.py calls it.
CRASHES_AT_EXIT = {("bpy-4.2", "splat_facts.py")}
FACTS = [(script, fact) for script in SCRIPTS for fact in facts_in(script)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, environ):
    """Runs all facts in a Blender, once."""
    runs = {}

    def run(name: str, script: str):
        if (name, script) not in runs:
            folder = tmp_path_factory.mktemp(f"facts {name}")
            done = find_blender(name).run(INSIDE / script, folder / "r.json", folder, environ=environ)
            runs[name, script] = folder / "r.json", done
        return runs[name, script]

    return run


@pytest.mark.parametrize("host", EVERY_HOST)
@pytest.mark.parametrize(("script", "fact"), FACTS)
def test_fact(host, script, fact, outcomes):
    results, done = outcomes(host, script)
    check_outcome(results, fact, done.stdout + done.stderr)


@pytest.mark.parametrize("host", EVERY_HOST)
@pytest.mark.parametrize("script", SCRIPTS)
def test_blender_ends_well_after_all_facts(host, script, outcomes):
    """An add-on that leaves a thread, a timer or a class makes Blender hang or crash when it ends."""
    _, done = outcomes(host, script)
    good = {0, -signal.SIGSEGV} if (host, script) in CRASHES_AT_EXIT else {0}
    assert done.returncode in good, done.stderr[-2000:]

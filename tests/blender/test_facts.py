# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fact of `inside/facts.py` in every Blender."""

import ast

import pytest

from .conftest import HOSTS, INSIDE, check_outcome, find_blender

pytestmark = [pytest.mark.blender, pytest.mark.slow]

SOURCE = ast.parse((INSIDE / "facts.py").read_text())
FACTS = [node.name for node in SOURCE.body if isinstance(node, ast.FunctionDef) and node.name.startswith("fact_")]
FACTS += [
    target.id
    for node in SOURCE.body
    if isinstance(node, ast.Assign)
    for target in node.targets
    if isinstance(target, ast.Name) and target.id.startswith("fact_")
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, environ):
    """Runs all facts in a Blender, once."""
    runs = {}

    def run(name: str):
        if name not in runs:
            folder = tmp_path_factory.mktemp(f"facts {name}")
            done = find_blender(name).run(INSIDE / "facts.py", folder / "r.json", folder, environ=environ)
            runs[name] = folder / "r.json", done
        return runs[name]

    return run


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("fact", FACTS)
def test_fact(host, fact, outcomes):
    results, done = outcomes(host)
    check_outcome(results, fact, done.stdout + done.stderr)


@pytest.mark.parametrize("host", HOSTS)
def test_blender_ends_well_after_all_facts(host, outcomes):
    """An add-on that leaves a thread, a timer or a class makes Blender hang or crash when it ends."""
    _, done = outcomes(host)
    assert done.returncode == 0, done.stderr[-2000:]

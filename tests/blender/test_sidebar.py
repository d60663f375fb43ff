# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar: its operators in every Blender, its panels in a real window of the installed extension."""

import pytest

from .conftest import HOSTS, INSIDE, PROGRAMS, check_outcome, find_blender, run_in_window
from .test_facts import facts_in
from .test_window import draw_picture

pytestmark = [pytest.mark.blender, pytest.mark.slow, pytest.mark.timeout(600)]

HEADLESS, WINDOW = "sidebar_facts.py", "window_sidebar.py"
PICTURES = ("cat", "dog", "slow", "hang")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, environ):
    """Runs the facts that need no window, once in each Blender."""
    runs = {}

    def run(host: str):
        if host not in runs:
            folder = tmp_path_factory.mktemp(f"sidebar {host}")
            runs[host] = (
                folder / "r.json",
                find_blender(host).run(INSIDE / HEADLESS, folder / "r.json", folder, environ=environ),
            )
        return runs[host]

    return run


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("fact", facts_in(HEADLESS))
def test_fact(host, fact, outcomes):
    results, done = outcomes(host)
    check_outcome(results, fact, done.stdout + done.stderr)


@pytest.mark.parametrize("host", HOSTS)
def test_blender_ends_well(host, outcomes):
    _, done = outcomes(host)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def windows(user, tmp_path_factory):
    """Runs the facts that need a window, once in each full Blender."""
    runs = {}

    def run(name: str):
        if name not in runs:
            _, own = user(name)
            folder = tmp_path_factory.mktemp(f"sidebar window {name}")
            for picture in PICTURES:
                draw_picture(folder / f"{picture}.png")
            runs[name] = folder, run_in_window(name, INSIDE / WINDOW, folder, own)
        return runs[name]

    return run


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("fact", facts_in(WINDOW))
def test_fact_in_a_window(name, fact, windows):
    folder, done = windows(name)
    check_outcome(folder / "outcomes.json", fact, done.stdout + done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_panel_fails_to_draw(name, windows):
    _, done = windows(name)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr

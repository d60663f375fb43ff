# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels of the sidebar in a real window of the installed extension; `test_facts.py` has what needs no window."""

import pytest

from .conftest import INSIDE, PROGRAMS, check_outcome, facts_in, run_in_window
from .test_window import draw_picture

pytestmark = [pytest.mark.blender, pytest.mark.slow, pytest.mark.timeout(600)]

WINDOW = "window_sidebar.py"
PICTURES = ("cat", "dog", "slow", "hang")


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns on one graphics card: in the order of asking, and nobody waits for one who is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from addon import turns
from addon.turns import Turns, turns_folder

ROOT = Path(__file__).parents[2]
HOLDER = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from addon.turns import Turns
held = Turns(Path(sys.argv[1]), "Blender of another")
print(held.ask(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def three(tmp_path):
    made = [Turns(tmp_path / "card", name) for name in "abc"]
    yield made
    for each in made:
        each.leave()


def test_the_first_who_asks_has_the_turn_and_the_others_follow_in_order(three):
    a, b, c = three
    assert a.ask()
    assert not b.ask()
    assert not c.ask()
    assert (b.holder(), b.before(), c.before()) == ("a", 1, 2)
    assert a.is_awaited()
    a.leave()
    assert not c.ask()
    assert b.ask()
    assert c.holder() == "b"
    assert not a.ask()  # at the end of the queue now
    assert a.before() == 2


def test_who_leaves_the_queue_holds_nobody_up(three, tmp_path):
    a, b, c = three
    assert a.ask()
    assert not b.ask()
    assert not c.ask()
    b.leave()
    assert c.before() == 1
    a.leave()
    assert c.ask()
    c.leave()
    assert not c.is_awaited()
    assert list((tmp_path / "card").iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_blender_that_was_killed_holds_nobody_up(tmp_path, end):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        own = Turns(tmp_path, "us")
        assert not own.ask()
        assert own.holder() == "Blender of another"
        other.send_signal(end)
        other.wait()
        assert own.ask()
        own.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_keeps_nobody_from_working(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = Turns(tmp_path / "file", "us")
    assert blocked.ask()
    assert blocked.ask()
    assert not blocked.is_awaited()
    blocked.leave()


def test_a_folder_that_was_cleaned_meanwhile_does_no_harm(three, tmp_path):
    a, b, _ = three
    assert a.ask()
    for ticket in (tmp_path / "card").iterdir():
        ticket.unlink()
    assert a.ask()
    assert b.ask()
    a.leave()
    b.leave()


def test_strange_files_in_the_folder_count_for_nothing(three, tmp_path):
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "00000000000000000000-notes.turn").write_text("")
    (folder / "readme.txt").write_text("")
    (folder / f"{0:020d}-{'0' * 32}.turn").mkdir()
    (folder / f"{1:020d}-{'0' * 32}.turn").write_bytes(b"\xff" * 10_000)
    a, b, _ = three
    assert a.ask()  # nobody holds the old ticket
    assert not b.ask()


def test_each_card_has_a_folder_that_is_the_same_for_all(monkeypatch, tmp_path):
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(tmp_path))
    assert turns_folder("card 0") == turns_folder("card 0")
    assert turns_folder("card 0") != turns_folder("card 1")
    assert turns_folder("Käse/../猫").parent == turns_folder("card 0").parent
    assert str(os.getuid()) in turns_folder("card 0").parent.name

# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's run in the background, and its report, whatever the engine says or fails to say."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from addon import doctor
from addon.client import EngineProcess
from addon.doctor import Examination, Findings, doctor_command, newest_log, report
from addon.environment import EngineError, engine_folder

from .conftest import alive, fake_command, gone


def examine(code: str) -> Examination:
    return Examination([sys.executable, "-c", code], dict(os.environ))


def test_a_sound_engine_is_told_line_by_line():
    answer = {"works": True, "lines": [["numpy", "1.26.4"], ["self-test", "passed"]], "more": {"of": "it"}}
    found = examine(f"print('noise'); print({json.dumps(answer)!r})").wait()
    assert found == Findings(True, (("numpy", "1.26.4"), ("self-test", "passed")))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('No module named numpy')", "No module named numpy"),
        ("print('half an ans')", "half an ans"),
        ("print('[1, 2]')", "no answer"),
        ('print(\'{"works": true, "lines": 7}\')', "no answer"),
        ("print('[' * 100_000)", "no answer"),
        ("import os; os.abort()", "ended with -6"),
        ("", "ended with 0"),
    ],
)
def test_an_engine_that_gives_no_answer_is_told_with_what_it_said(code, said):
    found = examine(code).wait()
    assert not found.works
    assert said in "\n".join(text for _, text in found.lines)


def test_the_program_that_is_not_there_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(EngineError, match="does not start") as caught:
        Examination([str(tmp_path / "python")], {})
    assert "preferences" in caught.value.hint


def test_it_is_ended_with_its_helpers_when_nobody_waits_any_more(tmp_path):
    helper = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    told = tmp_path / "pid"
    examination = examine(f"{helper}; open({str(told)!r}, 'w').write(str(p.pid)); time.sleep(60)")
    end = time.monotonic() + 60
    while not (told.is_file() and told.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    begin = time.monotonic()
    examination.stop()
    assert time.monotonic() - begin < 20  # it would sleep for 60
    assert not alive(examination.pid)
    assert gone(int(told.read_text()))


def test_one_that_takes_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    examination = examine("import time; time.sleep(60)")
    found = examination.wait()
    assert not found.works
    assert not alive(examination.pid)


def test_the_report_has_the_facts_the_findings_and_the_end_of_the_newest_log(tmp_path):
    engine = EngineProcess(fake_command(), tmp_path)
    engine.stop()
    with open(engine.log, "a") as log:
        log.write("".join(f"line {i}\n" for i in range(1000)))
    text = report([("Blender", "5.2.2")], Findings(False, (("self-test", "FAILED: no"),)), newest_log(tmp_path))
    lines = text.splitlines()
    assert lines[0] == "Blender    5.2.2"
    assert lines[1] == "self-test  FAILED: no"
    assert lines[-1] == "line 999"
    assert len(lines) < 60


def test_without_a_log_the_report_says_nothing_of_one(tmp_path):
    assert newest_log(tmp_path / "none") is None
    assert newest_log(tmp_path) is None
    assert report([("a", "b")], Findings(True, ()), None) == "a  b"
    (tmp_path / "engine-1.log").mkdir()
    assert "cannot be read" in report([("a", "b")], Findings(True, ()), tmp_path / "engine-1.log")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_engine_of_this_checkout_is_well():
    found = Examination(doctor_command(Path(sys.executable), engine_folder()), dict(os.environ)).wait()
    assert found.works, found.lines
    names = [name for name, _ in found.lines]
    assert {"engine", "device", "numpy", "self-test", "temporary files"} <= set(names)

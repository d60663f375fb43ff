# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch's report: whole lines only, in a file that is a report, whatever became of the file and the disk before."""

import json
import os
import sys
from pathlib import Path

import pytest

from addon.headless.plan import UsageError
from addon.headless.report import Report, sentence

LINE = {"name": "cat", "picture": "/p/cat.png", "status": "skipped", "output": "/o/cat.glb"}


def add(path, *records) -> Report:
    with Report(path) as report:
        for record in records:
            report.add(record)
    return report


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_added_to_what_is_there(tmp_path):
    path = tmp_path / "new" / "report.jsonl"
    add(path, LINE)
    add(path, {**LINE, "name": "дом 🏠"})
    assert [line["name"] for line in lines(path)] == ["cat", "дом 🏠"]


@pytest.mark.parametrize("half", ['{"name": "dog", "pict', '{"na', "{", '{"name": "a\\ud8'])
def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path, half):
    path = tmp_path / "report.jsonl"
    add(path, LINE)
    with open(path, "a", encoding="utf-8") as file:
        file.write(half)
    add(path, LINE)
    assert lines(path) == [LINE, LINE]
    path.write_text(half)
    add(path, LINE)
    assert lines(path) == [LINE]


def test_a_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "report.jsonl"
    path.write_text(json.dumps(LINE))
    add(path, LINE)
    assert lines(path) == [LINE, LINE]


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"my notes\n", b"[1, 2]\n", b"[" * 100_000, b"\n", b"{]\n"]
)
def test_a_file_that_is_something_else_is_not_touched(tmp_path, content):
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cat\.png exists and is no report of a batch"):
        add(path, LINE)
    assert path.read_bytes() == content


def test_a_folder_is_no_report(tmp_path):
    with pytest.raises(UsageError, match="Could not write the report"):
        add(tmp_path, LINE)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX")
def test_a_pipe_nobody_reads_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no file"):
        add(tmp_path / "pipe", LINE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_full_disk_is_told_and_nothing_raised():
    with Report(Path("/dev/full")) as report:
        report.add(LINE)
    assert "No space left" in report.problem


def test_a_name_in_no_encoding_is_escaped(tmp_path):
    name = os.fsdecode(b"bad \xff.png")
    path = tmp_path / "report.jsonl"
    add(path, {**LINE, "name": name})
    assert lines(path)[0]["name"] == name


def test_sentences_name_the_file_and_what_became_of_it():
    assert sentence(LINE) == "cat.png: /o/cat.glb exists, skipped (--overwrite makes it anew)"
    failed = {**LINE, "status": "failed", "message": "No.", "hint": "Try."}
    assert sentence(failed) == "cat.png: failed: No. Try."
    done = {**LINE, "status": "done", "faces": 1234, "watertight": True, "total_seconds": 2.0, "warnings": ["Odd."]}
    assert sentence(done) == "cat.png: 1,234 faces, watertight, 2.0 s\n    Odd."

# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged splat files become Gaussians or one sentence: a small part of what benchmarks/fuzz_splats.py tries."""

import warnings

import pytest

from benchmarks.fuzz_splats import SPLATS, is_sentence, mutants, read_one
from tests.engine import splat_encoders as encode


def verdicts(folder, count, seed):
    for name, content in encode.sog_files(encode.some(SPLATS), 2).items():
        (folder / name).write_bytes(content)
    for number, (kind, mutation, content) in enumerate(mutants(count, seed)):
        path = folder / f"{number}.{'splat' if kind == 'splat' else 'bin'}"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            verdict, text = read_one(path)
        path.unlink()
        yield kind, mutation, verdict, text


@pytest.mark.parametrize(("count", "seed"), [(120, 0), pytest.param(1000, 1, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path, count, seed):
    found = list(verdicts(tmp_path, count, seed))
    assert [row for row in found if row[2] == "fault"] == []
    assert [row for row in found if row[1] == "none" and row[2] != "read"] == []
    assert sum(row[2] == "refused" for row in found) > count / 4


def test_what_counts_as_a_sentence():
    assert is_sentence("a.ply is truncated: 4 Gaussians need 10 bytes, found 3.")
    for text in ("", "broken", "Two\nlines.", "x" * 500 + ".", "Bytes \x00 within a text."):
        assert not is_sentence(text)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of catalogs of an asset library: what others wrote stays."""

import uuid

import pytest

from addon.results.catalogs import FILE, CatalogError, catalog_id, clean_catalog, ensure_catalog

THEIRS = """# This is an Asset Catalog Definition file for Blender.
VERSION 1

0e0ac5ab-6a4a-4b1e-9b16-0d9e3c6ad3a1:Props/Garden:Props-Garden
"""


def test_a_missing_catalog_is_added_once(tmp_path):
    first = ensure_catalog(tmp_path, " Props / Cats ")
    assert uuid.UUID(first)
    assert first == ensure_catalog(tmp_path, "Props/Cats") == catalog_id("Props/Cats")
    lines = (tmp_path / FILE).read_text().splitlines()
    assert lines.count("VERSION 1") == 1
    assert [line for line in lines if "Props" in line] == [f"{first}:Props/Cats:Props-Cats"]


def test_what_is_in_the_list_stays_and_is_used(tmp_path):
    (tmp_path / FILE).write_text(THEIRS)
    assert ensure_catalog(tmp_path, "Props/Garden") == "0e0ac5ab-6a4a-4b1e-9b16-0d9e3c6ad3a1"
    assert (tmp_path / FILE).read_text() == THEIRS
    ensure_catalog(tmp_path, "Käse/猫")
    assert (tmp_path / FILE).read_text(encoding="utf-8").startswith(THEIRS)
    assert {path.name for path in tmp_path.iterdir()} == {FILE}


@pytest.mark.parametrize("content", ["VERSION 2\n", "hello\n", "", "\n# nothing\n"])
def test_a_list_of_another_kind_is_left_alone(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CatalogError, match="not known here"):
        ensure_catalog(tmp_path, "Props")
    assert (tmp_path / FILE).read_text() == content


def test_damaged_lines_are_passed_over(tmp_path):
    (tmp_path / FILE).write_text("VERSION 1\nno number:Props:Props\n::\n")
    assert ensure_catalog(tmp_path, "Props") == catalog_id("Props")


def test_a_path_is_levels_without_colons():
    assert clean_catalog("/a: b\\c //d  e/") == "a- b/c/d e"
    assert clean_catalog(" / ") == ""

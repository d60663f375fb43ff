# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's map and pictures are those of the repository."""

import re
from pathlib import PurePosixPath

import pytest


@pytest.fixture(scope="module")
def readme(root) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mapped(readme) -> set[str]:
    """Paths in the map, whose folders are shown by indentation."""
    block = next(part for part in readme.split("```") if part.lstrip().startswith("build.py  "))
    paths, folders = set(), []
    for line in block.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], line.split()[0]]
        paths.add(str(PurePosixPath(*folders)))
        assert len(line.split(maxsplit=1)) == 2, f"{line.strip()} has no comment"
    return paths


def test_everything_on_the_map_exists(mapped, root):
    assert [path for path in sorted(mapped) if not (root / path).exists()] == []


def test_every_module_is_on_the_map(mapped, root):
    modules = [path for folder in ("addon", "engine") for path in (root / folder).rglob("*.py")]
    names = {path.relative_to(root).as_posix() for path in modules if path.name != "__init__.py"}
    assert sorted(names - mapped) == []


def test_its_links_lead_somewhere(readme, root):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme)
    assert links
    assert [link for link in links if not (root / link).exists()] == []

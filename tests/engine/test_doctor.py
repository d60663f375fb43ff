# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor tells sound weights from missing and changed ones, options their ranges, errors their codes."""

import errno
import hashlib
import json
import math
from dataclasses import fields

import pytest

from engine import errors
from engine.device import choose_device
from engine.doctor import ball, check_weights
from engine.errors import GaussmithError, OptionError, OutputError, explain
from engine.options import CHOICES, RANGES, MeshOptions, mesh_options
from engine.paths import check_writable, written_whole


def network(folder, name, content=b"weights", sha256=None):
    (folder / f"{name}.onnx").write_bytes(content)
    card = {"sha256": sha256 or hashlib.sha256(content).hexdigest()}
    (folder / f"{name}.json").write_text(json.dumps(card))


def test_weights_are_told_apart(tmp_path):
    network(tmp_path, "sound")
    network(tmp_path, "changed", sha256="0" * 64)
    network(tmp_path, "lost")
    (tmp_path / "lost.onnx").unlink()
    network(tmp_path, "odd")
    (tmp_path / "odd.json").write_text("[]")
    found = check_weights(tmp_path)
    assert {name: entry["ok"] for name, entry in found.items()} == {
        "sound": True,
        "changed": False,
        "lost": False,
        "odd": False,
    }
    assert "hash" in found["changed"]["error"]
    assert "FileNotFound" in found["lost"]["error"]
    assert check_weights(tmp_path / "nowhere") == {}


def test_the_ball_is_a_ball():
    """Its share of the picture is that of a disc of radius 1 in a square of side 2.6."""
    assert ball(200)[..., 3].mean() == pytest.approx(math.pi / 2.6**2, rel=0.01)


def test_the_device_has_a_reason():
    device = choose_device()
    assert device.threads >= 1
    assert device.why.endswith(".")
    assert "CPU" in str(device)


# ---- options --------------------------------------------------------------------------------------------------------


def test_every_number_has_a_range_that_holds_its_default():
    numbers = {field.name for field in fields(MeshOptions) if field.type in (int, float)}
    assert set(RANGES) == numbers
    for name, (low, high) in RANGES.items():
        assert low <= getattr(MeshOptions(), name) <= high
        for bad in (low - 1, high * 1.01 + 1):
            with pytest.raises(OptionError, match=name):
                mesh_options({name: bad})
        for good in (low, high):
            assert getattr(mesh_options({name: good}), name) == good


def test_every_choice_has_words_and_refuses_others():
    words = {field.name for field in fields(MeshOptions) if field.type is str}
    assert set(CHOICES) == words
    for name, choices in CHOICES.items():
        assert getattr(MeshOptions(), name) in choices
        for word in choices:
            assert getattr(mesh_options({name: word}), name) == word
        for bad in ("", choices[0].upper(), None, 1):
            with pytest.raises(OptionError, match=name):
                mesh_options({name: bad})


@pytest.mark.parametrize("bad", [1, 0, "yes", None])
def test_a_switch_is_true_or_false(bad):
    with pytest.raises(OptionError, match="watertight"):
        mesh_options({"watertight": bad})


@pytest.mark.parametrize("bad", [5, "all", (0, 0, 0, 1, 1), (0, 0, 0, 1, 1, 0), (math.nan, 0, 0, 1, 1, 1)])
def test_a_crop_is_a_box(bad):
    with pytest.raises(OptionError, match="crop"):
        mesh_options({"crop": bad})
    assert mesh_options({"crop": [0, 0, 0, 1, 2, 3]}).crop == (0, 0, 0, 1, 2, 3)


@pytest.mark.parametrize("bad", [None, "20000", True, [1], math.nan, math.inf, 500.5])
def test_faces_are_a_whole_number(bad):
    with pytest.raises(OptionError, match="faces"):
        mesh_options({"faces": bad})


def test_whole_floats_count_as_whole():
    """JSON of other writers has 20000.0 for 20000."""
    options = mesh_options({"faces": 20000.0, "size": 2})
    assert options == MeshOptions(faces=20000, size=2.0)
    assert (type(options.faces), type(options.size)) == (int, float)


def test_an_unknown_option_is_named_with_those_there_are():
    with pytest.raises(OptionError, match=r"face_count.*faces"):
        mesh_options({"face_count": 5})


# ---- errors and files -----------------------------------------------------------------------------------------------


def tree(cls):
    return [cls, *(below for child in cls.__subclasses__() for below in tree(child))]


def test_every_error_has_a_code_of_its_own_and_stands_in_the_map():
    classes = [cls for cls in tree(GaussmithError) if cls.__module__ == errors.__name__]  # others inherit a code
    assert len({cls.code for cls in classes}) == len(classes)
    assert errors.__doc__
    assert all(cls.__name__ in errors.__doc__ for cls in classes)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("faces is 0.", "Choose more."), "BAD_OPTION"),
        (MemoryError(), "OUT_OF_MEMORY"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), "OUT_OF_MEMORY"),
        (OSError(errno.ENOSPC, "No space left on device"), "CANNOT_WRITE"),
        (ModuleNotFoundError("No module named 'xatlas'", name="xatlas"), "MISSING_PACKAGE"),
        (ValueError("first line\nsecond"), "INTERNAL"),
        (ValueError(), "INTERNAL"),
    ],
)
def test_any_exception_becomes_a_sentence(error, code):
    found, message, hint = explain(error)
    assert found == code
    assert message.endswith(".")
    assert "\n" not in message
    assert hint


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new folder" / "a.glb"
    with pytest.raises(RuntimeError, match="halfway"), written_whole(target) as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError("halfway")
    assert list(target.parent.iterdir()) == []
    with written_whole(target) as part:
        part.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    with pytest.raises(OutputError, match=r"a\.glb"), written_whole(target / "below.glb"):
        pass
    assert [path.name for path in target.parent.iterdir()] == ["a.glb"]


def test_what_cannot_be_written_is_known_before_the_work(tmp_path):
    target = tmp_path / "a.glb"
    target.write_text("mine")
    check_writable(target)
    assert target.read_text() == "mine"
    for bad in (tmp_path, target / "below.glb"):
        with pytest.raises(OutputError) as caught:
            check_writable(bad)
        assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]

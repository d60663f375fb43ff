# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about packs: what is written is read back, broken objects are left out and counted, packs mix by shares."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError, OptionError, OutputError
from engine.surface.mesh import Mesh
from engine.training.data.mixture import Mixture, parse_data
from engine.training.data.pack_writer import COLUMNS, PackObject, write_pack
from engine.training.data.packs import Pack


def sheet(wide: float = 1.0, color: int = 100) -> Mesh:
    """A square of two faces with a texture of one grey and a red corner."""
    vertices = np.array([[0, 0, 0], [wide, 0, 0], [wide, wide, 0], [0, wide, 0]], np.float32)
    texture = np.full((32, 32, 3), color, np.uint8)
    texture[:16, :16] = (200, 0, 0)
    uvs = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), uvs=uvs, texture=texture)


def a_pack(folder: Path, name: str, count: int, weight: float = 1.0) -> Path:
    index = folder / f"{name}.csv"
    write_pack(index, (PackObject(f"{name}{k}", sheet(1 + k, 10 * k), weight=weight) for k in range(count)))
    return index


def changed(index: Path, **arrays) -> None:
    """Replaces arrays of the first shard; each value is a function of the old one."""
    path = index.with_name(f"{index.stem}_000.npz")
    with np.load(path) as shard:
        old = {name: shard[name] for name in shard.files}
    np.savez_compressed(path, **{name: arrays[name](old[name]) if name in arrays else old[name] for name in old})


def put(array: np.ndarray, where, value) -> np.ndarray:
    array = array.copy()
    array[where] = value
    return array


def test_an_object_comes_back_as_it_was_centred_at_longest_side_one(tmp_path):
    index = tmp_path / "one.csv"
    mesh = sheet(4.0)
    report = write_pack(index, [PackObject("square", mesh, "game", 3.0, "here", "flat", "CC0", "nobody", "none", 50)])
    assert (report.written, report.skipped) == (1, [])
    read = Pack(index).mesh(0)
    np.testing.assert_allclose(read.vertices, mesh.vertices / 4 - [0.5, 0.5, 0], atol=1e-3)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert read.uvs is not None
    assert mesh.uvs is not None
    np.testing.assert_allclose(read.uvs, mesh.uvs, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(read.texture), np.asarray(mesh.texture))
    with index.open(newline="") as lines:
        row = next(csv.DictReader(lines))
    assert tuple(row) == COLUMNS
    assert (row["style"], row["weight"], row["licence"], row["decimated"]) == ("game", "3", "CC0", "1")


def test_the_columns_are_those_of_the_object_data(root):
    with (root.parent / "shared/data/objects/index.csv").open(newline="") as lines:
        assert tuple(next(csv.reader(lines))) == COLUMNS


def test_shards_hold_400_objects_each(tmp_path):
    index = a_pack(tmp_path, "many", 401)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "many_000.npz", "many_001.npz"]
    pack = Pack(index)
    assert len(pack) == 401
    assert pack.entries[400].row == 0
    assert pack.mesh(400).texture is not None


def test_a_pack_is_not_overwritten_unasked_and_a_shorter_one_leaves_no_old_shards(tmp_path):
    index = a_pack(tmp_path, "pack", 401)
    before = index.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_pack(index, [PackObject("other", sheet())])
    assert index.read_bytes() == before
    write_pack(index, [PackObject("other", sheet())], overwrite=True)
    assert [entry.name for entry in Pack(index).entries] == ["other"]
    assert not (tmp_path / "pack_001.npz").exists()


@pytest.mark.slow
def test_what_is_interrupted_leaves_the_folder_as_it_was(tmp_path):
    def interrupted():
        yield from (PackObject(f"new{k}", sheet()) for k in range(450))
        raise KeyboardInterrupt

    index = a_pack(tmp_path, "pack", 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        write_pack(index, interrupted(), overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "other.csv", interrupted())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_stored_is_skipped_with_its_reason(tmp_path):
    bad = sheet()
    bad.vertices[1, 1] = np.nan
    bare = Mesh(sheet().vertices, sheet().faces)
    things = [PackObject("nan", bad), PackObject("good", sheet()), PackObject("bare", bare)]
    report = write_pack(tmp_path / "a.csv", things)
    assert report.written == 1
    assert [name for name, _ in report.skipped] == ["nan", "bare"]
    assert "NaN" in report.skipped[0][1]
    with pytest.raises(InputError, match="Not one of 1 objects"):
        write_pack(tmp_path / "b.csv", [PackObject("nan", bad)])
    assert not (tmp_path / "b.csv").exists()


BREAKS = {
    "no faces": {"face_offsets": lambda a: put(a, 1, 0)},
    "range beyond": {"texture_offsets": lambda a: put(a, -1, 10**9)},
    "not there": {"faces": lambda a: put(a, (4, 0), 60000)},
    "no numbers": {"vertices": lambda a: put(a, (9, 2), np.nan)},
    "one point": {"vertices": lambda a: put(a, slice(4, 8), 0.25)},
    "broken texture": {"texture_bytes": lambda a: put(a, slice(0, 8), 0)},
}


@pytest.mark.parametrize("reason", BREAKS)
def test_a_broken_object_is_left_out_and_counted(reason, tmp_path):
    index = a_pack(tmp_path, "pack", 4)
    changed(index, **BREAKS[reason])
    pack = Pack(index)
    assert 2 <= len(pack) <= 3
    assert len(pack) + len(pack.skipped) == 4
    assert reason in pack.note()
    assert "of 4 objects of pack.csv skipped" in pack.note()
    for i in range(len(pack)):
        assert np.isfinite(pack.mesh(i).vertices).all()


def test_a_texture_that_is_cut_short_is_found_without_decoding_it(tmp_path):
    rng = np.random.default_rng(0)
    mesh = sheet()
    noisy = Mesh(mesh.vertices, mesh.faces, uvs=mesh.uvs, texture=rng.integers(0, 255, (64, 64, 3), np.uint8))
    index = tmp_path / "pack.csv"
    write_pack(index, [PackObject("plain", mesh), PackObject("noisy", noisy)])
    changed(index, texture_offsets=lambda a: put(a, -1, a[-1] - 100))
    assert [name for name, _ in Pack(index).skipped] == ["noisy"]


def test_a_pack_without_a_usable_object_or_file_says_so(tmp_path):
    index = a_pack(tmp_path, "pack", 2)
    changed(index, vertices=lambda a: a * np.float16(np.nan))
    with pytest.raises(InputError, match="no usable object"):
        Pack(index)
    (tmp_path / "pack_000.npz").write_bytes(b"PK\x03\x04 not a shard")
    with pytest.raises(InputError, match="Could not read the pack"):
        Pack(index)
    index.write_text("name,shard\na,b\n")
    with pytest.raises(InputError, match="has no 'row'"):
        Pack(index)
    with pytest.raises(InputError, match="Could not read"):
        Pack(tmp_path / "nowhere.csv")


def test_shares_are_told_apart_from_paths():
    assert parse_data(["a.csv", "b.csv:0.5", Path("c/d.npz"), "C:\\e.csv", "x.npz:2"]) == [
        (Path("a.csv"), 1.0), (Path("b.csv"), 0.5), (Path("c/d.csv"), 1.0), (Path("C:\\e.csv"), 1.0),
        (Path("x.csv"), 2.0),
    ]  # fmt: skip
    for wrong in ("a.csv:0", "a.csv:-1", "a.csv:nan", "a.csv:much", "a.glb", "a", "a.csv:inf", ""):
        with pytest.raises(OptionError, match="as a pack"):
            parse_data([wrong])


def test_packs_are_drawn_by_their_shares_whatever_their_size(tmp_path):
    small, large = a_pack(tmp_path, "small", 2), a_pack(tmp_path, "large", 30, weight=8)
    mixture = Mixture([(small, 1.0), (large, 3.0)])
    assert len(mixture) == 32
    assert mixture.chances.sum() == pytest.approx(1)
    assert mixture.chances[:2].sum() == pytest.approx(0.25)
    rng = np.random.default_rng(0)
    names = [mixture.entry(mixture.draw(rng)[0]).name for _ in range(2000)]
    assert np.mean([name.startswith("small") for name in names]) == pytest.approx(0.25, abs=0.03)


def test_an_object_that_breaks_while_drawn_is_drawn_no_more(tmp_path):
    index, other = a_pack(tmp_path, "pack", 3), a_pack(tmp_path, "other", 1)
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(sheet().texture)).save(buffer, "PNG")
    with np.load(tmp_path / "pack_000.npz") as shard:
        first = shard["texture_offsets"][:2]
    changed(index, texture_bytes=lambda a: put(a, slice(first[0] + 45, first[1] - 12), 77))  # head and end are whole
    mixture = Mixture([(index, 1.0), (other, 1.0)])
    assert mixture.notes() == []
    rng = np.random.default_rng(0)
    drawn = [mixture.draw(rng)[0] for _ in range(300)]
    assert 0 not in drawn
    assert [name for name, _ in mixture.broken] == ["pack0"]
    assert mixture.chances[:3].sum() == pytest.approx(0.5)  # the rest of its pack takes its place

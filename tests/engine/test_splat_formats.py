# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of splat formats against files written value by value; what is not sound gets one sentence."""

import gzip
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError, OutputError, SplatFileError
from engine.fields.gaussians import Gaussians
from engine.fields.splats import read_splats, write_splats
from tests.engine import splat_encoders as encode

TOLERANCES = {  # format: of means, sizes (relative), opacities, colours, rotations (degrees), harmonics
    "splat": (0, 1e-6, 0.002, 0.002, 0.8, 0),
    "ksplat0": (0, 1e-6, 0.002, 0.002, 0.01, 5e-4),
    "ksplat1": (2e-4, 1e-3, 0.002, 0.002, 0.1, 5e-4),
    "ksplat2": (2e-4, 1e-3, 0.002, 0.002, 0.1, 0.0045),
    "spz1": (2e-3, 0.032, 0.002, 0.004, 15, 0.004),
    "spz2": (1.3e-4, 0.032, 0.002, 0.004, 15, 0.004),
    "spz3": (1.3e-4, 0.032, 0.002, 0.004, 0.3, 0.004),
    "spz4": (1.3e-4, 0.032, 0.002, 0.004, 0.3, 0.004),
    "compressed": (4e-3, 3e-3, 0.002, 0.002, 0.2, 0.016),
    "old compressed": (4e-3, 3e-3, 0.002, 0.002, 0.2, 0.016),
    "sog1": (2e-4, 0.01, 0.01, 0.002, 0.7, 0.0045),
    "sog2": (2e-4, 0.01, 0.002, 0.002, 0.7, 0.0045),
}


def write(kind: str, splats: list[encode.Splat], degree: int = 0) -> bytes:
    coefficients = (0, 3, 8, 15)[degree]
    match kind[:-1], kind[-1]:
        case "spla", _:
            return encode.splat(splats)
        case "ksplat", level:
            return encode.ksplat(splats, int(level), degree)
        case "spz", version:
            return encode.spz(splats, int(version), degree)
        case "sog", version:
            return encode.zipped(encode.sog_files(splats, int(version), coefficients))
    return encode.compressed_ply(splats, coefficients, chunk_colors=kind == "compressed")


CASES = [(kind, degree) for kind in TOLERANCES for degree in (range(4) if kind != "splat" else (0,))]


@pytest.mark.parametrize(("kind", "degree"), CASES)
def test_values_come_back_within_the_steps_of_the_format(tmp_path, kind, degree):
    splats = encode.some(300, (0, 3, 8, 15)[degree])
    path = tmp_path / "any name at all"
    path.write_bytes(write(kind, splats, degree))
    notes = []
    read = read_splats(path, notes.append)
    means, sizes, opacities, colors, degrees, harmonics = TOLERANCES[kind]
    assert not notes
    np.testing.assert_allclose(read.means, [s.mean for s in splats], atol=means + 1e-6)
    np.testing.assert_allclose(read.scales, [s.scale for s in splats], rtol=sizes)
    np.testing.assert_allclose(read.opacities, [s.opacity for s in splats], atol=opacities)
    np.testing.assert_allclose(read.colors, [s.color for s in splats], atol=colors)
    cosines = np.abs((read.quats.astype(float) * [s.quat for s in splats]).sum(1)).clip(0, 1)
    assert np.degrees(2 * np.arccos(cosines)).max() <= degrees + 0.1
    if degree:
        assert read.sh is not None
        np.testing.assert_allclose(read.sh, [s.sh for s in splats], atol=harmonics)
    else:
        assert read.sh is None


@pytest.mark.parametrize("kind", TOLERANCES)
def test_one_and_two_gaussians(tmp_path, kind):
    for count in (1, 2):
        if kind.startswith("sog") and count == 1:
            continue  # the little writer needs a range of values
        (tmp_path / "a").write_bytes(write(kind, encode.some(count)))
        assert len(read_splats(tmp_path / "a")) == count


@pytest.mark.parametrize("kind", TOLERANCES)
def test_every_truncation_is_told_in_one_sentence(tmp_path, kind):
    content = write(kind, encode.some(50))
    path = tmp_path / "short.bin"
    for part in (0.02, 0.3, 0.7, 0.97):
        path.write_bytes(content[: int(len(content) * part) | 1])
        with pytest.raises(SplatFileError) as caught:
            read_splats(path)
        assert "short.bin" in caught.value.message
        assert caught.value.hint
        assert len(caught.value.message) < 300


@pytest.mark.parametrize("kind", TOLERANCES)
def test_no_gaussians(tmp_path, kind):
    if kind.startswith("sog"):
        files = encode.sog_files(encode.some(4), int(kind[-1]))
        meta = json.loads(files["meta.json"])
        meta["means"]["shape"] = [0, 3]
        if kind == "sog2":
            meta["count"] = 0
        content = encode.zipped(files | {"meta.json": json.dumps(meta).encode()})
    else:
        content = write(kind, [])
    (tmp_path / f"a.{kind}").write_bytes(content)
    with pytest.raises(SplatFileError, match=r"0 Gaussians|first bytes are none"):
        read_splats(tmp_path / f"a.{kind}")


def test_broken_gaussians_of_other_formats_are_left_out(tmp_path):
    splats = encode.some(10)
    splats[3].mean = (np.nan, 0, 0)
    splats[4].quat = (0, 0, 0, 0)
    splats[5].scale = (np.inf, 1, 1)
    notes = []
    (tmp_path / "a.splat").write_bytes(encode.splat(splats))
    assert len(read_splats(tmp_path / "a.splat", notes.append)) == 7
    assert notes[0].startswith("3 of 10 Gaussians in the file are broken and were left out")
    (tmp_path / "a.ksplat").write_bytes(encode.ksplat(splats, 0))
    assert len(read_splats(tmp_path / "a.ksplat")) == 7


def test_sog_as_a_folder_by_its_meta_or_in_a_folder_of_a_zip(tmp_path):
    files = encode.sog_files(encode.some(100), 2)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "a.sog").write_bytes(encode.zipped({f"scene/{name}": content for name, content in files.items()}))
    found = [read_splats(path).means for path in (tmp_path, tmp_path / "meta.json", tmp_path / "a.sog")]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_sog_names_no_files_outside_its_folder(tmp_path):
    files = encode.sog_files(encode.some(10), 2)
    folder = tmp_path / "inside"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (tmp_path / "outside.webp").write_bytes(files["quats.webp"])
    for bad in ("../outside.webp", str(tmp_path / "outside.webp"), "..", "", 7, None):
        meta = json.loads(files["meta.json"])
        meta["quats"]["files"] = [bad]
        (folder / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(SplatFileError, match=r"damaged meta.json: quats.files"):
            read_splats(folder)


def test_first_step_of_an_old_codebook_is_null(tmp_path):
    files = encode.sog_files(encode.some(100), 2)
    expected = read_bytes(tmp_path, encode.zipped(files))
    meta = json.loads(files["meta.json"])
    meta["scales"]["codebook"][0] = None
    found = read_bytes(tmp_path, encode.zipped(files | {"meta.json": json.dumps(meta).encode()}))
    np.testing.assert_allclose(found.scales, expected.scales, rtol=0.01)


def read_bytes(folder, content, name="a"):
    (folder / name).write_bytes(content)
    return read_splats(folder / name)


def test_huge_counts_are_refused_before_memory_is_taken(tmp_path):
    spz = bytearray(gzip.decompress(encode.spz(encode.some(4), 3)))
    struct.pack_into("<I", spz, 8, 4_000_000_000)
    four = bytearray(encode.spz(encode.some(4), 4))
    struct.pack_into("<I", four, 8, 4_000_000_000)
    ksplat = bytearray(encode.ksplat(encode.some(4), 1))
    struct.pack_into("<II", ksplat, 4096, 4_000_000_000, 4_000_000_000)
    packed = encode.compressed_ply(encode.some(4)).replace(b"element vertex 4", b"element vertex 4000000000")
    files = encode.sog_files(encode.some(4), 2)
    sog = encode.zipped(files | {"meta.json": files["meta.json"].replace(b'"count": 4', b'"count": 4000000000')})
    for content in (gzip.compress(bytes(spz)), bytes(four), bytes(ksplat), packed, sog):
        with pytest.raises(SplatFileError, match=r"truncated|damaged|pixels"):
            read_bytes(tmp_path, content)


def test_more_gaussians_than_can_be_held_are_refused(tmp_path):
    parts = struct.pack("<IIBBBB", 2, 20_000_000, 0, 12, 0, 0) + bytes(1000)
    packed = gzip.compress(b"NGSP" + parts) + bytes(2_000_000)
    with pytest.raises(SplatFileError, match="20,000,000 Gaussians, expected at most 10,000,000"):
        read_bytes(tmp_path, packed)


def test_images_that_unpack_too_large_are_refused(tmp_path):
    files = encode.sog_files(encode.some(10), 2)
    out = io.BytesIO()
    Image.new("RGBA", (1500, 1500)).save(out, "PNG")
    bomb = out.getvalue()
    assert len(bomb) < 100_000
    with pytest.raises(SplatFileError, match="1500 x 1500 pixels, too many"):
        read_bytes(tmp_path, encode.zipped(files | {"quats.webp": bomb}))


OTHER = {
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no splat file: its first bytes are 89 50 4e 47"),
    "nothing": (b"", "no splat file: its first bytes are none"),
    "text": (b"Hello, this is a letter and no splat file at all, not by any means." * 4, "no splat file"),
    "random": (np.random.default_rng(0).bytes(3200), "no splat file"),
    "json": (b'{"asset": {"version": "2.0"}}', "JSON, but not about splats"),
    "json list": (b"{]", "damaged meta.json"),
    "zip": (encode.zipped({"letter.txt": b"Hello"}), "zip file without meta.json"),
    "gzip of text": (gzip.compress(b"Hello" * 100), "does not begin with 'NGSP'"),
    "future spz": (gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 9, 1, 0, 12, 0, 0) + bytes(20)), "version 9"),
    "future sog": (
        encode.zipped({"meta.json": b'{"version": 7, "means": {}}'}),
        "SOG version 7, expected 1 or 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_other_files_are_named(tmp_path, name):
    content, message = OTHER[name]
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(SplatFileError, match=message) as caught:
        read_splats(tmp_path / "other")
    assert caught.value.hint


def gaussians(count, coefficients=0, spread=3.0):
    random = np.random.default_rng(5)
    return Gaussians(
        random.uniform(-spread, spread, (count, 3)),
        random.normal(size=(count, 4)),
        np.exp(random.uniform(-9, 2, (count, 3))),
        random.uniform(0, 1, count),
        random.uniform(0, 1, (count, 3)),
        random.uniform(-1, 0.99, (count, coefficients, 3)),
    )


@pytest.mark.parametrize("coefficients", [0, 3, 8, 15])
@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0, 900.0, 100_000.0])
def test_spz_comes_back_within_its_steps(tmp_path, coefficients, spread):
    written = gaussians(500, coefficients, spread)
    write_splats(tmp_path / "a.spz", written)
    read = read_splats(tmp_path / "a.spz")
    step = min(max(spread / 2**16, 2.0**-12), max(spread / 2**16, spread / 2**22))
    np.testing.assert_allclose(read.means, written.means, atol=step)
    np.testing.assert_allclose(read.scales, written.scales, rtol=0.032)
    np.testing.assert_allclose(read.opacities, written.opacities, atol=0.00197)
    np.testing.assert_allclose(read.colors, written.colors, atol=0.0037)
    cosines = np.abs((read.quats.astype(float) * written.quats).sum(1)).clip(0, 1)
    assert np.degrees(2 * np.arccos(cosines)).max() < 0.3
    if coefficients:
        np.testing.assert_allclose(read.sh[:, :3], written.sh[:, :3].astype(float), atol=1 / 32 + 0.001)
        np.testing.assert_allclose(read.sh[:, 3:], written.sh[:, 3:].astype(float), atol=1 / 16 + 0.001)


def test_what_is_written_can_be_written_again_without_loss(tmp_path):
    for suffix in (".ply", ".spz"):
        write_splats(tmp_path / f"a{suffix}", gaussians(500, 15))
        first = read_splats(tmp_path / f"a{suffix}")
        write_splats(tmp_path / f"b{suffix}", first)
        second = read_splats(tmp_path / f"b{suffix}")
        for name in ("means", "colors", "opacities", "sh"):
            np.testing.assert_allclose(
                getattr(second, name).astype(float), getattr(first, name).astype(float), atol=1e-6
            )


def test_other_endings_and_nothing_are_not_written(tmp_path):
    with pytest.raises(OutputError, match=r"written as \.ply or \.spz"):
        write_splats(tmp_path / "a.ksplat", gaussians(3))
    for suffix in (".ply", ".spz"):
        with pytest.raises(InputError, match="0 Gaussians"):
            write_splats(tmp_path / f"a{suffix}", gaussians(0))
    assert not list(tmp_path.iterdir())

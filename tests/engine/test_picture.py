# SPDX-License-Identifier: GPL-3.0-or-later
"""Any picture file is read the right way up in the right colours; any other file is one clear sentence."""

import os
import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from engine.errors import PictureError
from engine.image.frame import frame
from engine.image.load import MAX_PIXELS, WORK_SIDE, load_picture, meaningful_alpha

# Four colours, one per quarter: any mix-up of axes, orientation or channels shows.
RED, GREEN, BLUE, WHITE = (220, 30, 20), (20, 180, 40), (30, 50, 200), (240, 240, 240)


def quarters(width=32, height=24):
    """uint8 RGB [height, width, 3]: red, green above blue, white."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return pixels


def corners(rgba):
    """Colours in the middles of the four quarters, 0 to 255."""
    height, width = rgba.shape[:2]
    return [tuple(255 * rgba[y, x, :3]) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


def assert_quarters(picture, tolerance=1.0, expected=(RED, GREEN, BLUE, WHITE)):
    assert picture.rgba.dtype == np.float32
    assert picture.rgba.shape[2] == 4
    assert 0 <= picture.rgba.min() <= picture.rgba.max() <= 1
    np.testing.assert_allclose(corners(picture.rgba), expected, atol=tolerance)


@pytest.mark.parametrize(
    ("suffix", "settings", "tolerance"),
    [
        (".png", {}, 0.5),
        (".jpg", {"quality": 95, "subsampling": 0}, 6),
        (".webp", {"lossless": True}, 0.5),
        (".webp", {"quality": 90}, 8),
        (".tif", {}, 0.5),
        (".tif", {"compression": "tiff_lzw"}, 0.5),
        (".bmp", {}, 0.5),
        (".ppm", {}, 0.5),
    ],
)
def test_every_format_gives_the_same_colours(tmp_path, suffix, settings, tolerance):
    Image.fromarray(quarters()).save(tmp_path / f"q{suffix}", **settings)  # pyright: ignore[reportArgumentType]
    picture = load_picture(tmp_path / f"q{suffix}")
    assert not picture.has_alpha
    assert (picture.rgba[..., 3] == 1).all()
    assert_quarters(picture, tolerance)


def test_the_suffix_does_not_matter(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "q.png")
    (tmp_path / "q.png").rename(tmp_path / "picture.jpg")
    assert_quarters(load_picture(tmp_path / "picture.jpg"))


def test_first_frame_of_an_animation(tmp_path):
    first = Image.fromarray(quarters()).quantize(16)
    second = Image.fromarray(quarters()[::-1].copy()).quantize(16)
    first.save(tmp_path / "q.gif", save_all=True, append_images=[second])
    assert_quarters(load_picture(tmp_path / "q.gif"), 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p)),
        (7, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda p: np.rot90(p, -1)),
    ],
)
def test_exif_orientation_stands_upright(tmp_path, suffix, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored(quarters(64, 48))))
    image.save(tmp_path / f"q{suffix}", exif=exif, **({"quality": 95, "subsampling": 0} if suffix != ".tif" else {}))
    picture = load_picture(tmp_path / f"q{suffix}")
    assert picture.rgba.shape[:2] == (48, 64)
    assert_quarters(picture, 8)


def test_palette_with_a_transparent_colour(tmp_path):
    index = np.zeros((20, 20), np.uint8)
    index[5:15, 5:15] = 1
    image = Image.fromarray(index, "P")
    image.putpalette([0, 255, 0, *RED])
    image.save(tmp_path / "p.png", transparency=0)
    picture = load_picture(tmp_path / "p.png")
    assert picture.has_alpha
    np.testing.assert_array_equal(picture.rgba[..., 3], index)
    np.testing.assert_allclose(255 * picture.rgba[10, 10, :3], RED, atol=0.5)


def test_palette_with_alpha_per_entry(tmp_path):
    index = np.repeat(np.arange(4, dtype=np.uint8), 8)[None].repeat(16, 0)
    image = Image.fromarray(index, "P")
    image.putpalette([*RED, *GREEN, *BLUE, *WHITE])
    image.save(tmp_path / "p.png", transparency=bytes([0, 130, 254, 255]))
    alpha = load_picture(tmp_path / "p.png").rgba[0, ::8, 3]
    np.testing.assert_allclose(alpha, [0, 0.5, 1, 1], atol=0.01)


def test_rgb_with_a_transparent_colour(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "t.png", transparency=WHITE)
    alpha = load_picture(tmp_path / "t.png").rgba[..., 3]
    assert alpha[:12].all()
    assert not alpha[12:, 16:].any()


def test_grey_and_black_and_white(tmp_path):
    grey = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))
    Image.fromarray(grey).save(tmp_path / "l.png")
    np.testing.assert_allclose(255 * load_picture(tmp_path / "l.png").rgba[0, :, 1], grey[0], atol=0.01)
    Image.fromarray(grey > 100).save(tmp_path / "one.png")
    assert set(np.unique(load_picture(tmp_path / "one.png").rgba[..., 0])) == {0, 1}


def test_grey_with_alpha(tmp_path):
    pixels = np.full((16, 16, 2), 77, np.uint8)
    pixels[..., 1] = 0
    pixels[4:12, 4:12, 1] = 255
    Image.fromarray(pixels, "LA").save(tmp_path / "la.png")
    picture = load_picture(tmp_path / "la.png")
    assert picture.has_alpha
    assert picture.rgba[..., 3].sum() == 64
    np.testing.assert_allclose(picture.rgba[8, 8], [77 / 255] * 3 + [1], atol=1e-4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_keeps_its_steps(tmp_path, suffix):
    grey = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(16, 0)
    Image.fromarray(grey).save(tmp_path / f"i{suffix}")
    rgba = load_picture(tmp_path / f"i{suffix}").rgba
    np.testing.assert_allclose(rgba[0, :, 0], grey[0] / 65535, atol=1e-4)


def test_dark_grey_of_16_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((16, 16), 200, np.uint16)).save(tmp_path / "dark.png")
    np.testing.assert_allclose(load_picture(tmp_path / "dark.png").rgba[..., 0], 200 / 65535, atol=1e-5)


def png_of_16_bits(pixels):
    """A PNG of uint16 pixels [H, W, 3 or 4], written by hand: Pillow writes none."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_colour_of_16_bits(tmp_path):
    pixels = quarters().astype(np.uint16) * 257
    (tmp_path / "rgb.png").write_bytes(png_of_16_bits(pixels))
    assert_quarters(load_picture(tmp_path / "rgb.png"), 1)
    alpha = np.zeros((24, 32, 1), np.uint16)
    alpha[6:18, 8:24] = 65535
    (tmp_path / "rgba.png").write_bytes(png_of_16_bits(np.concatenate([pixels, alpha], -1)))
    picture = load_picture(tmp_path / "rgba.png")
    assert picture.has_alpha
    assert picture.rgba[..., 3].sum() == 12 * 16


@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0])
def test_floating_point_tiff(tmp_path, highest):
    grey = np.linspace(0, highest, 32, dtype=np.float32)[None].repeat(16, 0)
    Image.fromarray(grey).save(tmp_path / "f.tif")
    np.testing.assert_allclose(load_picture(tmp_path / "f.tif").rgba[3, :, 2], np.linspace(0, 1, 32), atol=1e-5)


def test_floating_point_tiff_with_nan(tmp_path):
    grey = np.full((16, 16), 0.5, np.float32)
    grey[3, 3], grey[4, 4] = np.nan, np.inf
    Image.fromarray(grey).save(tmp_path / "nan.tif")
    rgba = load_picture(tmp_path / "nan.tif").rgba
    assert np.isfinite(rgba).all()
    np.testing.assert_allclose(rgba[0, 0, :3], 0.5, atol=1e-5)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_not_a_negative(tmp_path, suffix):
    Image.fromarray(quarters(64, 48)).convert("CMYK").save(tmp_path / f"c{suffix}", quality=95)
    assert_quarters(load_picture(tmp_path / f"c{suffix}"), 12)


def test_lab_becomes_rgb(tmp_path):
    """L 50, a 0, b 0 is the grey 119 of sRGB (IEC 61966-2-1)."""
    Image.new("LAB", (16, 16), (round(50 * 2.55), 128, 128)).save(tmp_path / "lab.tif")
    np.testing.assert_allclose(255 * load_picture(tmp_path / "lab.tif").rgba[0, 0, :3], 119, atol=2)


def profile_with_red_and_green_swapped():
    """sRGB's profile whose tags of the red and the green primary point at each other's colour."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red + 4 : red + 8], profile[green + 4 : green + 8] = (
        profile[green + 4 : green + 8],
        profile[red + 4 : red + 8],
    )
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_applied(tmp_path, mode):
    image = Image.fromarray(quarters()).convert(mode)
    if mode == "RGBA":
        image.paste((0, 0, 0, 0), (0, 0, 2, 2))
    image.save(tmp_path / "swapped.png", icc_profile=profile_with_red_and_green_swapped())
    swapped = [(g, r, b) for r, g, b in (RED, GREEN, BLUE, WHITE)]
    picture = load_picture(tmp_path / "swapped.png")
    assert_quarters(picture, 2, swapped)
    assert picture.has_alpha == (mode == "RGBA")
    assert picture.rgba[0, 0, 3] == (mode == "RGB")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(quarters()).save(tmp_path / "srgb.png", icc_profile=srgb)
    assert_quarters(load_picture(tmp_path / "srgb.png"), 1.5)


def test_a_broken_profile_does_not_spoil_the_picture(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "bad.png", icc_profile=b"not a profile at all")
    assert_quarters(load_picture(tmp_path / "bad.png"))


# ---- alpha ----------------------------------------------------------------------------------------------------------


def with_alpha(path, alpha, color=RED):
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = color, alpha
    Image.fromarray(pixels).save(path)
    return load_picture(path)


def test_an_interior_of_254_is_opaque_and_haze_is_not(tmp_path):
    rng = np.random.default_rng(0)
    alpha = rng.integers(1, 11, (64, 64))
    alpha[20:40, 24:50] = 254
    alpha[30, 30] = 250
    alpha[20, 24:50] = 128
    picture = with_alpha(tmp_path / "haze.png", alpha)
    assert picture.has_alpha
    assert (picture.rgba[21:40, 24:50, 3] == 1).all()
    np.testing.assert_allclose(picture.rgba[20, 24:50, 3], 0.49, atol=0.02)
    outside = np.ones((64, 64), bool)
    outside[20:40, 24:50] = False
    assert not picture.rgba[outside, 3].any()


@pytest.mark.parametrize("value", [255, 254, 251, 128])
def test_an_alpha_that_is_the_same_everywhere_means_nothing(tmp_path, value):
    picture = with_alpha(tmp_path / "flat.png", np.full((32, 32), value))
    assert not picture.has_alpha
    assert (picture.rgba[..., 3] == 1).all()


def test_two_lost_pixels_are_no_cut_out(tmp_path):
    alpha = np.full((64, 64), 255)
    alpha[0, :2] = 0
    assert not with_alpha(tmp_path / "lost.png", alpha).has_alpha


@pytest.mark.parametrize("haze", [0, 1, 10])
def test_a_transparent_picture_is_refused(tmp_path, haze):
    with pytest.raises(PictureError, match="every pixel is transparent"):
        with_alpha(tmp_path / "nothing.png", np.full((32, 32), haze))


def test_a_faint_object_counts_as_solid():
    alpha = np.zeros((32, 32), np.float32)
    alpha[8:24, 8:24] = 0.4
    cleaned = meaningful_alpha(alpha)
    assert cleaned is not None
    assert (cleaned[8:24, 8:24] == 1).all()


# ---- what cannot be used --------------------------------------------------------------------------------------------


def refused(path, *words):
    with pytest.raises(PictureError) as caught:
        load_picture(path)
    text = str(caught.value)
    assert caught.value.hint
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def test_no_picture(tmp_path):
    (tmp_path / "notes.png").write_text("These are my notes.")
    refused(tmp_path / "notes.png", "notes.png is not a picture")


def test_empty_file_folder_and_missing_file(tmp_path):
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "0 bytes")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path / "empty.png" / "below.png", "below.png")
    refused(tmp_path / "nul\0.png", "cannot be opened")


def test_vector_and_document_formats_are_never_run(tmp_path):
    """PostScript would start an interpreter on the user's machine."""
    (tmp_path / "drawing.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    refused(tmp_path / "drawing.png", "not a picture")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_truncated(tmp_path, suffix, kept):
    noise = np.random.default_rng(1).integers(0, 255, (80, 90, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole{suffix}")
    content = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: int(kept * len(content))])
    refused(tmp_path / f"cut{suffix}", f"cut{suffix}")


def test_damaged_inside(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (80, 90, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[1000:1040] = bytes(40)
    (tmp_path / "damaged.png").write_bytes(content)
    refused(tmp_path / "damaged.png", "damaged.png")


def test_tiny(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    refused(tmp_path / "dot.png", "1 x 1", "too small")
    Image.new("RGB", (500, 2)).save(tmp_path / "line.png")
    refused(tmp_path / "line.png", "500 x 2")


def huge_headers(side):
    """The first bytes of pictures of side x side pixels, and next to nothing after them."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    png += struct.pack(">I", 10) + b"IDAT" + zlib.compress(b"") + bytes(8)
    bmp = b"BM" + struct.pack("<IHHI", 64, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)
    gif = b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6) + b","
    gif += struct.pack("<HHHH", 0, 0, side, side) + b"\0\x02\x02D\x01\0;"
    jpeg = BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG")
    start = jpeg.getvalue().index(b"\xff\xc0")
    jpeg = jpeg.getvalue()[: start + 5] + struct.pack(">HH", side, side) + jpeg.getvalue()[start + 9 :]
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + struct.pack("<I", min(side, 16383) - 1)[:3] * 2
    webp = (
        b"RIFF"
        + struct.pack("<I", 4 + len(vp8x) + 12)
        + b"WEBP"
        + vp8x
        + b"VP8L"
        + struct.pack("<I", 4)
        + b"\x2f\0\0\0"
    )
    tiff = BytesIO()
    Image.new("L", (16, 16)).save(tiff, "TIFF")
    tiff = bytearray(tiff.getvalue())
    for tag in (256, 257):
        at = tiff.index(
            struct.pack("<HHI", tag, 3, 1) if struct.pack("<HHI", tag, 3, 1) in tiff else struct.pack("<HHI", tag, 4, 1)
        )
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return {".png": png, ".bmp": bmp, ".gif": gif, ".jpg": jpeg, ".webp": webp, ".tif": bytes(tiff)}


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("side", [13000, 20000])
def test_a_huge_header_is_refused_before_memory_is_taken(tmp_path, suffix, side):
    path = tmp_path / f"huge{suffix}"
    path.write_bytes(huge_headers(side)[suffix])
    tracemalloc.start()
    refused(path, f"huge{suffix}") if suffix == ".webp" else refused(path, "too large")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.slow
def test_a_large_legal_picture_is_reduced(tmp_path):
    width, height = 5000, 3000
    assert width * height < MAX_PIXELS
    Image.fromarray(quarters(width, height)).save(tmp_path / "large.png", compress_level=1)
    picture = load_picture(tmp_path / "large.png")
    assert picture.rgba.shape[1] == WORK_SIDE
    assert picture.rgba.shape[0] == round(height * WORK_SIDE / width)
    assert_quarters(picture)
    finer = load_picture(tmp_path / "large.png", 4000)
    assert finer.rgba.shape == (2400, 4000, 4)
    assert_quarters(finer)


def test_a_large_grey_of_16_bits_is_reduced(tmp_path):
    Image.fromarray(np.full((100, 4100), 20000, np.uint16)).save(tmp_path / "long.png")
    rgba = load_picture(tmp_path / "long.png").rgba
    assert rgba.shape[1] == WORK_SIDE
    np.testing.assert_allclose(rgba[..., :3], 20000 / 65535, atol=1e-4)


@pytest.mark.parametrize("name", ["pic ture.png", "Käse 猫 🐈.png", "-o.png", "%s{0}.png"])
def test_names_of_every_kind(tmp_path, monkeypatch, name):
    Image.fromarray(quarters()).save(tmp_path / name)
    assert_quarters(load_picture(tmp_path / name))
    assert_quarters(load_picture(str(tmp_path / name)))
    monkeypatch.chdir(tmp_path)
    assert_quarters(load_picture(Path(os.curdir) / name))


# ---- frame ----------------------------------------------------------------------------------------------------------


def box(height, width, top, left, rows, columns, color=(0.2, 0.4, 0.8)):
    rgba = np.zeros((height, width, 4), np.float32)
    rgba[top : top + rows, left : left + columns] = (*color, 1)
    return rgba


def extent(alpha):
    """(first row, row after the last, first column, column after the last) of alpha > 0.5."""
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("size", [64, 128, 257])
@pytest.mark.parametrize(
    "rgba",
    [box(90, 300, 10, 150, 60, 100), box(300, 40, 0, 0, 300, 40), box(20, 20, 9, 4, 3, 9), box(8, 8, 0, 0, 8, 8)],
)
def test_the_object_is_centred_and_fills_the_frame(size, rgba):
    alpha = frame(rgba, size).rgba[..., 3]
    top, bottom, left, right = extent(alpha)
    assert max(bottom - top, right - left) == pytest.approx(0.85 * size, abs=1.25)
    assert top + bottom == pytest.approx(size, abs=1.01)
    assert left + right == pytest.approx(size, abs=1.01)
    rows, columns = extent(rgba[..., 3])[1] - extent(rgba[..., 3])[0], extent(rgba[..., 3])[3] - extent(rgba[..., 3])[2]
    assert (bottom - top) / (right - left) == pytest.approx(rows / columns, rel=3 / min(bottom - top, right - left))


def test_area_and_centroid_are_kept():
    y, x = np.mgrid[:200, :260] + 0.5
    disc = ((x - 100.3) ** 2 + (y - 90.7) ** 2 < 60**2).astype(np.float32)
    rgba = np.concatenate([np.full((200, 260, 3), 0.5, np.float32), disc[..., None]], -1)
    cut = frame(rgba, 128)
    scale = 128 / cut.side
    assert cut.rgba[..., 3].sum() == pytest.approx(disc.sum() * scale**2, rel=2e-3)
    rows, columns = np.mgrid[:128, :128] + 0.5
    alpha = cut.rgba[..., 3]
    for grid, source, middle in ((columns, 100.3, cut.center[0]), (rows, 90.7, cut.center[1])):
        assert (grid * alpha).sum() / alpha.sum() == pytest.approx(64 + (source - middle) * scale, abs=0.1)


def test_haze_cannot_inflate_the_box():
    rgba = box(200, 200, 80, 90, 40, 20)
    hazy = rgba.copy()
    hazy[..., 3] = np.maximum(hazy[..., 3], 0.04)
    assert frame(hazy, 64).center == frame(rgba, 64).center == (100, 100)
    assert frame(hazy, 64).side == frame(rgba, 64).side


def test_colours_do_not_bleed_from_transparent_pixels():
    """What lies under alpha 0 is often black or green: premultiplied resampling keeps it out of the edge."""
    rgba = box(301, 301, 100, 100, 101, 101, (0.9, 0.1, 0.3))
    rgba[rgba[..., 3] == 0, :3] = (0, 1, 0)
    cut = frame(rgba, 96).rgba
    np.testing.assert_allclose(
        cut[cut[..., 3] > 0.02, :3], np.tile((0.9, 0.1, 0.3), ((cut[..., 3] > 0.02).sum(), 1)), atol=0.02
    )


def test_fine_stripes_become_their_mean():
    rgba = box(1200, 1200, 100, 100, 1000, 1000)
    rgba[..., :3] = (np.arange(1200) % 2)[:, None]
    cut = frame(rgba, 64).rgba
    middle = cut[20:44, 20:44, 0]
    np.testing.assert_allclose(middle, 0.5, atol=0.06)


def test_an_object_at_the_edge_of_the_picture():
    cut = frame(box(50, 50, 0, 30, 50, 20), 80)
    top, bottom, left, right = extent(cut.rgba[..., 3])
    assert (top, bottom) == pytest.approx((6, 74), abs=1)
    assert left + right == pytest.approx(80, abs=1)


def test_nothing_solid_is_refused():
    with pytest.raises(PictureError, match="no object"):
        frame(np.full((30, 30, 4), 0.4, np.float32), 64)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Any picture file to float RGBA, the right way up, or one sentence that says what is wrong with it."""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from engine.conventions import OPAQUE_ALPHA
from engine.errors import PictureError

Array = np.ndarray

_OF_FORMAT = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}

FORMATS = tuple(_OF_FORMAT)
"""What Pillow may decode for us: no format that starts an interpreter or another program."""

SUFFIXES = frozenset(suffix for suffixes in _OF_FORMAT.values() for suffix in suffixes)
"""Endings by which a picture is known in a folder."""

MAX_PIXELS = 160_000_000
"""Largest picture that is read: above the biggest cameras, far below what fills a memory."""

MIN_SIDE = 8
"""Smallest side, in pixels, in which an object can be seen at all."""

WORK_SIDE = 1536
"""Longer pictures are reduced to this longest side, as every stage before the frame costs time."""

DETAIL_SIDE = 4096
"""Longest side of the second reading, for large textures."""

HAZE_ALPHA = 10 / 255
"""Alpha up to which a pixel counts as empty: matting tools leave a faint haze of 1 to 10 around objects."""

MEANINGFUL_SHARE = 0.002
"""Share of see-through pixels from which an alpha channel says where the object is."""

_SAVE_AS = "Open it in a picture editor and save it as PNG or JPEG."
_COPY_AGAIN = "Copy or download it again."
# What Pillow's decoders raise on files that are broken inside.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, struct.error)


@dataclass(frozen=True)
class Picture:
    """A picture as `engine.conventions` has it. Where `has_alpha` is False, alpha is 1 everywhere."""

    rgba: Array  # [H, W, 4] float32 sRGB in [0, 1], straight alpha
    has_alpha: bool


def load_picture(path: str | Path, longest: int = WORK_SIDE) -> Picture:
    """Reads PNG, JPEG, WebP, TIFF, BMP, GIF (first frame) or PPM: turned upright, in sRGB, at most `longest` long.

    An alpha channel counts only where it says something (see `meaningful_alpha`).
    Raises `PictureError` where the file is missing, no picture, damaged, empty, too small or too large.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about size and odd metadata; both are judged here
            image = Image.open(path, formats=FORMATS)
            _check_size(path, *image.size)
            rgba = _decode(image, longest)
    except Image.DecompressionBombError:
        raise _too_large(path, "more") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path.name} is not a picture that can be read.", _SAVE_AS) from None
    except (*_BROKEN, zlib.error) as error:
        raise _damaged(path, error) from error
    alpha = meaningful_alpha(rgba[..., 3])
    if alpha is None:
        opaque = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])  # what little is see-through shows white
        return Picture(np.concatenate([opaque, np.ones_like(rgba[..., 3:])], -1), False)
    if not alpha.any():
        raise PictureError(
            f"{path.name} is empty: every pixel is transparent.", "Choose a picture with an object in it."
        )
    rgba[..., 3] = alpha
    return Picture(rgba, True)


def meaningful_alpha(alpha: Array) -> Array | None:
    """Alpha [H, W] in [0, 1] freed of haze, or None where it does not tell an object from its surroundings.

    Up to HAZE_ALPHA becomes 0 and from OPAQUE_ALPHA (or the highest value found, when that is lower) 1.
    An alpha channel without at least MEANINGFUL_SHARE of see-through pixels means nothing.
    """
    top = min(OPAQUE_ALPHA, float(alpha.max()))
    if top <= HAZE_ALPHA:
        return np.zeros_like(alpha)
    cleaned = np.clip((alpha - HAZE_ALPHA) / (top - HAZE_ALPHA), 0, 1).astype(np.float32)
    return cleaned if (cleaned < 0.5).mean() >= MEANINGFUL_SHARE else None


def _check_file(path: Path) -> None:
    """Raises `PictureError` unless `path` is a file with something in it that we may read."""
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder, expected a picture.", "Choose a picture inside it.")
        if not path.stat().st_size:
            raise PictureError(f"{path.name} is empty: the file has 0 bytes.", _COPY_AGAIN)
        path.open("rb").close()
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist.", "Check the name, or whether the file was moved.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{path} cannot be opened: {reason}.", "Check its path and permissions.") from None


def _check_size(path: Path, width: int, height: int) -> None:
    """Raises `PictureError` for sizes no object can be seen in, or no memory can hold; pixels are not read yet."""
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width:,} x {height:,}")
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"{path.name} has {width} x {height} pixels: too small to see an object in.",
            f"Choose a picture of at least {MIN_SIDE} x {MIN_SIDE} pixels; 512 x 512 and more work well.",
        )


def _too_large(path: Path, found: str) -> PictureError:
    return PictureError(
        f"{path.name} is too large: it has {found} pixels, at most {MAX_PIXELS // 1_000_000} million can be read.",
        f"Reduce it; {DETAIL_SIDE} pixels on the longer side are all that is used.",
    )


def _damaged(path: Path, error: BaseException) -> PictureError:
    text = str(error)
    if any(word in text.lower() for word in ("truncated", "eof", "not enough", "unexpected end")):
        return PictureError(f"{path.name} is cut off: the file ends before the picture does.", _COPY_AGAIN)
    return PictureError(f"{path.name} is damaged: {text or type(error).__name__}.", f"{_COPY_AGAIN} Or: {_SAVE_AS}")


def _decode(image: Image.Image, longest: int) -> Array:
    """Pixels as float32 RGBA [H, W, 4], upright and at most `longest` long."""
    image.draft(None, (longest, longest))  # lets JPEG decode at a half, quarter or eighth
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image, longest)
    rgba = _to_srgb(image)
    if max(rgba.size) > longest:
        rgba.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(rgba, np.float32) / 255


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGBA in sRGB; an embedded colour profile is applied where it is whole and fits the picture."""
    profile = image.info.get("icc_profile")
    has_alpha = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L", "LAB"):
        try:
            mode = "RGBA" if image.mode == "RGBA" else "RGB"
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if converted is not None:
                alpha = image.convert("RGBA").getchannel("A") if has_alpha else None
                image = converted.convert("RGBA")
                if alpha is not None:
                    image.putalpha(alpha)
                return image
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that is broken or made for other channels: the plain reading below is the best there is
    if not has_alpha and image.mode not in ("RGB", "L", "P", "1"):
        image = image.convert("RGB")  # Pillow converts CMYK, YCbCr, HSV and Lab to RGB only
    return image.convert("RGBA")


def _deep_grey(image: Image.Image, longest: int) -> Array:
    """Grey of 16 or 32 bits or floating point: scaled by the range its values show they use."""
    grey = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    transparent = image.info.get("transparency")
    alpha = np.ones_like(grey) if transparent is None else (grey != transparent).astype(np.float32)
    highest = float(grey.max())
    whites = (65535.0,) if image.mode.startswith("I") else (1.0, 255.0, 65535.0)
    white = next((white for white in whites if highest <= white * 1.0001), highest)
    rgba = np.stack([np.clip(grey / white, 0, 1)] * 3 + [alpha], -1)
    side = max(grey.shape)
    if side <= longest:
        return rgba
    size = (max(1, grey.shape[1] * longest // side), max(1, grey.shape[0] * longest // side))
    channels = [Image.fromarray(rgba[..., c]).resize(size, Image.Resampling.BOX) for c in (0, 3)]
    grey, alpha = (np.asarray(channel, np.float32) for channel in channels)
    return np.stack([grey] * 3 + [alpha], -1)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""Where a picture can come from beside a file: the clipboard, Blender's images, the render, the active camera.

Each gives the path of a file. What is no file of the user's is written once beside the history, named by its content,
so that its mesh can be made again tomorrow; images, scenes and views stay as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from ..files.names import file_name
from ..files.png import png_bytes
from ..headless.plan import PICTURE_SUFFIXES
from ..results import keeping
from .thumbnails import srgb

if TYPE_CHECKING:
    import numpy as np

LARGEST_SIDE = 8192
CAMERA_SIDE = 1024
"""Pixels of the longer side of the camera's view, which the generators see at less."""
TOOL_SECONDS = 2.0
TOOLS = (
    ("wl-paste", "--no-newline", "--type", "image/png"),
    ("xclip", "-selection", "clipboard", "-target", "image/png", "-out"),
)
"""Programs that hand out a picture on the clipboard where Blender cannot, under Linux."""

_MAGIC = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"))


class SourceError(Exception):
    """There is no picture to be had there; its text says what to do."""


# ---------------------------------------------------------------------------
# Clipboard


def from_clipboard(context: bpy.types.Context) -> Path:
    """The picture on the clipboard: a file that was copied, its path, or pixels. Raises `SourceError`."""
    if (file := picture_named(context.window_manager.clipboard)) is not None:
        return file
    if bpy.ops.image.clipboard_paste.poll():
        return _pasted()
    for tool in TOOLS:
        if (data := _output_of(tool)) and (suffix := suffix_of(data)):
            return keeping.history().keep_picture(data, f"clipboard{suffix}")
    raise SourceError("There is no picture on the clipboard. Copy a picture, or a picture file, and paste again.")


def picture_named(text: str) -> Path | None:
    """The picture file that a text names, as file managers and browsers copy it: path, quoted path or file:// link."""
    for line in text.splitlines()[:8]:
        line = line.strip().strip("\"'")
        if line.lower().startswith("file:"):
            from urllib.parse import urlsplit  # here, as they load all of HTTP
            from urllib.request import url2pathname

            line = url2pathname(urlsplit(line).path if os.name != "nt" else line[5:])
        try:
            path = Path(line).expanduser()
            if path.suffix.lower() in PICTURE_SUFFIXES and path.is_absolute() and path.is_file():
                return path
        except (OSError, ValueError, RuntimeError):
            continue  # no path at all
    return None


def _pasted() -> Path:
    before = set(bpy.data.images)
    try:
        bpy.ops.image.clipboard_paste()
    except RuntimeError as error:  # how Blender's operators tell their failures
        raise SourceError(f"Blender could not paste the picture: {str(error).strip()}") from error
    new = [image for image in bpy.data.images if image not in before]
    if not new:
        raise SourceError("There is no picture on the clipboard. Copy a picture, or a picture file, and paste again.")
    try:
        return from_image(new[0])
    finally:
        bpy.data.images.remove(new[0])


def _output_of(tool: tuple[str, ...]) -> bytes:
    if (program := shutil.which(tool[0])) is None:
        return b""
    try:
        return subprocess.run(
            (program, *tool[1:]), stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_SECONDS
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""


# ---------------------------------------------------------------------------
# Blender's images


def usable_images() -> list[bpy.types.Image]:
    """The images a mesh could be made from."""
    return [image for image in bpy.data.images if image.type not in ("RENDER_RESULT", "COMPOSITING")]


def from_image(image: bpy.types.Image) -> Path:
    """An image of this file: its own file where it shows that, else a copy of its pixels. Raises `SourceError`."""
    if image.source == "FILE" and not image.is_dirty:
        if image.packed_file is not None:
            data = image.packed_file.data
            if suffix := suffix_of(data):
                return keeping.history().keep_picture(data, _file_name(image, suffix))
        elif image.filepath:
            file = Path(bpy.path.abspath(image.filepath, library=image.library))
            if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file():
                return file
    width, height = image.size
    if not width or not height:
        raise SourceError(f"The image {image.name} has no pixels. Load it again, or choose another.")
    if max(width, height) > LARGEST_SIDE:
        raise SourceError(
            f"The image {image.name} has {width} by {height} pixels, more than {LARGEST_SIDE}. Scale it down first."
        )
    return keeping.history().keep_picture(png_bytes(_pixels(image)), _file_name(image, ".png"))


def _file_name(image: bpy.types.Image, suffix: str) -> str:
    """A file name from an image's: often it is one already."""
    name = Path(image.name)
    return file_name(name.stem if name.suffix.lower() in PICTURE_SUFFIXES else image.name, suffix)


def _pixels(image: bpy.types.Image) -> np.ndarray:
    """An image's pixels [H, W, 4] uint8, sRGB with straight alpha, top row first."""
    import numpy as np

    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(height, width, image.channels)[::-1]
    color, alpha = values[..., :3], np.ones((height, width, 1), np.float32)
    if image.channels in (1, 2):
        color = np.repeat(values[..., :1], 3, axis=2)
    if image.channels in (2, 4):
        alpha = values[..., -1:]
    if image.is_float:  # linear, blended with black
        color = srgb(color / np.maximum(alpha, 1e-6) if image.alpha_mode == "PREMUL" else color)
    return _bytes(color, alpha)


def suffix_of(data: bytes) -> str:
    """How files with these first bytes are called, empty where they are no picture the engine reads."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "")


# ---------------------------------------------------------------------------
# Render and camera


def from_render(context: bpy.types.Context) -> Path:
    """The last render of the scene, as it looks. Raises `SourceError`."""
    result = next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)
    if result is None:
        raise SourceError("Nothing has been rendered yet. Render the scene first.")
    folder = Path(tempfile.mkdtemp(prefix="gaussmith-render-", dir=bpy.app.tempdir or None))
    try:
        with _as_png(context.scene):
            result.save_render(str(folder / "render.png"), scene=context.scene)
        data = (folder / "render.png").read_bytes()
    except (RuntimeError, FileNotFoundError) as error:
        raise SourceError("This scene has not been rendered yet. Render it first.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return keeping.history().keep_picture(data, "render.png")


@contextmanager
def _as_png(scene: bpy.types.Scene) -> Iterator[None]:
    """Lets a scene write PNG with alpha for a moment."""
    settings = scene.render.image_settings
    wanted = {"media_type": "IMAGE", "file_format": "PNG", "color_mode": "RGBA", "color_depth": "8"}
    before = {name: getattr(settings, name) for name in wanted if hasattr(settings, name)}
    try:
        for name in before:  # each narrows what the next can be
            setattr(settings, name, wanted[name])
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def from_camera(context: bpy.types.Context) -> Path:
    """What the active camera sees, drawn as a 3D view in sight draws it, without overlays and without background.

    Raises `SourceError`.
    """
    import numpy as np

    if bpy.app.background:
        raise SourceError("The camera's view needs a window. Render the scene and use the render result.")
    camera = context.scene.camera
    if camera is None:
        raise SourceError("The scene has no active camera. Add one, or make one active.")
    area, region = _view_of(context)
    try:
        pixels = _seen_by(camera, context, area.spaces.active, region)
    except (SystemError, RuntimeError) as error:
        raise SourceError(f"This graphics card could not draw the camera's view: {error}") from error
    alpha = pixels[..., 3:]
    seen = _bytes(pixels[..., :3] / np.maximum(alpha, 1e-6), alpha)
    return keeping.history().keep_picture(png_bytes(seen), "camera.png")


def _view_of(context: bpy.types.Context) -> tuple[bpy.types.Area, bpy.types.Region]:
    areas = [context.area, *(area for area in context.window.screen.areas)]
    for area in areas:
        if area is not None and area.type == "VIEW_3D":
            return area, next(region for region in area.regions if region.type == "WINDOW")
    raise SourceError("There is no 3D view in this window. Open one and try again.")


def _seen_by(
    camera: bpy.types.Object, context: bpy.types.Context, space: bpy.types.SpaceView3D, region: bpy.types.Region
) -> np.ndarray:
    """The view of a camera [H, W, 4] in [0, 1], sRGB, blended with nothing, top row first."""
    import gpu
    import numpy as np

    render = context.scene.render
    shape = np.array((render.resolution_x * render.pixel_aspect_x, render.resolution_y * render.pixel_aspect_y))
    width, height = (max(16, round(side)) for side in shape * CAMERA_SIDE / shape.max())
    projection = camera.calc_matrix_camera(context.evaluated_depsgraph_get(), x=width, y=height)
    overlays, space.overlay.show_overlays = space.overlay.show_overlays, False
    offscreen = gpu.types.GPUOffScreen(width, height)
    try:
        offscreen.draw_view3d(
            context.scene,
            context.view_layer,
            space,
            region,
            camera.matrix_world.normalized().inverted(),
            projection,
            do_color_management=True,
            draw_background=False,
        )
        with offscreen.bind():
            pixels = gpu.state.active_framebuffer_get().read_color(0, 0, width, height, 4, 0, "UBYTE")
    finally:
        offscreen.free()
        space.overlay.show_overlays = overlays
    pixels.dimensions = width * height * 4
    return np.array(pixels, np.uint8).reshape(height, width, 4)[::-1].astype(np.float32) / 255


def _bytes(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.round(np.clip(np.concatenate([color, alpha], axis=2), 0, 1) * 255).astype(np.uint8)

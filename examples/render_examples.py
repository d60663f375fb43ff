# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the example pictures of CC0 objects: python examples/render_examples.py PACK_FOLDER.

PACK_FOLDER holds `dev_000.npz` and `dev_index.csv`: per object float16 vertices (y up, longest side 1), uint16 uvs
(v = 0 at the top), faces and one encoded texture. Cycles on the processor, 512 x 512, about a minute for all.
"""

import argparse
import csv
import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector
from PIL import Image, ImageFilter

SIZE = 512
FOV_DEG = 28.0
FILL = 0.86  # of the picture's side
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Shot:
    """One example: the object, where it is seen from (degrees), and what is behind it."""

    name: str
    file: str
    azimuth_deg: float
    elevation_deg: float
    ground: str  # "alpha": transparent; "plain": one colour; "studio": a soft shadow before a gradient
    box: tuple[float, float, float, float] = (-1, 1, -1, 1)  # the part of a set to show: x and z, from and to


SHOTS = (
    Shot("painted_wooden_stool_1k", "stool.png", 30, 18, "alpha"),
    Shot("sofa_03_1k", "sofa.png", 32, 16, "studio"),
    Shot("tea_set_01_1k", "teapot.png", 62, 15, "alpha", (-0.5, -0.25, -0.05, 0.3)),
    Shot("tea_set_01_1k", "cup.png", 75, 22, "alpha", (0.3, 0.5, 0, 0.2)),
    Shot("painted_wooden_cabinet_1k", "cabinet.jpg", 30, 14, "plain"),
)


def load_object(folder: Path, shot: Shot) -> tuple[np.ndarray, np.ndarray, np.ndarray, Image.Image]:
    """vertices [V, 3] (y up, longest side 1), faces [F, 3], uvs [V, 2] (v up) and texture of a shot's object."""
    with (folder / "dev_index.csv").open(newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["name"] == shot.name)
    if row["licence"] != "CC0-1.0":
        raise SystemExit(f"{shot.name} is under {row['licence']}; the examples are CC0 only.")
    pack = np.load(folder / row["shard"])
    i = int(row["row"])
    v0, v1 = pack["vertex_offsets"][i : i + 2]
    f0, f1 = pack["face_offsets"][i : i + 2]
    t0, t1 = pack["texture_offsets"][i : i + 2]
    texture = Image.open(io.BytesIO(pack["texture_bytes"][t0:t1].tobytes())).convert("RGB")
    uvs = pack["uvs"][v0:v1] / 65535.0
    uvs[:, 1] = 1 - uvs[:, 1]
    vertices, faces = pack["vertices"][v0:v1].astype(np.float32), pack["faces"][f0:f1].astype(np.int64)
    x, z = vertices[:, 0], vertices[:, 2]
    inside = (x >= shot.box[0]) & (x <= shot.box[1]) & (z >= shot.box[2]) & (z <= shot.box[3])
    kept, faces = np.unique(faces[inside[faces].all(1)], return_inverse=True)
    vertices, uvs, faces = vertices[kept], uvs[kept], faces.reshape(-1, 3)
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) / (high - low).max(), faces, uvs, texture


def add_object(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, texture: Path) -> None:
    """The object in the scene, z up, its front facing -y, standing on the floor."""
    placed = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1] - vertices[:, 1].min()], axis=1)
    welded, corners = np.unique(placed, axis=0, return_inverse=True)  # across texture seams, for smooth shading
    mesh = bpy.data.meshes.new("object")
    mesh.from_pydata(welded.tolist(), [], corners.ravel()[faces].tolist())
    layer = mesh.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", uvs[faces.ravel()].astype(np.float32).ravel())
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=math.radians(35))
    material = bpy.data.materials.new("object")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 0.6
    picture = nodes.new("ShaderNodeTexImage")
    picture.image = bpy.data.images.load(str(texture))
    material.node_tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
    mesh.materials.append(material)
    bpy.context.collection.objects.link(bpy.data.objects.new("object", mesh))


def add_camera(vertices: np.ndarray, shot: Shot) -> None:
    """A camera that sees the whole object, as large as `FILL` allows and in the middle of the picture."""
    placed = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1] - vertices[:, 1].min()], axis=1)
    azimuth, elevation = math.radians(shot.azimuth_deg), math.radians(shot.elevation_deg)
    flat = math.cos(elevation)
    back = Vector((math.sin(azimuth) * flat, -math.cos(azimuth) * flat, math.sin(elevation)))
    rotation = back.to_track_quat("Z", "Y").to_matrix()
    seen = placed @ np.array(rotation)  # in the camera's axes: x right, y up, z towards the camera
    half = FILL * math.tan(math.radians(FOV_DEG / 2))
    shift = np.zeros(2)
    distance = 0.0
    for _ in range(20):  # perspective moves the outline as the camera does
        distance = float((np.abs(seen[:, :2] - shift) / half + seen[:, 2:]).max())
        outline = (seen[:, :2] - shift) / (distance - seen[:, 2:])
        shift += (outline.max(0) + outline.min(0)) / 2 * (distance - seen[:, 2].mean())
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.angle = math.radians(FOV_DEG)
    camera.matrix_world = rotation.to_4x4()
    camera.location = rotation @ Vector((*shift, distance))
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera


def add_light(shot: Shot) -> None:
    """A large key light from the camera's left, a fill from its right, and an even sky."""
    azimuth = math.radians(shot.azimuth_deg)
    for turn_deg, height, energy, size in ((-50, 2.2, 90, 2.0), (55, 1.2, 28, 2.5), (170, 2.0, 45, 1.5)):
        angle = azimuth + math.radians(turn_deg)
        light = bpy.data.lights.new("light", "AREA")
        light.energy, light.size = energy, size
        lamp = bpy.data.objects.new("light", light)
        lamp.location = (2.4 * math.sin(angle), -2.4 * math.cos(angle), height)
        lamp.rotation_euler = (Vector(lamp.location) - Vector((0, 0, 0.3))).to_track_quat("Z", "Y").to_euler()
        bpy.context.collection.objects.link(lamp)
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.9, 0.95, 1.0, 1)
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.45


def render(path: Path) -> Image.Image:
    """The scene as RGBA, alpha straight."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 96
    scene.cycles.use_denoising = True
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return Image.open(path).convert("RGBA")


def put_behind(picture: Image.Image, ground: str) -> Image.Image:
    """The picture before its background; with a soft contact shadow in a studio."""
    if ground == "alpha":
        return picture
    if ground == "plain":
        back = Image.new("RGB", picture.size, (116, 138, 150))
    else:
        y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
        glow = np.exp(-(((x - 0.5) / 0.7) ** 2 + ((y - 0.35) / 0.6) ** 2))[..., None]
        back = Image.fromarray(np.uint8(np.array([196, 201, 206]) + glow * np.array([44, 42, 38])))
        alpha = np.asarray(picture)[..., 3] > 128
        rows, columns = np.nonzero(alpha)
        bottom, left, right = int(rows.max()), int(columns.min()), int(columns.max())
        height = (right - left) * 0.16
        across, down = (x * SIZE - (left + right) / 2) / ((right - left) / 2), (y * SIZE - bottom) / height + 0.8
        shade = across**2 + down**2
        shadow = Image.fromarray(np.uint8(110 * (shade < 1))).filter(ImageFilter.GaussianBlur(14))
        back.paste((92, 94, 100), mask=shadow)
    back.paste(picture, mask=picture.getchannel("A"))
    return back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packs", type=Path, help="folder with dev_000.npz and dev_index.csv")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    for shot in SHOTS:
        vertices, faces, uvs, texture = load_object(options.packs, shot)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        with tempfile.TemporaryDirectory() as folder:
            texture.save(Path(folder) / "texture.png")
            add_object(vertices, faces, uvs, Path(folder) / "texture.png")
            add_camera(vertices, shot)
            add_light(shot)
            picture = put_behind(render(Path(folder) / "render.png"), shot.ground)
            picture.save(options.output / shot.file, quality=92, optimize=True)
        print(options.output / shot.file)


if __name__ == "__main__":
    main()

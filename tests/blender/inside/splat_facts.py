# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about importing splats, its options, and all that a result can hold; as `facts.py`, in every Blender."""

import json
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import engine.options
from addon import options, scene, session
from addon.results import formats
from addon.results.record import mesh_facts, read_record
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import (
    FOLDER,
    GLB,
    RESULTS,
    SIZE,
    assert_known,
    enabled,
    fresh,
    picture,
    refused,
    texture_of,
    world_triangles,
)
from tests.fakes.fake_engine import OWN_PLACE
from tests.fakes.known_glb import (
    CELL,
    FACES,
    POLYGONS,
    SHADE,
    SIDES,
    WELDED_VERTICES,
    known_normals,
    known_polygons,
    write_known_glb,
)

MESH_PLY = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nelement face 1\nend_header\n"


def splats(name: str, content: bytes = b"the fake engine looks at the name only") -> Path:
    path = FOLDER / name
    path.write_bytes(content)
    return path


def import_glb(**content) -> bpy.types.Object:
    write_known_glb(FOLDER / "special.glb", SIZE, **content)
    (ob,) = scene.import_meshes({"mesh": FOLDER / "special.glb"}, name="cat", record={})
    bpy.context.view_layer.update()
    return ob


def node_before(socket) -> bpy.types.Node:
    (link,) = socket.links
    return link.from_node


# ---------------------------------------------------------------------------
# Options


SPLATS_ONLY = {"up", "crop", "keep_all", "keep_frame"}
PICTURES_ONLY = {"photo", "seed", "fit"}


@enabled
def fact_names_ranges_words_and_defaults_are_those_of_the_engine():
    defaults = vars(engine.options.MeshOptions())
    importer = bpy.ops.gaussmith.import_splats.get_rna_type().properties
    settings = bpy.context.scene.gaussmith.bl_rna.properties
    for found, kind, absent in (
        (importer, options.SplatOptions, PICTURES_ONLY),
        (settings, options.PictureOptions, SPLATS_ONLY),
    ):
        names = options.properties(kind).keys()
        assert names == defaults.keys() - absent, names ^ (defaults.keys() - absent)
        for name in names:
            assert_property_is_the_option(found[name], name, defaults[name])


def assert_property_is_the_option(found: bpy.types.Property, name: str, default: object) -> None:
    assert found.name, name
    assert len(found.description) > 10, name
    assert not found.description.endswith("."), name  # Blender sets it
    if name == "crop":
        assert found.array_length == 6
    elif name == "texture":  # a choice of sizes
        low, high = engine.options.RANGES[name]
        assert all(low <= int(item.identifier) <= high for item in found.enum_items)
        assert int(found.default) == default
    else:
        assert found.default == default, name
        if name in engine.options.CHOICES:
            assert tuple(item.identifier for item in found.enum_items) == engine.options.CHOICES[name], name
        elif name in engine.options.RANGES:
            limits = (found.hard_min, found.hard_max)
            np.testing.assert_allclose(limits, engine.options.RANGES[name], rtol=1e-6, err_msg=name)


@enabled
def fact_the_engine_takes_what_the_properties_hold():
    settings = bpy.context.scene.gaussmith
    given = engine.options.mesh_options(options.chosen(settings, options.PictureOptions))
    assert given == engine.options.MeshOptions()
    settings.topology, settings.watertight, settings.lods, settings.texture = "quads", True, 2, "4096"
    given = engine.options.mesh_options(options.chosen(settings, options.PictureOptions))
    assert given == engine.options.MeshOptions(topology="quads", watertight=True, lods=2, texture=4096)


# ---------------------------------------------------------------------------
# The operator without a window: it waits


@enabled
def fact_splats_become_an_object_at_the_cursor_with_the_options_given():
    bpy.context.scene.cursor.location = (3, 2, 1)
    path = splats("my statue é.spz")
    given = {"size": SIZE, "faces": 5000, "up": "-y", "use_crop": True, "crop": (-1, -2, -3, 1, 2, 3)}
    assert bpy.ops.gaussmith.import_splats(filepath=str(path), **given) == {"FINISHED"}
    ob = bpy.context.object
    assert (ob.name, tuple(ob.location)) == ("my statue é", (3, 2, 1))
    assert ob.select_get()
    bpy.context.view_layer.update()
    assert_known(ob)
    record = read_record(ob)
    assert record["splats"] == str(path)
    assert record["options"]["crop"] == [-1, -2, -3, 1, 2, 3]
    assert (record["options"]["up"], record["options"]["faces"]) == ("-y", 5000)
    assert not {*PICTURES_ONLY, "use_crop"} & record["options"].keys()


@enabled
def fact_an_object_that_keeps_its_frame_stands_where_the_file_has_it():
    bpy.context.scene.cursor.location = (3, 2, 1)
    bpy.ops.gaussmith.import_splats(filepath=str(splats("far.ksplat")), keep_frame=True)
    ob = bpy.context.object
    scale, (x, y, z) = OWN_PLACE
    np.testing.assert_allclose(ob.location, (x, -z, y), atol=1e-5)
    bpy.context.view_layer.update()
    corners = world_triangles(ob).reshape(-1, 3)
    np.testing.assert_allclose(corners.min(0), (x - scale / 4, -z - scale / 4, y), atol=1e-4)
    np.testing.assert_allclose(corners.max(0), (x + scale / 4, -z + scale / 4, y + scale), atol=1e-4)


@enabled
def fact_several_files_stand_side_by_side():
    names = ["a.splat", "b.sog", "c.spz"]
    for name in names:
        splats(name)
    bpy.ops.gaussmith.import_splats(directory=str(FOLDER), files=[{"name": name} for name in names], size=2)
    assert [bpy.data.objects[name].location.x for name in ("a", "b", "c")] == [0, 2.5, 5]


@enabled
def fact_a_ply_that_is_a_mesh_is_refused_with_what_to_do():
    with refused(RuntimeError, "bunny.ply holds a mesh of 1 faces", "Stanford PLY"):
        bpy.ops.gaussmith.import_splats(filepath=str(splats("bunny.ply", MESH_PLY)))
    assert not bpy.data.objects
    with refused(RuntimeError, "There is no file", "nowhere.spz"):
        bpy.ops.gaussmith.import_splats(filepath=str(FOLDER / "nowhere.spz"))


@enabled
def fact_what_the_engine_says_about_a_file_is_told():
    with refused(RuntimeError, "fail is not a file of splats. Export it again."):
        bpy.ops.gaussmith.import_splats(filepath=str(splats("fail.spz")))


@enabled
def fact_the_menu_and_the_viewport_offer_the_import():
    handler = bpy.types.GAUSSMITH_FH_splats
    assert set(handler.bl_file_extensions.split(";")) == {".ply", ".splat", ".ksplat", ".spz", ".sog"}
    assert handler.bl_import_operator == "gaussmith.import_splats"
    drawn = [function.__name__ for function in bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize()]
    assert drawn.count("_import_menu") == 1


@enabled
def fact_the_engine_knows_which_blender_makes_quads():
    bpy.ops.gaussmith.import_splats(filepath=str(splats("a.spz")))
    said = [line for line in session.jobs().engine.log_tail().splitlines() if line.startswith("blender ")]
    assert said == ([f"blender {bpy.app.binary_path}"] if bpy.app.binary_path else [])


# ---------------------------------------------------------------------------
# What a result can hold


def fact_quads_are_four_sided_faces_with_uvs_on_a_closed_mesh():
    ob = import_glb(quads=True)
    mesh = ob.data
    assert (len(mesh.vertices), len(mesh.polygons)) == (WELDED_VERTICES, POLYGONS)
    assert sorted(len(polygon.vertices) for polygon in mesh.polygons) == [3] * 4 + [4] * 5
    edges: dict[tuple[int, int], int] = {}
    for polygon in mesh.polygons:
        for edge in polygon.edge_keys:
            edges[edge] = edges.get(edge, 0) + 1
    assert set(edges.values()) == {2}
    assert not mesh.validate()
    image = texture_of(ob)
    pixels = np.array(image.pixels[:]).reshape(*reversed(image.size), 4)
    for polygon, (side, points) in zip(mesh.polygons, known_polygons(), strict=True):
        corners = np.array([mesh.vertices[v].co for v in polygon.vertices])
        expected = SIZE * np.array([(x, -z, y) for x, y, z in points])
        np.testing.assert_allclose(corners, expected, atol=1e-5)
        assert polygon.normal.dot(polygon.center - Vector((0, 0, SIZE / 2))) > 0
        uv = np.mean([mesh.uv_layers.active.data[corner].uv for corner in polygon.loop_indices], axis=0)
        column, row = (uv * image.size).astype(int)
        assert tuple(np.round(pixels[row, column, :3] * 255).astype(int)) == SIDES[side][0]


def fact_the_normal_map_bends_normals_and_its_numbers_are_not_colours():
    ob = import_glb(normal_map=True)
    principled = next(node for node in ob.active_material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    bend = node_before(principled.inputs["Normal"])
    assert bend.type == "NORMAL_MAP"
    assert bend.space == "TANGENT"
    image = node_before(bend.inputs["Color"]).image
    assert image.colorspace_settings.name == "Non-Color"
    assert image.packed_file is not None
    np.testing.assert_allclose(image.pixels[:3], np.array([128, 128, 255]) / 255, atol=1e-6)
    assert texture_of(ob).colorspace_settings.name == "sRGB"
    assert ob.active_material.node_tree.nodes.active.image == texture_of(ob)


def place(point) -> tuple[int, ...]:
    """A point in whole millimetres."""
    return tuple(round(1000 * value) for value in point)


def fact_a_mesh_with_a_normal_map_has_the_normals_it_was_baked_for_and_others_have_blenders():
    ob = import_glb(normal_map=True)
    found = {}
    for loop, normal in zip(ob.data.loops, ob.data.corner_normals, strict=True):
        found[place(ob.data.vertices[loop.vertex_index].co)] = np.array(normal.vector)
    expected = known_normals()
    assert len(found) == len(expected) == WELDED_VERTICES
    for (x, y, z), (nx, ny, nz) in expected.items():
        at = place((SIZE * x, -SIZE * z, SIZE * y))
        np.testing.assert_allclose(found[at], (nx, -nz, ny), atol=0.02)
    assert ob.data.has_custom_normals
    assert not import_glb().data.has_custom_normals


def fact_the_occlusion_darkens_nothing_and_is_exported_by_blender():
    ob = import_glb(normal_map=True, occlusion=True)
    tree = ob.active_material.node_tree
    principled = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert node_before(principled.inputs["Base Color"]).type == "TEX_IMAGE"
    group = next(node for node in tree.nodes if node.type == "GROUP")
    split = node_before(group.inputs["Occlusion"])
    image = node_before(split.inputs["Color"]).image
    assert image.colorspace_settings.name == "Non-Color"
    assert round(image.pixels[0] * 255) == SHADE[0]
    path = FOLDER / "exported.glb"
    bpy.ops.export_scene.gltf(filepath=str(path))
    content = path.read_bytes()
    document = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    (material,) = document["materials"]
    assert {"normalTexture", "occlusionTexture"} <= material.keys()
    assert "baseColorTexture" in material["pbrMetallicRoughness"]
    bpy.ops.import_scene.gltf(filepath=str(path))  # whose own group of this kind must not meet ours


def fact_all_materials_share_one_group_for_the_occlusion():
    for _ in range(2):
        import_glb(occlusion=True)
    assert len(bpy.data.node_groups) == 1


def fact_webp_textures_show_the_same_colours():
    ob = import_glb(image="webp")
    assert tuple(texture_of(ob).size) == (4 * CELL, 2 * CELL)
    assert texture_of(ob).filepath_raw.endswith(".webp")
    assert_known(ob)


@enabled
def fact_levels_of_detail_arrive_hidden_beside_the_mesh():
    bpy.ops.gaussmith.import_splats(filepath=str(splats("cat.spz")), lods=2, size=SIZE)
    assert bpy.context.object.name == "cat"
    assert {ob.name for ob in bpy.data.objects} == {"cat", "cat_LOD1", "cat_LOD2"}
    mesh, *levels = (bpy.data.objects[name] for name in ("cat", "cat_LOD1", "cat_LOD2"))
    assert not mesh.hide_render
    assert mesh.visible_get()
    for number, level in enumerate(levels, 1):
        assert level.hide_render
        assert not level.visible_get()
        assert level.users_collection == mesh.users_collection
        assert tuple(level.location) == tuple(mesh.location)
        assert level.active_material == mesh.active_material  # they look the same
        assert read_record(level)["lod"] == number
    heights = [ob.dimensions.z for ob in (mesh, *levels)]
    np.testing.assert_allclose(heights, [SIZE, SIZE / 2, SIZE / 4], rtol=1e-5)  # as the fake engine makes them
    for level in levels:  # the engine's report is about the mesh alone
        assert read_record(level)["mesh"] == {"faces": FACES, "vertices": WELDED_VERTICES, "quads": False}
    assert read_record(mesh)["mesh"]["uv_coverage"] == 0.5


@enabled
def fact_levels_of_detail_are_named_after_their_own_object():
    for _ in range(2):
        bpy.ops.gaussmith.import_splats(filepath=str(splats("cat.spz")), lods=1)
    assert {ob.name for ob in bpy.data.objects} == {"cat", "cat_LOD1", "cat.001", "cat.001_LOD1"}


@enabled
def fact_the_report_on_the_mesh_is_kept_with_the_object():
    settings = bpy.context.scene.gaussmith
    settings.picture, settings.topology = str(picture("cat")), "quads"
    bpy.ops.gaussmith.generate()
    facts = dict(mesh_facts(read_record(bpy.context.object)))
    assert facts["Faces"] == f"{POLYGONS} quads"
    assert (facts["Watertight"], facts["Pieces"], facts["Genus"]) == ("Yes", "1", "0")


def fact_other_formats_get_all_textures_beside_them():
    path = FOLDER / "textures" / "cat.obj"
    ob = import_glb(normal_map=True, occlusion=True, image="webp")
    files = formats.write_object(ob, path, "obj")
    names = {file.name for file in files}
    assert names == {"cat.obj", "cat.mtl", "cat_texture.webp", "cat_normal.png", "cat_occlusion.png"}
    assert "cat_normal.png" in (path.parent / "cat.mtl").read_text()


if __name__ == "__main__":
    write_known_glb(GLB, SIZE)
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the sidebar's operators that hold without a window too; as `facts.py`, in every Blender."""

import os
import shutil
import stat
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import addon
from addon import session, text
from addon.files.png import png_bytes
from addon.history_entry import Entry
from addon.jobs import State
from addon.results import delivery, keeping
from addon.results.record import read_record
from addon.sidebar import history_operators, sources
from addon.sidebar.sources import SourceError
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import FOLDER, RESULTS, SIZE, fresh, picture, refused

COLORS = np.array([[[200, 30, 10, 255], [0, 255, 0, 255]], [[0, 0, 255, 128], [255, 255, 255, 0]]], np.uint8)
"""Two by two pixels, top row first."""


def enabled(fact):
    """With the add-on and an empty history of its own, into which everything goes as in a window."""

    def run():
        addon.register()
        folder = FOLDER / "histories" / fact.__name__
        keeping.open_history(folder)
        delivery.on_imported.append(keeping.keep)
        try:
            fact()
        finally:
            addon.unregister()
            shutil.rmtree(folder, ignore_errors=True)

    run.__name__ = fact.__name__
    return run


def settings():
    return bpy.context.scene.gaussmith


def read_pixels(path: Path | str) -> np.ndarray:
    """A picture file as Blender reads it, [H, W, 4] uint8, top row first."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    values = np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)[::-1]
    bpy.data.images.remove(image)
    return np.round(values * 255).astype(np.uint8)


def image_of(pixels: np.ndarray, name: str = "Painted", **about) -> bpy.types.Image:
    image = bpy.data.images.new(name, pixels.shape[1], pixels.shape[0], alpha=True, **about)
    image.pixels.foreach_set((pixels[::-1] / 255).astype(np.float32).ravel())
    image.update()
    return image


def generated(name: str = "cat", **chosen) -> tuple[bpy.types.Object, Entry]:
    """An object that was made, and its entry in the history."""
    for key, value in chosen.items():
        setattr(settings(), key, value)
    settings().picture = str(picture(name))
    assert bpy.ops.gaussmith.generate() == {"FINISHED"}
    keeping.history().finish()
    return bpy.context.object, keeping.history().entries[0]


# ---------------------------------------------------------------------------
# Presets


@enabled
def fact_a_preset_sets_the_options_and_any_other_choice_is_custom():
    assert settings().preset == "STANDARD"
    settings().preset = "FINE"
    assert (settings().faces, settings().texture, settings().resolution) == (80_000, "2048", 384)
    settings().seed, settings().lods, settings().size = 7, 2, 3.0
    assert settings().preset == "FINE"
    settings().faces = 12_345
    assert settings().preset == "CUSTOM"
    settings().preset = "CUSTOM"
    assert settings().faces == 12_345
    settings().preset = "DRAFT"
    assert (settings().faces, settings().texture, settings().seed, settings().lods) == (5_000, "512", 7, 2)


# ---------------------------------------------------------------------------
# Where a picture comes from


@enabled
def fact_an_image_that_shows_its_file_is_that_file():
    path = FOLDER / "gâteau 1.png"
    path.write_bytes(png_bytes(COLORS))
    image = bpy.data.images.load(str(path))
    assert bpy.ops.gaussmith.use_image(image=image.name_full) == {"FINISHED"}
    assert Path(settings().picture) == path


@enabled
def fact_packed_painted_and_generated_images_become_files_with_their_pixels_and_stay_as_they_are():
    path = FOLDER / "packed.png"
    path.write_bytes(png_bytes(COLORS))
    packed = bpy.data.images.load(str(path))
    packed.pack()
    path.unlink()
    painted = image_of(COLORS)
    for image in (packed, painted):
        before = (image.source, image.filepath, image.is_dirty, image.file_format, len(bpy.data.images))
        assert bpy.ops.gaussmith.use_image(image=image.name_full) == {"FINISHED"}
        assert (image.source, image.filepath, image.is_dirty, image.file_format, len(bpy.data.images)) == before
        np.testing.assert_array_equal(read_pixels(settings().picture), COLORS)
    assert Path(settings().picture).stem == "Painted"
    assert Path(settings().picture).is_relative_to(keeping.history().folder)


@enabled
def fact_a_changed_image_is_taken_as_it_looks_not_as_its_file_is():
    path = FOLDER / "before.png"
    path.write_bytes(png_bytes(COLORS))
    image = bpy.data.images.load(str(path))
    image.pixels[0] = 1.0
    assert image.is_dirty
    changed = sources.from_image(image)
    assert changed != path
    assert read_pixels(changed)[1, 0, 0] == 255
    np.testing.assert_array_equal(read_pixels(path), COLORS)


@enabled
def fact_a_float_image_is_brought_from_linear_to_srgb():
    image = image_of(np.full((1, 1, 4), 255, np.uint8), "Linear", float_buffer=True)
    image.pixels[:] = (0.5, 0.0, 4.0, 1.0)
    np.testing.assert_array_equal(read_pixels(sources.from_image(image))[0, 0], [188, 0, 255, 255])


@enabled
def fact_an_image_without_pixels_is_refused_by_name():
    image = bpy.data.images.new("Gone", 4, 4)
    image.source, image.filepath = "FILE", "//nowhere.png"
    with refused(RuntimeError, "Gone", "no pixels"):
        bpy.ops.gaussmith.use_image(image="Gone")
    assert settings().picture == ""


@enabled
def fact_the_render_is_taken_as_it_looks_and_the_scenes_settings_stay():
    scene = bpy.context.scene
    with refused(RuntimeError, "rendered yet"):
        bpy.ops.gaussmith.use_render()
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    render = scene.render
    render.engine, render.resolution_x, render.resolution_y, render.film_transparent = "CYCLES", 16, 8, True
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    bpy.ops.render.render()
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_mode, render.image_settings.color_depth = "RGB", "32"
    before = [render.image_settings.file_format, render.image_settings.color_mode, render.image_settings.color_depth]
    assert bpy.ops.gaussmith.use_render() == {"FINISHED"}
    after = [render.image_settings.file_format, render.image_settings.color_mode, render.image_settings.color_depth]
    assert after == before
    pixels = read_pixels(settings().picture)
    assert pixels.shape == (8, 16, 4)
    assert not pixels[..., 3].any()
    assert Path(settings().picture).name == "render.png"


@enabled
def fact_a_camera_needs_a_window_and_the_sentence_says_so():
    with refused(SourceError, "needs a window"):
        sources.from_camera(bpy.context)
    with refused(RuntimeError, "no active camera"):
        bpy.ops.gaussmith.use_camera()


@enabled
def fact_a_path_on_the_clipboard_is_understood_as_people_and_programs_copy_it():
    path = FOLDER / "Bild mit Ümlaut & Zeichen 100%.PNG"
    path.write_bytes(b"a picture")
    for copied in (str(path), f' "{path}" ', f"'{path}'\n", path.as_uri(), f"copy\n{path.as_uri()}\n"):
        assert sources.picture_named(copied) == path, copied
    other = FOLDER / "notes.txt"
    other.write_text("no picture")
    for copied in ("", "hello", str(other), str(FOLDER), str(FOLDER / "no.png"), "x" * 100_000, "\0.png", "file://%%%"):
        assert sources.picture_named(copied) is None, copied[:50]


@enabled
def fact_pictures_are_known_by_their_first_bytes():
    assert sources.suffix_of(png_bytes(COLORS)) == ".png"
    assert sources.suffix_of(b"RIFF....WEBPVP8 ") == ".webp"
    assert sources.suffix_of(b"%PDF-1.7") == ""


# ---------------------------------------------------------------------------
# Generating


@enabled
def fact_a_script_gives_a_path_and_what_differs_from_the_scene():
    settings().faces, settings().size, settings().seed = 9_000, SIZE, 3
    path = picture("my cat")
    assert bpy.ops.gaussmith.generate_from_image(filepath=str(path), texture="512", lods=1) == {"FINISHED"}
    record = read_record(bpy.data.objects["my cat"])
    chosen = record["options"]
    assert (chosen["faces"], chosen["size"], chosen["texture"], chosen["lods"]) == (9_000, SIZE, 512, 1)
    assert (record["seed"], record["generator"]) == (3, settings().generator)
    assert settings().texture == "1024"
    assert "my cat_LOD1" in bpy.data.objects
    with refused(RuntimeError, "No picture was given"):
        bpy.ops.gaussmith.generate_from_image()


@enabled
def fact_variants_have_seeds_of_their_own_and_stand_in_a_row():
    settings().variants, settings().seed = 3, 5
    settings().picture = str(picture("cat"))
    bpy.ops.gaussmith.generate()
    made = sorted((ob for ob in bpy.data.objects if ob.type == "MESH"), key=lambda ob: ob.location.x)
    assert [read_record(ob)["seed"] for ob in made] == [5, 6, 7]
    assert [round(ob.location.x, 4) for ob in made] == [0, 1.25, 2.5]


@enabled
def fact_a_picture_deleted_between_the_click_and_the_start_fails_its_job_alone():
    gone, there = picture("gone"), picture("there")
    jobs = [session.submit_picture(path, bpy.context) for path in (gone, there)]
    gone.unlink()
    again = session.submit_picture(gone, bpy.context)
    assert again.error.code == "BAD_PICTURE"
    assert "gone.png" in again.error.message
    for job in jobs:
        session.wait(job, bpy.context)
    assert jobs[1].state is State.DONE
    assert "there" in bpy.data.objects


@enabled
def fact_a_job_that_failed_can_have_another_picture_and_keeps_its_settings():
    settings().seed, settings().faces = 4, 7_000
    job = session.submit_picture(picture("fail"), bpy.context)
    session.wait(job, bpy.context)
    assert job.error.code == "BAD_PICTURE"
    settings().seed, settings().faces = 0, 500
    good = picture("good")
    assert bpy.ops.gaussmith.retry_with_picture(job=job.id, filepath=str(good)) == {"FINISHED"}
    (again,) = session.jobs().jobs
    session.wait(again, bpy.context)
    assert again.state is State.DONE
    assert (again.request.seed, again.request.options["faces"]) == (4, 7_000)
    assert settings().picture == str(good)


@enabled
def fact_freeing_memory_ends_the_engine_and_tries_again_with_another():
    job = session.submit_picture(picture("memory"), bpy.context)
    session.wait(job, bpy.context)
    assert job.error.code == "OUT_OF_MEMORY"
    first = session.jobs().engine.pid
    assert bpy.ops.gaussmith.free_memory(job=job.id) == {"FINISHED"}
    (again,) = session.jobs().jobs
    session.wait(again, bpy.context)
    assert again.request.picture == job.request.picture
    assert session.jobs().engine.pid != first


@enabled
def fact_a_relative_picture_in_a_file_never_saved_is_told():
    settings().picture = "//cat.png"
    with refused(RuntimeError, "never saved"):
        bpy.ops.gaussmith.generate()


@enabled
def fact_a_read_only_file_is_no_hindrance_and_stays_as_it_is():
    path = FOLDER / "read only.blend"
    picture("cat")
    settings().picture = "//cat.png"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    path.chmod(stat.S_IREAD)
    before = path.read_bytes()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(path))
        assert bpy.ops.gaussmith.generate() == {"FINISHED"}
        assert "cat" in bpy.data.objects
        keeping.history().finish()
        assert Path(keeping.history().entries[0].picture) == FOLDER / "cat.png"
        assert path.read_bytes() == before
    finally:
        path.chmod(stat.S_IREAD | stat.S_IWRITE)


@enabled
def fact_a_scene_whose_collections_are_all_excluded_gets_its_mesh():
    collection = bpy.data.collections.new("Excluded")
    bpy.context.scene.collection.children.link(collection)
    layer = bpy.context.view_layer.layer_collection.children["Excluded"]
    bpy.context.view_layer.active_layer_collection = layer
    layer.exclude = True
    _, entry = generated()
    made = bpy.data.objects["cat"]
    assert made.users_collection
    assert made.users_scene
    assert entry.name == "cat"


NAMES = ("🫖 teapot", "猫", "قطة", "e\u0301 combining", "a'b & c", "-o", "100%", "x" * 100, "con", "..hidden")


@enabled
def fact_pictures_of_any_name_become_meshes_and_entries():
    for name in NAMES:
        ob, entry = generated(name)
        assert entry.name == name, entry.name
        assert Path(entry.files["mesh"]).is_file()
        assert read_record(bpy.data.objects[ob.name])["picture"] == str(FOLDER / f"{name}.png")
    assert len(keeping.history().entries) == len(NAMES)
    if sys.platform != "win32":
        raw = os.path.join(os.fsencode(FOLDER), b"latin \xe9.png")
        Path(os.fsdecode(raw)).write_bytes(b"the fake engine looks at the name only")
        job = session.submit_picture(Path(os.fsdecode(raw)), bpy.context)
        session.wait(job, bpy.context)
        keeping.history().finish()
        assert job.state in (State.DONE, State.FAILED), job.state
        assert keeping.history().entries[0].name.isprintable()


@enabled
def fact_sizes_are_told_in_units_people_know():
    sizes = {0: "0.0 MB", 340_000: "0.3 MB", 12.4e6: "12 MB", 999.4e6: "999 MB", 999.9e6: "1.0 GB", 5.04e9: "5.0 GB"}
    assert {size: text.amount(size) for size in sizes} == sizes


@enabled
def fact_time_is_told_exactly_where_short_and_roundly_where_long():
    spans = {0.2: "1 s", 12.4: "12 s", 59.6: "1 min", 170: "3 min", 3_580: "1 h 0 min", 7_500: "2 h 5 min"}
    assert {seconds: text.duration(seconds) for seconds in spans} == spans


@enabled
def fact_every_class_of_buttons_has_words_for_what_it_does():
    names = [name for name in dir(bpy.types) if name.startswith("GAUSSMITH_OT_")]
    assert len(names) > 20
    for name in names:
        operator = getattr(bpy.types, name)
        assert len(operator.bl_rna.description or operator.__doc__ or "") > 10, name
        assert operator.bl_label.strip(), name
    assert history_operators.GAUSSMITH_OT_import_entry.bl_options == {"INTERNAL", "UNDO"}


if __name__ == "__main__":
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

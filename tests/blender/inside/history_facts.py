# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the history that hold without a window too; as `facts.py`, in every Blender."""

import json
import shutil
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import addon
from addon import engine_life, session
from addon.files.png import png_bytes
from addon.jobs import State
from addon.results import keeping
from addon.results.record import read_record
from addon.sidebar import history_panel
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import FOLDER, RESULTS, SIZE, assert_known, fresh, picture, refused
from tests.blender.inside.sidebar_facts import COLORS, enabled, generated, settings


@enabled
def fact_a_mesh_comes_out_of_the_history_as_it_went_in_any_number_of_times():
    _, entry = generated(size=SIZE, seed=9)
    fresh()
    for number in range(2):
        bpy.context.scene.cursor.location = (number, 2, 1)
        assert bpy.ops.gaussmith.import_entry(entry=entry.id) == {"FINISHED"}
    first, second = (bpy.data.objects[name] for name in ("cat", "cat.001"))
    bpy.context.view_layer.update()
    assert_known(first)
    assert tuple(second.location) == (1, 2, 1)
    assert read_record(first)["seed"] == 9
    keeping.history().finish()
    assert keeping.history().entries == (entry,)
    assert Path(entry.files["mesh"]).is_file()


@enabled
def fact_making_it_again_takes_the_settings_and_the_seed_of_then_or_another():
    _, entry = generated(seed=9, faces=3_000)
    settings().faces, settings().seed = 500, 1
    bpy.ops.gaussmith.regenerate_entry(entry=entry.id)
    bpy.ops.gaussmith.regenerate_entry(entry=entry.id, new_seed=True)
    keeping.history().finish()
    other, same, first = keeping.history().entries
    assert (same.seed, same.options) == (first.seed, first.options)
    assert same.options["faces"] == 3_000
    assert other.seed not in (1, 9)
    assert (same.name, other.name) == ("cat", "cat")


@enabled
def fact_it_can_be_made_again_when_the_picture_is_gone():
    _, entry = generated("vanished")
    (FOLDER / "vanished.png").unlink()
    assert bpy.ops.gaussmith.regenerate_entry(entry=entry.id) == {"FINISHED"}
    assert "vanished.001" in bpy.data.objects


@enabled
def fact_splats_are_kept_and_made_again_too():
    path = FOLDER / "statue.spz"
    path.write_bytes(b"the fake engine looks at the name only")
    bpy.ops.gaussmith.import_splats(filepath=str(path), faces=700)
    keeping.history().finish()
    (entry,) = keeping.history().entries
    assert (entry.splats, entry.picture, entry.options["faces"]) == (str(path), "", 700)
    assert bpy.ops.gaussmith.regenerate_entry(entry=entry.id) == {"FINISHED"}
    assert "statue.001" in bpy.data.objects


@enabled
def fact_a_damaged_or_missing_file_is_told_and_makes_nothing():
    _, entry = generated()
    fresh()
    Path(entry.files["mesh"]).write_bytes(b"glTF")
    with refused(RuntimeError, "cat cannot be imported"):
        bpy.ops.gaussmith.import_entry(entry=entry.id)
    shutil.rmtree(Path(entry.files["mesh"]).parent)
    with refused(RuntimeError, "cat cannot be imported"):
        bpy.ops.gaussmith.import_entry(entry=entry.id)
    with refused(RuntimeError, "is gone"):
        bpy.ops.gaussmith.reveal_entry(entry=entry.id)
    assert not bpy.data.objects


@enabled
def fact_a_hostile_entry_is_made_again_with_settings_that_exist():
    _, entry = generated()
    file = Path(entry.files["mesh"]).parent / "entry.json"
    content = json.loads(file.read_text())
    hostile = {"size": "large", "faces": [1], "watertight": 1, "lods": True, "command": "rm -rf /", "texture": 512}
    content |= {"options": hostile, "name": "\x1b[31m\n" * 100}
    file.write_text(json.dumps(content))
    keeping.open_history(keeping.history().folder).finish()
    (read,) = keeping.history().entries
    assert read.name.isprintable()
    assert bpy.ops.gaussmith.regenerate_entry(entry=read.id) == {"FINISHED"}
    keeping.history().finish()
    again = keeping.history().entries[0].options
    assert (again["size"], again["faces"], again["watertight"], again["lods"]) == (1.0, 20_000, False, 0)
    assert again["texture"] == 512
    assert "command" not in again


@enabled
def fact_deleting_an_entry_leaves_the_object_and_the_users_picture():
    ob, entry = generated()
    assert bpy.ops.gaussmith.delete_entry(entry=entry.id) == {"FINISHED"}
    keeping.history().finish()
    assert keeping.history().entries == ()
    assert not Path(entry.files["mesh"]).exists()
    assert bpy.data.objects["cat"] == ob
    assert (FOLDER / "cat.png").is_file()
    assert bpy.ops.gaussmith.delete_entry(entry=entry.id) == {"CANCELLED"}


@enabled
def fact_what_was_never_imported_is_there_in_the_next_blender():
    job = session.submit_picture(picture("finished"), bpy.context)
    session.jobs().wait(job)
    assert job.state is State.READY
    folder = keeping.history().folder
    addon.unregister()
    addon.register()
    keeping.open_history(folder).finish()
    (entry,) = keeping.history().entries
    assert entry.name == "finished"
    assert "Never imported: 1" in history_panel.words_about((entry,))
    assert bpy.ops.gaussmith.import_entry(entry=entry.id) == {"FINISHED"}
    assert "finished" in bpy.data.objects
    keeping.history().finish()
    assert keeping.history().marks(entry.id).imported
    assert "Never imported" not in history_panel.words_about((entry,))


@enabled
def fact_deleting_all_leaves_what_is_kept_and_every_object():
    _, first = generated("first")
    _, second = generated("second")
    _, third = generated("third")
    assert bpy.ops.gaussmith.pin_entry(entry=second.id) == {"FINISHED"}
    shown = history_panel.words_about(keeping.history().loose()).splitlines()
    assert shown[0].startswith("Meshes: 2, "), shown
    assert shown[1:] == ["Kept: 1"]
    assert bpy.ops.gaussmith.delete_all_entries(asked=first.id) == {"FINISHED"}
    assert keeping.history().entries == (third, second)  # the third came after the question
    assert bpy.ops.gaussmith.delete_all_entries() == {"FINISHED"}
    keeping.history().finish()
    assert keeping.history().entries == (second,)
    assert [Path(entry.files["mesh"]).is_file() for entry in (first, second, third)] == [False, True, False]
    assert {"first", "second", "third"} <= set(bpy.data.objects.keys())
    with refused(RuntimeError, "nothing that could be deleted"):
        bpy.ops.gaussmith.delete_all_entries()
    assert bpy.ops.gaussmith.pin_entry(entry=second.id) == {"FINISHED"}
    assert bpy.ops.gaussmith.delete_all_entries() == {"FINISHED"}
    assert keeping.history().entries == ()


@enabled
def fact_beyond_the_limit_of_the_preferences_the_oldest_go_once_the_user_agreed():
    history, panel = keeping.history(), bpy.types.GAUSSMITH_PT_full_history
    assert history.limit == 5_000_000_000
    entries = [generated(name)[1] for name in ("first", "second", "third")]
    keeping.history().note_import(entries[0].id)
    limit = engine_life.DEFAULTS["history_gigabytes"]
    try:
        assert not panel.poll(bpy.context)
        engine_life.DEFAULTS["history_gigabytes"] = history.used * 0.6e-9
        keeping.limit_changed()
        assert panel.poll(bpy.context)
        assert bpy.ops.gaussmith.make_room() == {"FINISHED"}
        history.finish()
        assert not panel.poll(bpy.context)
        assert history.entries == (entries[2],)
        assert {"first", "second", "third"} <= set(bpy.data.objects.keys())
        _, fourth = generated("fourth")
        history.finish()
        assert history.entries == (fourth,)
    finally:
        engine_life.DEFAULTS["history_gigabytes"] = limit


@enabled
def fact_a_mesh_that_waits_to_be_imported_and_a_picture_in_the_well_outlive_the_history():
    settings().picture = str(keeping.history().keep_picture(png_bytes(COLORS), "pasted.png"))
    assert bpy.ops.gaussmith.generate() == {"FINISHED"}
    job = session.submit_picture(picture("waits"), bpy.context)
    session.jobs().wait(job)
    assert job.state is State.READY
    assert {job.id, job.request.picture, settings().picture} <= keeping.in_use()
    assert bpy.ops.gaussmith.delete_all_entries() == {"FINISHED"}
    keeping.history().finish()
    assert keeping.history().entries == ()
    assert Path(settings().picture).is_file()
    session.import_ready(job, bpy.context)
    assert "waits" in bpy.data.objects


if __name__ == "__main__":
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

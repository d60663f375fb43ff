# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the scripting interface, without a window; called as `facts.py` is. The engine is the fake one."""

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from addon import api, session
from addon.results.record import read_record
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import FOLDER, RESULTS, enabled, fresh, picture, refused


@enabled
def fact_a_submitted_job_goes_on_while_the_script_does_other_things():
    job = api.submit(picture("cat"))
    assert job.active
    assert api.wait(job) is job
    assert not job.active
    assert job.result.report["watertight"] is True
    assert not bpy.data.objects
    (ob,) = api.result(job)
    assert (ob.name, ob.type) == ("cat", "MESH")
    assert api.result(job) == [ob]  # it is made once


@enabled
def fact_options_reach_the_engine_and_the_scene_has_no_say():
    bpy.context.scene.gaussmith.faces = 777
    bpy.context.scene.gaussmith.origin = "CENTER"
    bpy.context.scene.cursor.location = (1, 2, 3)
    objects = api.generate(picture("cat"), name="Katze", seed=7, faces=5000, lods=1, texture=512)
    assert [ob.name for ob in objects] == ["Katze", "Katze_LOD1"]
    assert tuple(objects[0].location) == (1, 2, 3)
    record = read_record(objects[0])
    assert record["seed"] == 7
    assert (record["options"]["faces"], record["options"]["texture"]) == (5000, 512)
    (other,) = api.generate(picture("dog"), location=(4, 5, 6))
    assert read_record(other)["options"]["faces"] == 20_000
    assert tuple(other.location) == (4, 5, 6)


@enabled
def fact_splats_are_told_by_their_file():
    path = FOLDER / "statue.spz"
    path.write_bytes(b"")
    (ob,) = api.generate(path, up="z", crop=(-1, -1, -1, 1, 1, 1), keep_frame=True)
    assert read_record(ob)["options"]["crop"] == [-1, -1, -1, 1, 1, 1]
    assert read_record(ob)["splats"] == str(path)
    with refused(ValueError, "no option 'seed' for this file"):
        api.submit(path, seed=3)


@enabled
def fact_many_jobs_wait_in_a_queue_and_keep_their_order():
    jobs = [api.submit(picture(f"cat {number}"), location=(number, 0, 0)) for number in range(4)]
    objects = [api.result(job)[0] for job in reversed(jobs)]
    assert [ob.name for ob in objects] == ["cat 3", "cat 2", "cat 1", "cat 0"]
    assert [ob.location.x for ob in objects] == [3, 2, 1, 0]


@enabled
def fact_a_failure_is_an_exception_with_a_code_and_what_to_do():
    job = api.submit(picture("fail"))
    with refused(api.GenerationError, "fail is not a picture", "Choose a PNG"):
        api.wait(job)
    try:
        api.result(job)
    except api.GenerationError as error:
        code = error.code
    assert code == "BAD_PICTURE"
    with refused(api.GenerationError, "There is no file"):
        api.generate(FOLDER / "nowhere.png")
    with refused(api.GenerationError, "ended unexpectedly"):
        api.generate(picture("crash"))
    assert api.generate(picture("cat"))  # a new engine was started


@enabled
def fact_a_timeout_leaves_the_job_alone_and_a_cancelled_one_says_so():
    job = api.submit(picture("slow"))
    with refused(TimeoutError, "slow is not finished after 0.3 s"):
        api.wait(job, 0.3)
    assert job.active
    api.cancel(job)
    with refused(api.GenerationError, "cancelled"):
        api.wait(job)


@enabled
def fact_options_out_of_range_are_refused_before_anything_happens():
    path = picture("cat")
    for wanted, words in (
        ({"face": 5}, "There is no option 'face' for this file. Options are faces, texture"),
        ({"faces": 5}, "faces is 5. Choose it from 100 to 1,000,000."),
        ({"faces": 2000.5}, "expected a whole number"),
        ({"faces": True}, "expected a whole number"),
        ({"faces": "2000"}, "expected a whole number"),
        ({"watertight": 1}, "expected True or False"),
        ({"size": float("nan")}, "size is nan"),
        ({"topology": "hexes"}, "Choose one of triangles, quads."),
        ({"texture": 32}, "texture is 32. Choose it from 64 to 8,192."),
        ({"origin": "TOP"}, "origin is 'TOP'. Choose one of BASE, CENTER, MASS."),
        ({"as_asset": "yes"}, "expected True or False"),
    ):
        with refused(ValueError, words):
            api.submit(path, **wanted)
    assert not session.jobs().jobs
    with refused(ValueError, "crop is (1, 2), expected x0"):
        api.submit(FOLDER / "statue.spz", crop=(1, 2))


@enabled
def fact_results_are_as_chosen():
    (ob,) = api.generate(picture("cat"), origin="CENTER", as_asset=True, asset_author="Me", asset_tags="a, b")
    assert ob.location.z > 0.4
    assert ob.asset_data.author == "Me"
    assert {tag.name for tag in ob.asset_data.tags} == {"a", "b"}


@enabled
def fact_a_mesh_can_be_replaced_under_an_object_that_stays():
    (ob,) = api.generate(picture("cat"))
    ob.location = (7, 8, 9)
    before = ob.data.name
    assert api.generate(picture("slowish"), replace_object=ob.name)[0] == ob
    assert tuple(ob.location) == (7, 8, 9)
    assert ob.data.name != before or read_record(ob)["picture"].endswith("slowish.png")


@enabled
def fact_objects_deleted_since_are_left_out_and_renamed_ones_found():
    job = api.submit(picture("cat"), lods=1)
    mesh, level = api.result(job)
    bpy.data.objects.remove(level)
    mesh.name = "Another Name"
    assert api.result(job) == [mesh]


@enabled
def fact_option_names_come_with_their_defaults():
    known = api.option_names()
    assert (known["faces"], known["texture"], known["seed"], known["origin"]) == (20_000, 1024, 0, "BASE")
    assert "up" in api.option_names("statue.ply")
    assert "seed" not in api.option_names("statue.ply")
    api.generate(picture("cat"), **known)


def fact_without_the_add_on_it_says_what_to_do():
    with refused(RuntimeError, "Enable the add-on"):
        api.submit("cat.png")


@enabled
def fact_every_property_and_operator_is_described_and_lengths_have_units():
    operators = [getattr(bpy.ops.gaussmith, name).get_rna_type() for name in dir(bpy.ops.gaussmith)]
    settings = bpy.types.Scene.bl_rna.properties["gaussmith"].fixed_type
    lacking = [kind.identifier for kind in operators if not kind.description]
    seen = 0
    for kind in (*operators, settings):
        for prop in kind.properties:
            if prop.identifier in ("rna_type", "name") or prop.is_hidden:
                continue
            seen += 1
            what = f"{kind.identifier}.{prop.identifier}"
            if not (prop.name and prop.description):
                lacking.append(what)
            if prop.identifier == "size" and prop.unit != "LENGTH":
                lacking.append(f"{what} has no unit")
            if "angle" in prop.identifier and prop.unit != "ROTATION":
                lacking.append(f"{what} has no unit")
    assert seen > 30
    assert not lacking, lacking


if __name__ == "__main__":
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

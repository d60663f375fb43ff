# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about every state of the job machine in a real window, driven by the fake engine's faults.

`window_facts.py` runs them with its own, in one window.
"""

import os
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.belongings import Timers, belongings, differences
from tests.blender.inside.windowing import (
    FOLDER,
    MODULE,
    call,
    ended,
    fresh,
    generate,
    jobs,
    objects,
    part,
    screenshot,
    show_sidebar,
    state,
    view,
    window,
)

FAULTS = {  # picture -> code of the error that is told
    "crash": "ENGINE_DIED",
    "killed": "ENGINE_DIED",
    "garbage": "BAD_MESSAGE",
    "fail": "BAD_PICTURE",
    "memory": "OUT_OF_MEMORY",
    "disk": "CANNOT_WRITE",
    "damaged": "BAD_RESULT",
    "lost": "BAD_RESULT",
}
STARTS = {"die": "ENGINE_DIED", "protocol": "OTHER_PROTOCOL", "rude": "BAD_MESSAGE"}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def the_next_job_works():
    job = generate("cat")
    yield ended(job)
    assert state(job) == "DONE", job.error
    assert "cat" in objects()


def fact_every_fault_is_told_with_what_to_try_leaves_no_object_and_the_next_job_works():
    before = objects()
    for picture, code in FAULTS.items():
        job = generate(picture)
        yield ended(job)
        assert (state(job), job.error.code) == ("FAILED", code), (picture, state(job), job.error)
        assert job.error.message.endswith((".", ").")), job.error
        assert job.error.hint, job.error
        assert objects() == before, picture
        yield 0.3
        screenshot(f"panel-{picture}")
        part("session").jobs().forget(job)
    yield from the_next_job_works()


def fact_an_engine_that_cannot_start_is_told_and_one_that_can_is_started_for_the_next_job():
    before = objects()
    for start, code in STARTS.items():
        jobs().stop()
        os.environ["GAUSSMITH_FAKE"] = start
        try:
            job = generate("cat")
            yield ended(job)
        finally:
            os.environ["GAUSSMITH_FAKE"] = ""
        assert (state(job), job.error.code) == ("FAILED", code), (start, state(job), job.error)
        assert objects() == before
        yield 0.3
        screenshot(f"panel-start-{start}")
        part("session").jobs().forget(job)
    yield from the_next_job_works()


def fact_an_engine_that_hangs_can_be_cancelled_and_is_gone_in_seconds():
    job = generate("frozen")
    yield lambda: state(job) == "RUNNING" and job.fraction > 0
    pid = jobs().engine.pid
    begin = time.monotonic()
    call(bpy.ops.gaussmith.cancel, job=job.id)
    assert job.cancelling
    yield 0.3
    screenshot("panel-cancelling")
    yield ended(job)
    assert state(job) == "CANCELLED"
    yield lambda: not alive(pid)
    assert time.monotonic() - begin < 30  # 8 where nothing else is at work
    yield from the_next_job_works()


def fact_a_warning_on_the_way_is_shown_with_the_result():
    job = generate("notice")
    yield ended(job)
    assert state(job) == "DONE"
    assert len(job.notices) == 1
    yield 0.3
    screenshot("panel-notice")


def fact_a_queue_is_shown_and_all_of_it_can_be_cancelled():
    before = objects()
    made = [generate("slow"), *(generate("cat") for _ in range(6))]
    yield lambda: made[0].fraction > 0.2
    screenshot("panel-queue")
    for job in reversed(made):
        call(bpy.ops.gaussmith.cancel, job=job.id)
    yield lambda: not jobs().busy
    assert {state(job) for job in made} == {"CANCELLED"}
    assert objects() == before


def fact_undo_during_a_job_takes_nothing_from_it():
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo_push(message="something of the user's")
    for stage in ("QUEUED", "RUNNING"):
        job = generate("slow" if stage == "RUNNING" else "cat")
        if stage == "RUNNING":
            yield lambda job=job: job.fraction > 0.2
        with bpy.context.temp_override(window=window()):
            bpy.ops.ed.undo()
        yield ended(job)
        assert state(job) == "DONE", job.error
        assert job.name in objects()


def fact_another_file_opened_before_a_job_starts_or_when_it_is_ready_gets_nothing_unasked():
    for stage in ("QUEUED", "READY"):
        job = generate("cat")
        if stage == "READY":  # in edit mode results wait
            window().view_layer.objects.active = bpy.data.objects["Cube"]
            with bpy.context.temp_override(window=window()):
                bpy.ops.object.mode_set(mode="EDIT")
            yield lambda job=job: state(job) == "READY"
        yield from fresh()
        before = objects()
        yield lambda job=job: state(job) == "READY"
        yield 0.4
        assert objects() == before, stage
        call(bpy.ops.gaussmith.import_result, job=job.id)
        assert state(job) == "DONE"
        assert objects() - before == {job.name}


def fact_a_result_needs_no_collection_in_the_view_layer():
    """The user switched every collection off: the object goes where the active collection is, and is there."""
    for child in window().view_layer.layer_collection.children:
        child.exclude = True
    job = generate("cat")
    yield ended(job)
    assert state(job) == "DONE", job.error
    assert "cat" in objects()


def fact_enabling_and_disabling_three_times_leaves_nothing():
    job = generate("cat")
    yield ended(job)
    yield 0.5  # what was still being written is written
    bpy.ops.preferences.addon_disable(module=MODULE)
    with Timers() as timers:
        before = belongings()
        for _ in range(3):
            bpy.ops.preferences.addon_enable(module=MODULE)
            yield from show_sidebar()
            job = generate("slow")
            yield lambda job=job: job.fraction > 0.1
            pid = jobs().engine.pid
            assert differences(before, belongings())
            bpy.ops.preferences.addon_disable(module=MODULE)
            assert not alive(pid)
            yield 0.3
        left = differences(before, belongings())
        assert not left, left
        assert timers.left() == []
    assert not hasattr(bpy.types.Scene, "gaussmith")
    bpy.ops.preferences.addon_enable(module=MODULE)
    yield from show_sidebar()
    yield from the_next_job_works()


def fact_the_panel_reads_well_in_other_languages_and_at_twice_the_size():
    preferences = bpy.context.preferences
    part("sidebar.thumbnails").load(str(FOLDER / "cat.png"))
    try:
        for language in ("de_DE", "ja_JP"):
            preferences.view.language = language
            preferences.view.use_translate_interface = preferences.view.use_translate_tooltips = True
            job = generate("memory")
            yield ended(job)
            told = part("translations").told
            assert told("Try Again") != "Try Again"
            assert told(job.error.hint) != job.error.hint
            yield 0.5
            screenshot(f"panel-{language}")
            jobs().forget(job)
        preferences.view.language = "en_US"
        preferences.view.ui_scale = 2.0
        yield 0.5
        yield from show_sidebar()
        job = generate("slow")
        yield lambda: job.fraction > 0.4
        screenshot("panel-twice")
        yield ended(job)
    finally:
        preferences.view.language = "en_US"
        preferences.view.ui_scale = 1.0
    assert view().spaces.active.show_region_ui

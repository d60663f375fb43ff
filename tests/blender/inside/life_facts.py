# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the engine's life and its jobs, whatever the user does to the file meanwhile; in every Blender.

There are no timers without a window: what the timer calls is called here, again and again, as in a window.
"""

import gc
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from addon import engine_life, session, turns
from addon.jobs import State
from addon.turns import Turns, turns_folder
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import FOLDER, RESULTS, enabled, fresh, picture, refused
from tests.fakes.fake_engine import CARD, FAKE_MEMORY

JOBS_IN_A_ROW = 200
GROWTH_ALLOWED = 20e6


def submit(name: str):
    return session.submit_picture(picture(name), bpy.context)


def tick_until(condition, seconds: float = 90.0) -> float:
    """Calls the timer's function until something is true; returns the longest call in seconds."""
    end, longest = time.monotonic() + seconds, 0.0
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        begin = time.monotonic()
        session._tick()
        longest = max(longest, time.monotonic() - begin)
        time.sleep(0.01)
    return longest


def finish(job) -> None:
    tick_until(lambda: not job.active and job.state is not State.READY)


@contextmanager
def preferences(**values):
    """Our preferences, of which Blender has no entry here."""
    before = dict(engine_life.DEFAULTS)
    engine_life.DEFAULTS.update(values)
    try:
        yield
    finally:
        engine_life.DEFAULTS.update(before)


@contextmanager
def fake(fault: str):
    os.environ["GAUSSMITH_FAKE"] = fault
    try:
        yield
    finally:
        os.environ["GAUSSMITH_FAKE"] = ""


# ---------------------------------------------------------------------------
# A file is loaded, or a scene taken away, at every stage of a job

STAGES = {
    "queued": lambda job: job.state is State.QUEUED,
    "starting": lambda job: job.state is State.STARTING,
    "running": lambda job: job.state is State.RUNNING,
    "half done": lambda job: job.stage == "density",
    "cancelling": lambda job: job.cancelling,
}


def at_each(stages, then) -> None:
    """Does something to the file while a job is at each of these stages, and looks at what became of the job."""
    for stage in stages:
        reached = STAGES[stage]
        fresh()
        if stage == "starting":
            session.jobs().stop()
        job = submit("slow" if stage in ("half done", "cancelling") else "cat")
        if stage == "cancelling":
            tick_until(lambda job=job: job.state is State.RUNNING)
            session.jobs().cancel(job)
        tick_until(lambda reached=reached, job=job: reached(job))
        then(job)
        tick_until(lambda job=job: not job.active)
        for _ in range(3):
            session._tick()
        expected = State.CANCELLED if stage == "cancelling" else State.READY
        assert job.state is expected, (stage, job.state, job.error)
        assert not bpy.data.objects, stage  # nothing appeared unasked
        if job.state is State.READY:
            bpy.ops.gaussmith.import_result(job=job.id)
            assert job.state is State.DONE
            assert len(bpy.data.objects) == 1
        session.jobs().forget(job)


@enabled
def fact_another_file_gets_nothing_unasked_at_whatever_stage_it_is_loaded():
    path = str(FOLDER / "other.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    at_each(STAGES, lambda _job: bpy.ops.wm.open_mainfile(filepath=path))


@enabled
def fact_a_new_file_gets_nothing_unasked():
    at_each(("queued", "starting", "running"), lambda _job: fresh())


@enabled
def fact_a_file_that_cannot_be_loaded_changes_nothing():
    (FOLDER / "broken.blend").write_bytes(b"this is no file of Blender's")
    job = submit("cat")
    tick_until(lambda: job.state is State.RUNNING)
    with refused(RuntimeError, "broken.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "broken.blend"))
    finish(job)
    assert job.state is State.DONE, job.error
    assert [ob.name for ob in bpy.data.objects] == ["cat"]


@enabled
def fact_a_result_whose_scene_was_removed_waits_for_a_click():
    home = bpy.context.scene
    job = submit("cat")
    tick_until(lambda: job.state is State.RUNNING)
    bpy.context.window.scene = bpy.data.scenes.new("Elsewhere")
    bpy.data.scenes.remove(home)
    tick_until(lambda: job.state is State.READY)
    session._tick()
    assert not bpy.data.objects
    bpy.ops.gaussmith.import_result(job=job.id)
    assert [ob.name for ob in bpy.context.scene.objects] == ["cat"]


@enabled
def fact_a_picture_deleted_before_its_turn_is_told_and_the_next_job_works():
    first, second, third = submit("slow"), submit("fleeting"), submit("cat")
    tick_until(lambda: first.state is State.RUNNING)
    (FOLDER / "fleeting.png").unlink()
    session.jobs().cancel(first)
    finish(third)
    assert (second.state, second.error.code) == (State.FAILED, "BAD_PICTURE")
    assert third.state is State.DONE


# ---------------------------------------------------------------------------
# What is left behind


@enabled
def fact_whatever_becomes_of_jobs_their_files_are_cleared_away():
    folder = session._session.folder
    for name in ("cat", "fail", "crash", "damaged", "lost"):
        finish(submit(name))
    job = submit("slow")
    tick_until(lambda: job.state is State.RUNNING)
    session.jobs().cancel_all()
    finish(job)
    assert list(folder.iterdir()) == []
    session.submit_picture(FOLDER / "none.png", bpy.context)
    session._tick()
    assert list(folder.iterdir()) == []


@enabled
def fact_a_temporary_folder_that_cannot_be_written_fails_the_job_with_a_sentence():
    (FOLDER / "a file").write_text("")
    session._session.folder = FOLDER / "a file" / "jobs"
    job = submit("cat")
    assert (job.state, job.error.code) == (State.FAILED, "CANNOT_WRITE")
    assert job.error.hint
    session._tick()


@enabled
def fact_a_failure_of_our_own_fails_the_job_and_the_timer_goes_on():
    job = submit("slow")
    tick_until(lambda: job.state is State.RUNNING)
    working, engine_life.pump = engine_life.pump, lambda _now: 1 / 0
    stderr, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: SIM115
    try:
        assert session._tick() is not None
    finally:
        engine_life.pump, sys.stderr = working, stderr
    assert (job.state, job.error.code) == (State.FAILED, "INTERNAL")
    assert "ZeroDivisionError" in job.error.detail
    after = submit("cat")
    finish(after)
    assert after.state is State.DONE, after.error


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@enabled
def fact_two_hundred_jobs_in_a_row_leave_blender_as_large_as_it_was():
    """Each result is imported and removed again; the first jobs warm the allocators up."""
    settings = bpy.context.scene.gaussmith
    settings.picture = str(picture("quick"))

    images = [image.name for image in bpy.data.images]

    def job() -> None:
        bpy.ops.gaussmith.generate()
        assert "quick" in bpy.data.objects
        bpy.data.batch_remove([bpy.data.objects["quick"]])
        bpy.data.orphans_purge(do_recursive=True)

    for _ in range(20):
        job()
    gc.collect()
    before, threads, jobs = memory(), threading.active_count(), len(session.jobs().jobs)
    for _ in range(JOBS_IN_A_ROW):
        job()
    gc.collect()
    grown = memory() - before
    print(f"{JOBS_IN_A_ROW} jobs: {grown / 1e6:+.1f} MB", flush=True)
    assert grown < GROWTH_ALLOWED, f"{grown / 1e6:.1f} MB"
    assert (threading.active_count(), len(session.jobs().jobs)) == (threads, jobs)
    left = [each.name for each in (*bpy.data.meshes, *bpy.data.materials, *bpy.data.images)]
    assert left == images


# ---------------------------------------------------------------------------
# The engine's life


@enabled
def fact_the_engine_starts_with_the_first_job_and_stays_for_the_next():
    assert engine_life.facts() == {"state": "STOPPED"}
    finish(submit("cat"))
    told = engine_life.facts()
    assert (told["state"], told["version"], told["device"]) == ("IDLE", "fake", "cpu")
    finish(submit("dog"))
    assert engine_life.facts()["pid"] == told["pid"]


@enabled
def fact_the_engine_tells_its_memory():
    often, engine_life.ASK_SECONDS = engine_life.ASK_SECONDS, 0.1
    try:
        finish(submit("cat"))
        tick_until(lambda: "memory" in engine_life.facts())
    finally:
        engine_life.ASK_SECONDS = often
    told = engine_life.facts()
    assert (told["memory"], told["networks"]) == (FAKE_MEMORY, ["agg"])


@enabled
def fact_an_idle_engine_is_unloaded_after_the_chosen_time_and_the_next_job_starts_it_again():
    with preferences(idle_minutes=0):
        finish(submit("cat"))
        session.jobs().idle_since -= 3600
        session._tick()
        assert engine_life.facts()["state"] == "IDLE"  # 0 keeps it loaded
    with preferences(idle_minutes=5):
        session.jobs().idle_since = time.monotonic() - 299
        session._tick()
        pid = engine_life.facts()["pid"]
        os.kill(pid, signal.SIGSTOP)  # it does not leave by itself
        session.jobs().idle_since -= 2
        assert tick_until(lambda: engine_life.facts()["state"] == "STOPPED") < 2  # nobody waits for its end
        assert not Path(f"/proc/{pid}").exists()
        job = submit("cat")
        finish(job)
        assert job.state is State.DONE, job.error


@enabled
def fact_the_engine_is_unloaded_by_a_button_that_is_off_where_there_is_nothing_to_unload():
    assert not bpy.ops.gaussmith.unload.poll()
    job = submit("slow")
    tick_until(lambda: job.state is State.RUNNING)
    assert not bpy.ops.gaussmith.unload.poll()
    session.jobs().cancel(job)
    finish(job)
    assert bpy.ops.gaussmith.unload() == {"FINISHED"}
    tick_until(lambda: engine_life.facts()["state"] == "STOPPED")


@enabled
def fact_a_silent_engine_is_given_up_after_the_chosen_time():
    with preferences(patience_minutes=0.005):
        job = submit("hang")
        finish(job)
        assert (job.state, job.error.code) == (State.FAILED, "TIMEOUT")
        bpy.context.scene.gaussmith.picture = str(picture("hang"))
        with refused(RuntimeError, "The engine said nothing"):
            bpy.ops.gaussmith.generate()


@enabled
def fact_another_protocol_is_told_and_remembered_and_a_good_start_forgets_it():
    engine_life.check()
    tick_until(lambda: engine_life.engine_state().kind == "READY")
    with fake("protocol"):
        job = submit("cat")
        finish(job)
    assert job.error.code == "OTHER_PROTOCOL"
    assert engine_life.engine_state().kind == "TROUBLE"
    assert "protocol 99" in engine_life.engine_state().message
    finish(submit("cat"))
    assert engine_life.engine_state().kind == "READY"


@enabled
def fact_a_blender_waits_for_another_on_the_same_card_and_says_for_whom():
    turns.tempfile.tempdir = str(FOLDER)
    other = Turns(turns_folder(CARD), "Blender of a colleague")
    try:
        assert other.ask()
        with fake("card"):
            job = submit("cat")
            tick_until(lambda: job.state is State.HELD)
            assert job.text == "Blender of a colleague"
            assert engine_life.facts()["state"] == "WAITING"
            session._tick()
            assert job.state is State.HELD
            other.leave()
            finish(job)
            assert job.state is State.DONE, job.error
        assert list(turns_folder(CARD).iterdir()) == []
    finally:
        other.leave()
        turns.tempfile.tempdir = None


@enabled
def fact_on_the_processor_blenders_take_turns_only_where_that_was_chosen():
    turns.tempfile.tempdir = str(FOLDER)
    other = Turns(turns_folder(engine_life.PROCESSOR), "Blender of a colleague")
    try:
        assert other.ask()
        finish(submit("cat"))
        with preferences(take_turns="ALWAYS"):
            job = submit("dog")
            tick_until(lambda: job.state is State.HELD)
            session.jobs().cancel(job)
        with fake("card"), preferences(take_turns="NEVER"):
            session.jobs().unload()
            finish(submit("bird"))
    finally:
        other.leave()
        turns.tempfile.tempdir = None


# ---------------------------------------------------------------------------
# The doctor


def engine_python(text: str) -> None:
    """Another Python for the engine, as a shell script."""
    script = FOLDER / f"python {time.monotonic_ns()}"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    os.environ["GAUSSMITH_ENGINE_PYTHON"] = str(script)


@contextmanager
def another_engine(text: str):
    before = os.environ["GAUSSMITH_ENGINE_PYTHON"]
    engine_python(text)
    try:
        yield
    finally:
        os.environ["GAUSSMITH_ENGINE_PYTHON"] = before


@enabled
def fact_the_doctor_tells_what_it_found_and_the_report_says_more():
    assert not bpy.ops.gaussmith.copy_report.poll()
    with another_engine("""echo '{"works": true, "lines": [["numpy", "1.26.4"], ["self-test", "passed"]]}'"""):
        assert bpy.ops.gaussmith.doctor() == {"FINISHED"}
        found = engine_life.findings()
    assert found.works
    assert found.lines == (("numpy", "1.26.4"), ("self-test", "passed"))
    text = engine_life.report(found)
    assert bpy.app.version_string in text
    assert "self-test" in text


@enabled
def fact_the_doctor_tells_of_an_engine_that_dies_and_of_none_at_all():
    with another_engine("echo Segmentation fault >&2; exit 139"):
        bpy.ops.gaussmith.doctor()
        found = engine_life.findings()
        assert not found.works
        assert "Segmentation fault" in engine_life.report(found)
    with another_engine(""):
        os.unlink(os.environ["GAUSSMITH_ENGINE_PYTHON"])
        bpy.ops.gaussmith.doctor()
        assert not engine_life.findings().works
        assert "There is no file" in engine_life.report(engine_life.findings())
        bpy.ops.gaussmith.repair_engine()
        tick_until(lambda: engine_life.engine_state().kind == "PROBLEM")


def fact_disabling_ends_a_doctor_at_work():
    import addon

    with another_engine("exec sleep 60"):
        addon.register()
        engine_life.examine()
        process = engine_life._life.examination._process
        assert process.poll() is None
        begin = time.monotonic()
        addon.unregister()
        assert time.monotonic() - begin < 20  # it would sleep for 60
        assert process.poll() is not None


if __name__ == "__main__":
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

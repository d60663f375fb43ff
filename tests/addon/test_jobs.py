# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: one after another, each ends in exactly one way, and the next works whatever happened to the last."""

import os
import signal
import time
from pathlib import Path

import pytest

from addon import client
from addon.client import EngineProcess
from addon.environment import EngineError
from addon.jobs import JobQueue, State
from addon.turns import Turns
from addon.wire import protocol

from .conftest import alive, gone


def submit(jobs: JobQueue, tmp_path: Path, name: str = "cat"):
    return jobs.submit(protocol.Generate("", f"/pictures/{name}.png", str(tmp_path / f"{name}.glb")), name)


def pump_until(jobs: JobQueue, condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        jobs.pump()
        time.sleep(0.005)


def assert_next_job_works(jobs: JobQueue, tmp_path: Path) -> None:
    job = submit(jobs, tmp_path, "next")
    assert jobs.wait(job, 60) is State.READY, job.error


def test_a_job_passes_through_its_states_and_reports_progress(jobs, tmp_path):
    job = submit(jobs, tmp_path)
    assert job.state is State.QUEUED
    seen = []
    jobs.wait(job, 10, on_change=lambda job: seen.append((job.state, job.fraction)))
    states = list(dict.fromkeys(state for state, _ in seen))
    assert states == [State.STARTING, State.RUNNING, State.READY]
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert job.stage == "export"
    assert job.seconds > 0
    assert Path(job.result.files["mesh"]).is_file()
    job.done()
    assert job.state is State.DONE


def test_jobs_run_one_after_another_in_one_engine(jobs, engines, tmp_path):
    first, second, third = (submit(jobs, tmp_path, name) for name in ("a", "b", "c"))
    jobs.pump()
    assert (first.state, second.state) == (State.STARTING, State.QUEUED)
    assert jobs.waiting == [second, third]
    jobs.wait(third, 60)
    assert [job.state for job in jobs.jobs] == [State.READY] * 3
    assert len(engines.all) == 1


def test_warnings_are_kept_with_the_job(jobs, tmp_path):
    job = submit(jobs, tmp_path, "notice")
    jobs.wait(job, 60)
    assert job.state is State.READY
    assert "background" in job.notices[0]


def test_an_error_of_the_engine_fails_the_job_and_keeps_the_engine(jobs, engines, tmp_path):
    job = submit(jobs, tmp_path, "fail")
    assert jobs.wait(job, 60) is State.FAILED
    assert (job.error.code, job.error.hint) == ("BAD_PICTURE", "Choose a PNG or JPEG.")
    assert_next_job_works(jobs, tmp_path)
    assert len(engines.all) == 1


def test_a_crash_fails_the_job_with_the_tail_of_the_log(jobs, engines, tmp_path):
    job = submit(jobs, tmp_path, "crash")
    waiting = submit(jobs, tmp_path, "behind")
    assert jobs.wait(job, 60) is State.FAILED
    assert job.error.code == "ENGINE_DIED"
    assert "exit code 17" in job.error.message
    assert "the fake engine crashes now" in job.error.detail
    assert jobs.wait(waiting, 60) is State.READY
    assert len(engines.all) == 2


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["", "picture", "generate", "surface", "export"])
def test_the_engine_can_be_killed_at_any_moment(jobs, engines, tmp_path, stage):
    job = submit(jobs, tmp_path, "slow" if stage else "cat")
    pump_until(jobs, lambda: job.stage == stage and jobs.engine is not None)
    os.kill(engines.all[-1].pid, signal.SIGKILL)
    assert jobs.wait(job, 60) is State.FAILED
    assert "SIGKILL" in job.error.message
    assert not (tmp_path / "slow.glb").exists()
    assert_next_job_works(jobs, tmp_path)


def test_an_idle_engine_that_was_killed_costs_no_job(jobs, engines, tmp_path):
    jobs.wait(submit(jobs, tmp_path), 60)
    os.kill(engines.all[0].pid, signal.SIGKILL)
    assert gone(engines.all[0].pid)
    assert_next_job_works(jobs, tmp_path)


def test_a_line_that_is_no_message_fails_the_job_saying_what_was_found(jobs, tmp_path):
    job = submit(jobs, tmp_path, "garbage")
    assert jobs.wait(job, 60) is State.FAILED
    assert "Segmentation fault" in job.error.message
    assert_next_job_works(jobs, tmp_path)


def test_another_protocol_fails_the_job_with_a_sentence(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_FAKE", "protocol")
    job = submit(jobs, tmp_path)
    assert jobs.wait(job, 60) is State.FAILED
    assert "protocol 99" in job.error.message
    monkeypatch.delenv("GAUSSMITH_FAKE")
    assert_next_job_works(jobs, tmp_path)


def test_an_engine_that_cannot_start_fails_the_job_with_what_to_do(tmp_path):
    def no_engine() -> EngineProcess:
        raise EngineError("The engine's Python was not found.", "Choose it in the preferences.")

    jobs = JobQueue(no_engine)
    job = submit(jobs, tmp_path)
    assert jobs.wait(job, 60) is State.FAILED
    assert (job.error.code, job.error.hint) == ("NO_ENGINE", "Choose it in the preferences.")


def test_cancel_of_a_running_job_ends_it_and_keeps_the_engine(jobs, engines, tmp_path):
    job = submit(jobs, tmp_path, "slow")
    pump_until(jobs, lambda: job.stage == "picture")
    jobs.cancel(job)
    assert job.cancelling
    assert jobs.wait(job, 60) is State.CANCELLED
    assert_next_job_works(jobs, tmp_path)
    assert len(engines.all) == 1  # it answered in time: else it would have been ended


def test_a_result_that_crosses_the_cancel_is_not_taken(jobs, engines, tmp_path):
    job = submit(jobs, tmp_path, "quick")
    pump_until(jobs, lambda: job.state is State.RUNNING)
    output = Path(job.request.output)
    end = time.monotonic() + 60
    while not output.is_file():
        assert time.monotonic() < end
        time.sleep(0.01)
    jobs.cancel(job)
    assert jobs.wait(job, 60) is State.CANCELLED
    assert job.result is None
    assert_next_job_works(jobs, tmp_path)
    assert len(engines.all) == 1


@pytest.mark.slow
def test_cancel_of_a_hanging_job_ends_the_engine_after_a_grace(jobs, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "CANCEL_GRACE_SECONDS", 0.5)
    job = submit(jobs, tmp_path, "hang")
    pump_until(jobs, lambda: job.stage == "picture")
    jobs.cancel(job)
    assert jobs.wait(job, 60) is State.CANCELLED
    assert not alive(engines.all[0].pid)
    assert_next_job_works(jobs, tmp_path)


def test_cancel_of_a_waiting_or_starting_job_is_immediate(jobs, tmp_path):
    first, second, third = (submit(jobs, tmp_path, name) for name in ("a", "b", "c"))
    jobs.pump()
    jobs.cancel(first)
    jobs.cancel(second)
    assert (first.state, second.state) == (State.CANCELLED, State.CANCELLED)
    assert jobs.wait(third, 60) is State.READY
    assert not (tmp_path / "a.glb").exists()


def test_a_job_given_up_while_the_engine_starts_does_no_harm_to_the_next(jobs, engines, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_FAKE", "silent")
    job, behind = submit(jobs, tmp_path, "a"), submit(jobs, tmp_path, "b")
    assert jobs.wait(job, 0.1) is State.FAILED
    assert job.error.code == "TIMEOUT"
    monkeypatch.setenv("GAUSSMITH_FAKE", "")
    assert jobs.wait(behind, 60) is State.READY, behind.error
    assert jobs.trouble is None
    assert len(engines.all) == 2


@pytest.mark.slow
def test_a_job_that_takes_too_long_fails_and_the_next_works(jobs, tmp_path):
    job = submit(jobs, tmp_path, "hang")
    assert jobs.wait(job, 1) is State.FAILED
    assert job.error.code == "TIMEOUT"
    assert_next_job_works(jobs, tmp_path)


def test_stop_leaves_no_engine_and_no_active_job(jobs, engines, tmp_path):
    job, behind = submit(jobs, tmp_path, "slow"), submit(jobs, tmp_path, "b")
    pump_until(jobs, lambda: job.stage == "picture")
    jobs.stop()
    assert (job.state, behind.state) == (State.CANCELLED, State.CANCELLED)
    assert not alive(engines.all[0].pid)
    assert_next_job_works(jobs, tmp_path)


def test_waiting_jobs_can_be_moved_and_run_in_their_new_order(jobs, tmp_path):
    first, a, b, c = (submit(jobs, tmp_path, name) for name in ("first", "a", "b", "c"))
    jobs.pump()
    jobs.move(c, -1)
    assert jobs.waiting == [a, c, b]
    jobs.move(a, 5)
    assert jobs.waiting == [c, b, a]
    jobs.move(c, -3)
    jobs.move(first, 1)  # it is no longer waiting
    assert jobs.waiting == [c, b, a]
    assert jobs.jobs[0] is first
    ended = []
    jobs.wait(a, 10, on_change=lambda _: ended.extend(j.name for j in (b, c) if not j.active and j.name not in ended))
    assert ended == ["c", "b"]


def test_cancelling_all_stops_all_and_starts_none_of_them(jobs, tmp_path):
    running, *waiting = (submit(jobs, tmp_path, name) for name in ("slow", "a", "b"))
    pump_until(jobs, lambda: running.stage == "picture")
    jobs.cancel_all()
    assert [job.state for job in waiting] == [State.CANCELLED] * 2
    assert jobs.wait(running, 60) is State.CANCELLED
    assert not jobs.busy
    assert not list(tmp_path.glob("*.glb"))
    assert_next_job_works(jobs, tmp_path)


def test_jobs_say_how_long_they_will_take_once_one_like_them_was_done(jobs, tmp_path):
    first = submit(jobs, tmp_path)
    assert first.remaining is None
    jobs.wait(first, 60)
    running, waiting = submit(jobs, tmp_path), submit(jobs, tmp_path)
    assert 0.05 < waiting.remaining < 3 * first.seconds
    pump_until(jobs, lambda: running.stage == "density")
    assert 0 <= running.remaining < first.seconds
    assert waiting.remaining > running.remaining
    jobs.wait(waiting, 60)
    assert (running.remaining, waiting.remaining) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hang", "frozen"])
def test_an_engine_that_says_nothing_any_more_is_given_up_without_waiting_for_it(jobs, engines, tmp_path, name):
    jobs.patience = 0.3
    job, longest = submit(jobs, tmp_path, name), 0.0
    while job.active:
        begin = time.monotonic()
        jobs.pump()
        longest = max(longest, time.monotonic() - begin)
        time.sleep(0.01)
    assert job.state is State.FAILED
    assert job.error.code == "TIMEOUT"
    assert longest < 0.1
    jobs.patience = None
    assert_next_job_works(jobs, tmp_path)
    assert not alive(engines.all[0].pid)


@pytest.mark.slow
def test_an_engine_that_is_slow_but_speaks_is_not_given_up(jobs, tmp_path):
    jobs.patience = 1.0
    assert jobs.wait(submit(jobs, tmp_path, "slow"), 60) is State.READY


@pytest.mark.parametrize(("name", "code"), [("memory", "OUT_OF_MEMORY"), ("disk", "CANNOT_WRITE")])
def test_a_machine_that_is_full_fails_the_job_only(jobs, engines, tmp_path, name, code):
    job = submit(jobs, tmp_path, name)
    assert jobs.wait(job, 60) is State.FAILED
    assert (job.error.code, bool(job.error.hint)) == (code, True)
    assert_next_job_works(jobs, tmp_path)
    assert len(engines.all) == 1


def test_an_engine_that_the_system_ended_for_its_memory_is_started_again(jobs, tmp_path):
    job = submit(jobs, tmp_path, "killed")
    assert jobs.wait(job, 60) is State.FAILED
    assert "SIGKILL" in job.error.message
    assert_next_job_works(jobs, tmp_path)


def test_unloading_ends_an_idle_engine_and_the_next_job_starts_another(jobs, engines, tmp_path):
    assert not jobs.unload()
    jobs.wait(submit(jobs, tmp_path), 60)
    assert jobs.idle_since is not None
    assert jobs.unload()
    assert not jobs.unload()  # it is on its way
    job = submit(jobs, tmp_path, "at once")
    assert jobs.wait(job, 60) is State.READY, job.error
    assert not alive(engines.all[0].pid)
    assert jobs.unload()
    pump_until(jobs, lambda: jobs.engine is None)
    assert (jobs.idle_since, jobs.trouble) == (None, None)


def test_a_busy_engine_is_not_unloaded(jobs, tmp_path):
    job = submit(jobs, tmp_path, "slow")
    pump_until(jobs, lambda: job.state is State.RUNNING)
    assert not jobs.unload()
    assert jobs.idle_seconds() == 0
    jobs.cancel(job)
    assert jobs.wait(job, 60) is State.CANCELLED


def test_an_engine_that_cannot_be_used_is_remembered_until_one_can(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_FAKE", "protocol")
    jobs.wait(submit(jobs, tmp_path), 60)
    assert jobs.trouble.code == "OTHER_PROTOCOL"
    monkeypatch.setenv("GAUSSMITH_FAKE", "")
    assert_next_job_works(jobs, tmp_path)
    assert jobs.trouble is None


def test_two_blenders_on_one_card_work_in_turn_and_give_its_memory_to_each_other(engines, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_FAKE", "card")
    blenders = []
    for name in ("a", "b"):
        blenders.append(JobQueue(engines))
        blenders[-1].wait(submit(blenders[-1], tmp_path, "first"), 60)  # both engines run
        blenders[-1].turns_for = lambda hello, name=name: Turns(tmp_path / hello.card, f"Blender {name}")
    a, b = blenders
    all_jobs = [submit(queue, tmp_path, f"{name}{i}") for i in range(2) for queue, name in ((a, "a"), (b, "b"))]
    at_work, texts = [], set()
    while any(job.active for job in all_jobs):
        for queue in blenders:
            queue.pump()
        running = [job.name for job in all_jobs if job.state is State.RUNNING]
        assert len(running) < 2
        at_work += [name for name in running if name not in at_work]
        texts |= {job.text for job in all_jobs if job.state is State.HELD}
        time.sleep(0.005)
    assert [job.state for job in all_jobs] == [State.READY] * 4
    assert {name[0] for name in at_work[:2]} == {"a", "b"}  # not all of one first
    assert texts <= {"Blender a", "Blender b", ""}
    assert texts & {"Blender a", "Blender b"}
    assert any("unloaded" in engine.log_tail() for engine in engines.all)
    assert list((tmp_path / "Fake Graphics 1").iterdir()) == []


def test_a_held_job_can_be_cancelled_and_leaves_the_queue_of_blenders(engines, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_FAKE", "card")
    other = Turns(tmp_path, "another Blender")
    assert other.ask()
    jobs = JobQueue(engines)
    jobs.turns_for = lambda _hello: Turns(tmp_path, "us")
    job = submit(jobs, tmp_path)
    pump_until(jobs, lambda: job.state is State.HELD)
    assert (job.text, jobs.turns.before()) == ("another Blender", 1)
    jobs.cancel(job)
    assert job.state is State.CANCELLED
    assert not other.is_awaited()
    held = submit(jobs, tmp_path)
    pump_until(jobs, lambda: held.state is State.HELD)
    other.leave()
    assert jobs.wait(held, 60) is State.READY


def test_finished_jobs_can_be_forgotten_and_active_ones_cannot(jobs, tmp_path):
    job = submit(jobs, tmp_path)
    jobs.forget(job)
    assert jobs.find(job.id) is job
    jobs.wait(job, 60)
    jobs.forget(job)
    assert jobs.find(job.id) is None

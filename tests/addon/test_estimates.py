# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the time a job will still take: learned from earlier jobs, and kept."""

import json

import pytest

from addon.estimates import KEPT, Estimates
from addon.wire import protocol

STAGES = [("", 0.02), ("picture", 1.0), ("density", 2.0), ("bake", 3.0)]


def request(seed=0, **options):
    return protocol.Generate("1", "/cat.png", "/cat.glb", seed=seed, options=options)


def test_nothing_is_said_of_the_first_job_before_it_shows_how_fast_it_is():
    estimates = Estimates()
    assert estimates.whole(request()) is None
    assert estimates.remaining(request(), [("", 0.5)], 0.0) is None
    assert estimates.remaining(request(), [("", 0.0), ("picture", 2.0)], 0.25) == pytest.approx(6.0)


def test_a_job_like_one_before_takes_as_long():
    estimates = Estimates()
    estimates.learn(request(faces=5000), STAGES)
    again = request(seed=7, faces=5000)
    assert estimates.whole(again) == pytest.approx(6.0)
    assert estimates.remaining(again, [("", 0.0)], 0.0) == pytest.approx(6.02)
    assert estimates.remaining(again, [("", 0.0), ("picture", 0.4)], 0.1) == pytest.approx(5.6)
    assert estimates.remaining(again, [("", 0.0), ("picture", 1.0), ("density", 2.0), ("bake", 2.5)], 0.9) == (
        pytest.approx(0.5)
    )


def test_a_stage_that_takes_longer_than_ever_is_never_over_before_it_began():
    estimates = Estimates()
    estimates.learn(request(), STAGES)
    assert estimates.remaining(request(), [("", 0.0), ("picture", 1.0), ("density", 9.0)], 0.3) == pytest.approx(3.0)


def test_a_busy_machine_makes_the_rest_of_the_job_slower_too():
    estimates = Estimates()
    estimates.learn(request(), STAGES)
    passed = [("", 0.0), ("picture", 2.0), ("density", 0.0)]
    assert estimates.remaining(request(), passed, 0.2) == pytest.approx(2 * (2.0 + 3.0))


def test_other_options_fall_back_on_jobs_of_the_same_kind_and_other_kinds_on_none():
    estimates = Estimates()
    estimates.learn(request(faces=5000), STAGES)
    assert estimates.whole(request(faces=9)) == pytest.approx(6.0)
    estimates.learn(request(faces=9), [("picture", 1.0), ("density", 1.0)])
    assert estimates.whole(request(faces=9)) == pytest.approx(2.0)
    assert estimates.whole(request(faces=5000)) == pytest.approx(6.0)
    assert estimates.whole(protocol.MakeMesh("1", "s.ply", "s.glb")) is None


def test_the_start_of_an_engine_counts_only_for_the_job_that_waits_for_it():
    estimates = Estimates()
    estimates.learn(request(), [("", 4.0), ("start", 2.0), ("picture", 1.0)])
    estimates.learn(request(), [("", 0.01), ("picture", 1.0)])  # in the same engine
    assert estimates.whole(request()) == pytest.approx(1.0)
    assert estimates.remaining(request(), [("", 1.0)], 0.0) == pytest.approx(4.0)
    assert estimates.remaining(request(), [("", 0.01), ("picture", 0.5)], 0.1) == pytest.approx(0.5)


def test_newer_jobs_count_more():
    estimates = Estimates()
    for seconds in (8.0, 4.0, 4.0, 4.0):
        estimates.learn(request(), [("picture", seconds)])
    assert estimates.whole(request()) == pytest.approx(4.5)


def test_what_was_learned_is_known_the_next_day_and_does_not_pile_up(tmp_path):
    file = tmp_path / "timings.json"
    estimates = Estimates(file)
    for faces in range(3 * KEPT):
        estimates.learn(request(faces=faces), [("picture", 1.0)])
    estimates.learn(request(), STAGES)
    assert Estimates(file).whole(request()) == pytest.approx(6.0)
    assert len(json.loads(file.read_text())) <= KEPT
    assert [path.name for path in tmp_path.iterdir()] == ["timings.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"generate agg": 3}',
        b'{"generate agg": {"picture": "long"}}',
        b'{"generate agg": {"picture": -1}}',
        b'{"generate agg": {"picture": NaN}}',
        b'{"generate agg": {"picture": true}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    file = tmp_path / "timings.json"
    file.write_bytes(content)
    estimates = Estimates(file)
    assert estimates.whole(request()) is None
    estimates.learn(request(), STAGES)
    assert Estimates(file).whole(request()) == pytest.approx(6.0)


def test_a_folder_that_cannot_be_written_costs_nothing_but_memory(tmp_path):
    estimates = Estimates(tmp_path / "not a folder" / "timings.json")
    estimates.learn(request(), STAGES)
    assert estimates.whole(request()) == pytest.approx(6.0)
    assert list(tmp_path.iterdir()) == []

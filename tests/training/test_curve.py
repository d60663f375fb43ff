# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about fitted learning curves."""

import json
import math

import numpy as np
import pytest

from engine.errors import InputError
from engine.training.evaluation.curve import PowerLaw, bootstrap, curves, fit, main, read_points

EXAMPLES = np.geomspace(2e3, 2e5, 12)


@pytest.mark.parametrize("law", [PowerLaw(0.2, 4.0, 0.35), PowerLaw(0.0, 1.5, 0.1), PowerLaw(0.05, 300.0, 1.0)])
def test_a_power_law_is_recovered_from_its_own_points(law):
    found = fit(EXAMPLES, law(EXAMPLES))
    assert found.exponent == pytest.approx(law.exponent, rel=0.06)
    assert found(1e6) == pytest.approx(law(1e6), rel=0.03)
    target = float(law(4e5))
    assert found.examples_for(target) == pytest.approx(4e5, rel=0.1)


def test_examples_for_a_target_follow_from_the_formula():
    law = PowerLaw(0.1, 2.0, 0.5)
    assert law.examples_for(0.12) == pytest.approx((2.0 / 0.02) ** 2)
    assert math.isinf(law.examples_for(0.1))
    assert math.isinf(law.examples_for(0.05))


def test_the_range_holds_the_truth_and_widens_with_noise():
    law, rng = PowerLaw(0.15, 3.0, 0.3), np.random.default_rng(1)
    widths = []
    for noise in (0.005, 0.03):
        errors = law(EXAMPLES) * (1 + noise * rng.normal(size=len(EXAMPLES)))
        ahead = np.array([float(other(1e6)) for other in bootstrap(EXAMPLES, errors, 300)])
        low, high = np.percentile(ahead, [1, 99])
        assert low < law(1e6) < high
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_a_curve_that_levels_off_never_reaches_what_lies_below():
    points = [{"examples": n, "f_0.1": 1 - float(PowerLaw(0.4, 30.0, 0.6)(n))} for n in EXAMPLES]
    target = curves(points, 0, {"f_0.1": 0.71})["f_0.1"]["target"]
    assert target["examples"] is None
    assert target["never"] > 0.99
    reached = curves(points, 0, {"f_0.1": 0.55})["f_0.1"]["target"]
    assert reached["examples"] == pytest.approx((30 / 0.05) ** (1 / 0.6), rel=0.2)


def test_points_come_from_runs_and_from_files_of_evaluations(tmp_path, capsys):
    run, file = tmp_path / "run", tmp_path / "evaluations.jsonl"
    run.mkdir()
    law = PowerLaw(0.2, 4.0, 0.35)
    lines = [json.dumps({"step": 1, "examples": 8, "loss": 1.0, "chamfer": 0.1, "psnr": 40.0}), "{broken"]
    lines += [json.dumps({"examples": n, "figures": {"f_0.1": 1 - float(law(n))}}) for n in EXAMPLES[:8]]
    (run / "stats.jsonl").write_text("\n".join(lines))
    file.write_text("\n".join(json.dumps({"examples": n, "f_0.1": 1 - float(law(n))}) for n in EXAMPLES[8:]))
    assert len(read_points(run)) == 8
    output = tmp_path / "fit.json"
    assert main([str(run), str(file), "-o", str(output), "--target", "0.75"]) == 0
    fits = json.loads(output.read_text())
    assert list(fits) == ["f_0.1"]  # what training says of itself is no development figure
    found = fits["f_0.1"]
    assert found["points"] == 12
    assert found["target"]["examples"] == pytest.approx(80 ** (1 / 0.35), rel=0.1)
    assert "0.75 would take" in capsys.readouterr().out


def test_too_little_to_fit_is_said(tmp_path):
    with pytest.raises(InputError, match="Could not read"):
        read_points(tmp_path / "none")
    file = tmp_path / "few.jsonl"
    file.write_text('{"examples": 100, "loss": 1}')
    with pytest.raises(InputError, match="no development figures"):
        read_points(file)
    with pytest.raises(InputError, match="a fit needs 5"):
        curves([{"examples": 100.0 * n, "f_0.1": 0.5} for n in range(1, 4)], 0, {})

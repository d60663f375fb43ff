# SPDX-License-Identifier: GPL-3.0-or-later
"""What more training would bring, by a fitted curve: `python -m engine evaluate curve RUN...`.

Each argument is the folder of a run, whose `stats.jsonl` has development figures, or a file of evaluations that
`engine evaluate agg --append` wrote: lines with `examples` and figures. An error (1 - F for F-scores, the Chamfer
distance itself, the root mean square error 10^(-PSNR / 20) for PSNR) is fitted by a power law

    error = a + b * examples^-c        a >= 0, b > 0, 0.02 <= c <= 2

(Hestness et al. 2017; Kaplan et al. 2020) with least relative squares, and the number of examples that reaches a target
is read off. The range holds 95 of 100 residual bootstraps (Efron 1979); where the fitted floor `a` is above the target
it is never reached, and the share of bootstraps that say so is told. The law knows nothing of the schedule: within one
annealed run the last points are better than their examples alone would make them, so ends of runs are the best points.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.paths import written_whole

Array = np.ndarray

TARGETS = {"aligned_f_0.1": 0.710, "f_0.1": 0.710}
"""SF3D's F-score at 0.1 on scanned objects (Boss et al. 2024, GSO): the best of the published single-image table.

Published after alignment, so `aligned_f_0.1` is the figure to compare; the camera's frame is harder."""
EXPONENTS = np.geomspace(0.02, 2, 100)
RESAMPLES = 1000
FEWEST = 5
"""Points a fit needs: three numbers are fitted."""


@dataclass(frozen=True)
class PowerLaw:
    """error = floor + factor * examples^-exponent."""

    floor: float
    factor: float
    exponent: float

    def __call__(self, examples: float | Array) -> float | Array:
        return self.floor + self.factor * np.asarray(examples, float) ** -self.exponent

    def examples_for(self, error: float) -> float:
        """Examples at which the error is reached, infinity where it never is."""
        if error <= self.floor or self.factor <= 0:
            return math.inf
        exponent = math.log(self.factor / (error - self.floor)) / self.exponent
        return math.exp(exponent) if exponent < 700 else math.inf


def fit(examples: Array, errors: Array) -> PowerLaw:
    """The power law nearest to errors [P] > 0 at examples [P] > 0, by least squares of relative deviations."""
    return PowerLaw(*(float(value[0]) for value in _fits(np.asarray(examples, float), np.asarray(errors, float)[None])))


def bootstrap(examples: Array, errors: Array, resamples: int = RESAMPLES) -> list[PowerLaw]:
    """Power laws fitted to the fitted curve with resampled relative residuals; the same data gives the same ones."""
    law, rng = fit(examples, errors), np.random.default_rng(0)
    curve = np.asarray(law(examples))
    spread = math.sqrt(len(errors) / max(len(errors) - 3, 1))  # residuals of a fit are smaller than the noise
    residuals = spread * (errors / curve - 1)
    drawn = curve * (1 + residuals[rng.integers(0, len(errors), (resamples, len(errors)))])
    return [PowerLaw(*map(float, row)) for row in zip(*_fits(examples, np.maximum(drawn, 1e-6)), strict=True)]


def _fits(examples: Array, errors: Array) -> tuple[Array, Array, Array]:
    """Floors, factors and exponents [R] for R sets of errors [R, P]: linear least squares for each exponent tried."""
    scale = np.exp(np.log(examples).mean())
    powers = (examples / scale) ** -EXPONENTS[:, None]  # [E, P]
    weights = 1 / errors**2  # [R, P]
    s_1, s_y = weights.sum(1)[:, None], (weights * errors).sum(1)[:, None]
    s_x, s_xx, s_xy = weights @ powers.T, weights @ (powers**2).T, (weights * errors) @ powers.T
    determinant = np.maximum(s_1 * s_xx - s_x**2, 1e-30)
    floor, factor = (s_xx * s_y - s_x * s_xy) / determinant, (s_1 * s_xy - s_x * s_y) / determinant
    factor = np.where(floor < 0, s_xy / s_xx, factor)
    floor = np.maximum(floor, 0)
    flat = factor <= 0
    floor, factor = np.where(flat, s_y / s_1, floor), np.where(flat, 0, factor)
    costs = (weights[:, None] * (floor[..., None] + factor[..., None] * powers - errors[:, None]) ** 2).sum(-1)
    best = costs.argmin(1)
    rows = np.arange(len(errors))
    exponent = EXPONENTS[best]
    return floor[rows, best], factor[rows, best] * scale**exponent, exponent


def error_of(name: str, value: float) -> float:
    """The error that a figure stands for: falls as the figure gets better."""
    if "f_" in name:
        return 1 - value
    return 10 ** (-value / 20) if "psnr" in name else value


def read_points(path: Path) -> list[dict[str, float]]:
    """Lines with `examples` and figures from a run's folder or a file. Raises `InputError` where there are none."""
    file = path / "stats.jsonl" if path.is_dir() else path
    points = []
    try:
        for text in file.read_text(encoding="utf-8").splitlines():
            point = _point(text, path.is_dir())
            if point:
                points.append(point)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Could not read {file}: {error}.", "Give the folder of a run or a .jsonl file.") from error
    if not points:
        raise InputError(
            f"{file} has no development figures.",
            "Give a run that was trained with a development pack, or a file of `engine evaluate agg --append`.",
        )
    return points


def _point(text: str, of_run: bool) -> dict[str, float] | None:
    """A line's examples and figures; None for lines about other things, and damaged ones.

    A run also notes how training itself goes, under names of the same figures: there only `figures` counts.
    """
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict) or not line.get("examples"):
        return None
    figures = line.get("figures") if of_run else line.get("figures", line)
    if not isinstance(figures, dict):
        return None
    known = {name.removeprefix("dev_"): value for name, value in figures.items() if isinstance(value, int | float)}
    point = {name: float(value) for name, value in known.items() if name in WORTH and math.isfinite(value)}
    return {"examples": float(line["examples"])} | point if point else None


WORTH = ("f_0.1", "aligned_f_0.1", "chamfer", "aligned_chamfer", "psnr", "perceptual_r")
"""Figures that are fitted, where points have them."""


def curves(points: list[dict[str, float]], beginning: float, targets: dict[str, float]) -> dict[str, Any]:
    """Fits by figure. Points of fewer than `beginning` examples are left out. Raises `InputError` for too few."""
    found = {}
    for name in WORTH:
        chosen = [p for p in points if name in p and p["examples"] >= beginning]
        if len({p["examples"] for p in chosen}) < FEWEST:
            continue
        examples = np.array([p["examples"] for p in chosen])
        errors = np.maximum(np.array([error_of(name, p[name]) for p in chosen]), 1e-6)
        law, others = fit(examples, errors), bootstrap(examples, errors)
        most = float(examples.max())
        found[name] = {
            "points": len(chosen),
            "examples": [float(examples.min()), most],
            "floor": law.floor,
            "factor": law.factor,
            "exponent": law.exponent,
            "relative_residual": float(np.sqrt(np.mean((errors / law(examples) - 1) ** 2))),
            "ahead": {f"{times}x": value_of(name, float(law(times * most))) for times in (1, 3, 10, 100)},
        }
        if name in targets:
            wanted = error_of(name, targets[name])
            needed = np.array([other.examples_for(wanted) for other in others])
            low, high = np.quantile(needed, [0.025, 0.975], method="inverted_cdf")
            found[name]["target"] = {
                "value": targets[name],
                "examples": _finite(law.examples_for(wanted)),
                "range": [_finite(low), _finite(high)],
                "never": float(np.isinf(needed).mean()),
            }
    if not found:
        raise InputError(
            f"Found {len(points)} points with figures; a fit needs {FEWEST} with different numbers of examples.",
            "Train on, or give more runs.",
        )
    return found


def value_of(name: str, error: float) -> float:
    """The figure that an error stands for."""
    if "f_" in name:
        return 1 - error
    return -20 * math.log10(max(error, 1e-9)) if "psnr" in name else error


def _finite(value: float) -> float | None:
    """The number, or None for infinity, which JSON has no word for."""
    return float(value) if math.isfinite(value) else None


def told(found: dict[str, Any]) -> str:
    """The fits for people."""
    lines = []
    for name, curve in found.items():
        floor, factor, exponent = curve["floor"], curve["factor"], curve["exponent"]
        lines.append(
            f"{name}: error = {floor:.3f} + {factor:.3g} * examples^-{exponent:.3f} "
            f"({curve['points']} points to {curve['examples'][1]:,.0f} examples, "
            f"residual {100 * curve['relative_residual']:.1f} %)"
        )
        ahead = ", ".join(f"{times} {value:.3f}" for times, value in curve["ahead"].items())
        lines.append(f"    {name} at multiples of the most examples seen: {ahead}")
        if target := curve.get("target"):
            needed, low, high = (
                "never" if value is None else f"{value:.2g}" for value in (target["examples"], *target["range"])
            )
            lines.append(
                f"    {target['value']} would take {needed} examples (95 % range {low} to {high}; "
                f"never, say {100 * target['never']:.0f} % of the bootstraps)"
            )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command line of `engine evaluate curve`; returns the exit code. Raises `InputError` for bad input."""
    parser = argparse.ArgumentParser(
        prog="engine evaluate curve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or .jsonl of evaluations")
    parser.add_argument("--from", dest="beginning", type=float, default=0, help="leave out points of fewer examples")
    parser.add_argument("--target", type=float, help="F-score at 0.1 to reach (default: SF3D's 0.710)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the fits")
    options = parser.parse_args(argv)
    points = [point for run in options.runs for point in read_points(run)]
    targets = TARGETS if options.target is None else {name: float(options.target) for name in TARGETS}
    found = curves(points, options.beginning, targets)
    if options.output:
        with written_whole(options.output) as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(told(found))
    return 0

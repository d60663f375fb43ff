# SPDX-License-Identifier: GPL-3.0-or-later
"""How good the matte is on pictures it never saw: `python -m engine evaluate matte --pack INDEX.csv`.

Protocol. Every object of a pack that training did not see, from seeded cameras, is set before a seeded background of
each kind in turn, every fourth of a kind that training did not see either, at SIDE pixels (--size), with the shadows,
reflections, grain, blur, compression and letterboxes of training. Compared with the true alpha, both cut at 0.5:
intersection over union, and the boundary F-score (outlines match within TOLERANCE pixels). Three mattes stand beside
each other: the classical one, the learned one (its holes mended, as the engine does), and the one the engine chooses of
the two.

Of pictures that show nothing but background it is counted how many are refused or warned of.

Chances that each matte is good (an overlap of at least GOOD) are a logistic regression on the network's score, the
classical matte's confidence and the agreement of the two, fitted on one half of the objects. All figures of confidence
and of the chosen matte are of the other half: expected calibration error, and shares of good mattes with and without
the warning.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from engine.errors import GaussmithError, PictureError
from engine.image.edges import refined
from engine.image.learned_matte import GOOD, WEIGHTS, LearnedMatte, evidence
from engine.image.matte import CONFIDENT, chosen, classical_matte, classical_wins, second_look
from engine.nets.runtime import OnnxNetwork
from engine.paths import written_whole
from engine.training.matte.backgrounds import HELD_OUT, KINDS
from engine.training.matte.composites import compose
from engine.training.matte.cutouts import Cutouts, CutoutSettings, render_cutouts
from engine.training.stats import save_grid

Array = np.ndarray

SIDE = 448
"""Pixels of the pictures' longest side, unless another is asked for."""

TOLERANCE = 2
"""Distance in pixels up to which outlines count as the same."""

METHODS = ("classical", "learned", "chosen")


@dataclass(frozen=True)
class Case:
    """A picture with its true matte."""

    rgb: Array  # [H, W, 3]
    alpha: Array  # [H, W]
    kind: str
    half: int  # 0 or 1: which half of the objects


def cases(cutouts: Cutouts, views: int, seed: int, side: int) -> Iterator[Case]:
    """Each cut-out of a set with `views` of every object, before one background."""
    kinds = list(KINDS)
    for n in range(len(cutouts)):
        rng = np.random.default_rng([seed, n])
        kind = list(HELD_OUT)[n // 2 % len(HELD_OUT)] if n % 4 == 3 else kinds[(n // views + n) % len(kinds)]
        composite = compose(cutouts, side, rng, kind, (n,))
        top, bottom, left, right = composite.inside
        yield Case(composite.rgb[top:bottom, left:right], composite.alpha[top:bottom, left:right], kind, n // views % 2)


def overlap(found: Array, truth: Array) -> float:
    """Intersection over union of two alphas [H, W], both cut at 0.5; 1 where both are empty."""
    a, b = found > 0.5, truth > 0.5
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def boundary_f(found: Array, truth: Array, tolerance: float = TOLERANCE) -> float:
    """F-score of the outlines of two alphas [H, W]: precision and recall within `tolerance` pixels."""
    solids = (found > 0.5, truth > 0.5)
    outlines = [solid & ~np.asarray(ndimage.binary_erosion(solid, border_value=1), bool) for solid in solids]
    if not all(outline.any() for outline in outlines):
        return float(not any(outline.any() for outline in outlines))
    near = [np.asarray(ndimage.distance_transform_edt(~outline)) <= tolerance for outline in outlines]
    precision, recall = near[1][outlines[0]].mean(), near[0][outlines[1]].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def measure(case: Case, network: LearnedMatte) -> tuple[dict, list[Array]]:
    """What is known of a picture before the truth is, figures of the mattes, and their alphas (classical, learned)."""
    guess = network.look(case.rgb)
    both = second_look(case.rgb, guess.alpha)
    row = {
        "kind": case.kind,
        "half": case.half,
        "evidence": list(map(float, evidence(guess.score, both.confidence, both.agreement))),
        "found": [bool(both.inside.any()), bool((both.alpha > 0.5).any())],
    }
    alphas = [_classical(case.rgb), refined(case.rgb, both.alpha)[..., 3]]
    for method, alpha in zip(METHODS[:2], alphas, strict=True):
        row[method] = {"iou": overlap(alpha, case.alpha), "boundary_f": boundary_f(alpha, case.alpha)}
    return row, alphas


def _classical(rgb: Array) -> Array:
    """Alpha of the classical matte; nowhere where it finds nothing."""
    try:
        return classical_matte(rgb).rgba[..., 3]
    except PictureError:
        return np.zeros(rgb.shape[:2], np.float32)


def choose(rows: list[dict], chances: Array) -> None:
    """Adds to each row what the engine would choose, and how sure it would be."""
    for row in rows:
        odds = 1 / (1 + np.exp(-np.clip(chances @ row["evidence"], -30, 30)))
        inside, solid = row["found"]
        name = "classical" if classical_wins(solid, inside, *odds) else "learned"
        row["learned"]["confidence"], row["classical"]["confidence"] = float(odds[0]), float(odds[1])
        row["chosen"] = row[name] | {"method": name}


def regressed(evidence: Array, good: Array, ridge: float = 0.3) -> Array:
    """Coefficients [K] of the logistic regression of `good` [P] on `evidence` [P, K] (Newton's steps, small ridge)."""
    coefficients = np.zeros(evidence.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(evidence @ coefficients, -30, 30)))
        slope = evidence.T @ (good - chance) - ridge * coefficients
        curvature = (evidence * (chance * (1 - chance))[:, None]).T @ evidence + ridge * np.eye(len(coefficients))
        coefficients = coefficients + np.linalg.solve(curvature, slope)
    return coefficients


def summary(rows: list[dict], method: str) -> dict[str, float]:
    """Means, percentiles and the share of good mattes."""
    iou = np.array([row[method]["iou"] for row in rows])
    figures = {
        "iou": iou.mean(),
        **{f"iou_p{p}": np.percentile(iou, p) for p in (5, 25, 50, 75)},
        "good": (iou >= GOOD).mean(),
        "boundary_f": np.mean([row[method]["boundary_f"] for row in rows]),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def trust(rows: list[dict], method: str) -> dict[str, float]:
    """How honest confidences are about what came of them: the expected calibration error, and shares."""
    confidences = np.array([row[method]["confidence"] for row in rows])
    good = np.array([row[method]["iou"] >= GOOD for row in rows])
    sure = confidences >= CONFIDENT
    bins = np.minimum((confidences * 5).astype(int), 4)
    error = sum(
        abs(float(confidences[bins == b].mean() - good[bins == b].mean())) * float((bins == b).mean())
        for b in np.unique(bins)
    )
    return {
        "calibration_error": round(error, 4),
        "warned": round(float((~sure).mean()), 4),
        "good_without_warning": round(float(good[sure].mean()), 4) if sure.any() else 0.0,
        "good_with_warning": round(float(good[~sure].mean()), 4) if not sure.all() else 0.0,
    }


def evaluate(
    network: LearnedMatte, cutouts: Cutouts, views: int, seed: int, side: int = SIDE, sheet: Path | None = None
) -> dict:
    """All figures; pictures with the true, the classical and the learned matte as a contact sheet on request."""
    rows, grid = [], []
    for case in tqdm(cases(cutouts, views, seed, side), total=len(cutouts), desc="Cutting out", disable=None):
        row, alphas = measure(case, network)
        rows.append(row)
        if len(rows) % max(1, len(cutouts) // 40) == 0:
            grid.append(
                [_shown(case.rgb, side), *(_shown(np.repeat(a[..., None], 3, -1), side) for a in (case.alpha, *alphas))]
            )
    if sheet:
        save_grid(sheet, grid)
    fitting = [row for row in rows if row["half"] == 0]
    known = np.array([row["evidence"] for row in fitting])
    good = {method: np.array([row[method]["iou"] >= GOOD for row in fitting]) for method in METHODS[:2]}
    chances = np.stack([regressed(known, good[method]) for method in ("learned", "classical")]).round(4)
    choose(rows, chances)
    checked = [row for row in rows if row["half"] == 1]
    kinds = sorted({row["kind"] for row in rows})
    return {
        "pictures": len(rows),
        "size": side,
        "mean": {method: summary(rows, method) for method in METHODS[:2]}
        | {f"{method}_checked": summary(checked, method) for method in METHODS},
        "by_background": {
            kind: {method: summary([row for row in rows if row["kind"] == kind], method)["iou"] for method in METHODS}
            for kind in kinds
        },
        "confidence": {method: trust(checked, method) for method in METHODS},
        "learned_chosen": round(float(np.mean([row["chosen"]["method"] == "learned" for row in rows])), 4),
        "nothing": nothing_at_all(network, cutouts, seed, side),
        "chances": chances.tolist(),
        "rows": rows,
    }


def nothing_at_all(network: LearnedMatte, cutouts: Cutouts, seed: int, side: int, count: int = 21) -> dict[str, float]:
    """Of pictures without any object: the share refused with an error, and the share warned of."""
    refused = warned = 0
    for n in range(count):
        rng = np.random.default_rng([seed, 1, n])
        picture = compose(cutouts, side, rng, list(KINDS)[n % len(KINDS)], (), letterbox=False).rgb
        try:
            warned += chosen(picture, network).confidence < CONFIDENT
        except PictureError:
            refused += 1
    return {"pictures": count, "refused": round(refused / count, 4), "warned": round(warned / count, 4)}


def _shown(picture: Array, side: int) -> Array:
    """The picture [H, W, 3] at a third of its size, in a square."""
    small = picture[::3, ::3]
    square = np.full((-(-side // 3), -(-side // 3), 3), 0.5, np.float32)
    square[: small.shape[0], : small.shape[1]] = small
    return square


def main(argv: list[str]) -> int:
    """The command line of `engine evaluate matte`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="engine evaluate matte", description=__doc__)
    parser.add_argument("--pack", type=Path, nargs="+", required=True, help="index files of packs training did not see")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="an .onnx file; the bundled weights by default")
    parser.add_argument("--views", type=int, default=4, help="pictures of each object")
    parser.add_argument("--size", type=int, default=SIDE, help="pixels of the pictures' longest side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/matte-held-out"), help="keeps the rendered objects")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the figures; a contact sheet lies beside it")
    options = parser.parse_args(argv)
    try:
        network = LearnedMatte(OnnxNetwork(options.weights))
        settings = CutoutSettings(each=options.views, seed=options.seed)
        cutouts = render_cutouts(options.pack, options.folder, settings)
        sheet = options.output.with_suffix(".png") if options.output else None
        figures = evaluate(network, cutouts, options.views, options.seed, options.size, sheet)
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = figures.pop("rows")
    if options.output:
        with written_whole(options.output) as part:
            part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        with written_whole(options.output.with_suffix(".rows.jsonl")) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    names = list(figures["mean"]["learned"])
    print(f"{'matte':18}" + "".join(f"{name:>12}" for name in names))
    for method, row in figures["mean"].items():
        print(f"{method:18}" + "".join(f"{row[name]:12.4f}" for name in names))
    for name in ("by_background", "confidence"):
        for key, value in figures[name].items():
            print(f"{name} {key}: {value}")
    print(f"learned_chosen: {figures['learned_chosen']}  nothing: {figures['nothing']}")
    return 0

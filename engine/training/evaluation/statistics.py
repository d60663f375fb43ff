# SPDX-License-Identifier: GPL-3.0-or-later
"""How sure a difference between two methods is: bootstrap over objects (Efron 1979)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and the range that holds it in 95 of 100 resamplings."""

    mean: float
    low: float
    high: float

    def as_list(self) -> list[float]:
        """[mean, low, high], four digits after the point."""
        return [round(float(value), 4) for value in (self.mean, self.low, self.high)]


def paired_difference(ours: ArrayLike, theirs: ArrayLike, objects: ArrayLike) -> Interval:
    """Mean of ours - theirs over objects, each object the mean of its pictures, with its 95 % interval.

    The three have one entry per picture. Objects are resampled, not pictures: two pictures of one object are not two
    samples. The same numbers give the same interval.
    """
    differences = np.subtract(ours, theirs)
    labels, inverse = np.unique(np.asarray(objects), return_inverse=True)
    per_object = np.bincount(inverse, differences) / np.bincount(inverse)
    rng = np.random.default_rng(0)
    means = per_object[rng.integers(0, len(labels), (RESAMPLES, len(labels)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(per_object.mean()), float(low), float(high))

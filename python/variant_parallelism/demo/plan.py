"""Which images are streamed when, and in which order boards die: decided by one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# With fewer survivors than boards a part of the images is enough, and the same part each time.
_SHARE_PER_STEP = 3


@dataclass(frozen=True)
class Sample:
    """One test image: its place in the test split, its uint8 pixels (H, W, C) and its class."""

    index: int
    image: NDArray[np.uint8]
    label: int


@dataclass(frozen=True)
class Plan:
    """`first` is streamed with all boards up, `each` at every smaller number and at the end."""

    first: tuple[Sample, ...]
    each: tuple[Sample, ...]
    deaths: tuple[int, ...]
    whole_split: bool

    @property
    def streamed(self) -> int:
        """Images in all: the first phase, one at each death, the survivors', the return."""
        return len(self.first) + len(self.deaths) * (1 + len(self.each)) + len(self.each)


def make_plan(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    nodes: Sequence[int],
    count: int,
    seed: int,
) -> Plan:
    """At most `count` of the images; every node but one dies, in an order that `seed` decides."""
    chance = random.Random(seed)
    indices = list(range(len(images)))
    if count < len(indices):
        indices = sorted(chance.sample(indices, count))
        chance.shuffle(indices)
    samples = tuple(Sample(i, images[i], int(labels[i])) for i in indices)
    deaths = chance.sample(sorted(nodes), len(nodes) - 1)
    each = samples[: max(1, len(samples) // _SHARE_PER_STEP)]
    return Plan(samples, each, tuple(deaths), whole_split=len(samples) == len(images))

"""Training batches of one variant: resized once, cropped and mixed per batch, NumPy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.families.spec import Recipe, VariantSpec
from variant_parallelism.preprocess import normalise, resize_crop_many

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


class TrainingBatches:
    """Random batches over (N, H, W, C) uint8 images.

    `epoch(e)` depends only on the seed and e, so that a resumed training sees what an
    uninterrupted one would have seen. The last, incomplete batch is dropped: each epoch has
    `steps` batches of (float32 (B, rho, rho, C) in [-1, 1], float32 one-hot (B, classes)).
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        classes: int,
        spec: VariantSpec,
        recipe: Recipe,
        seed: int,
    ) -> None:
        size = spec.resolution + spec.margin
        self._images = resize_crop_many(images, size, size)
        self._targets = np.eye(classes, dtype=np.float32)[labels]
        self._spec = spec
        self._recipe = recipe
        self._seed = seed
        self._batch = min(recipe.batch, len(images))
        self.steps = len(images) // self._batch

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self._images))
        for step in range(self.steps):
            chosen = order[step * self._batch : (step + 1) * self._batch]
            x = normalise(self._crop(chosen, random))
            y = self._targets[chosen]
            if self._recipe.mixup > 0:
                share = np.float32(random.beta(self._recipe.mixup, self._recipe.mixup))
                other = random.permutation(len(chosen))
                x = share * x + (1 - share) * x[other]
                y = share * y + (1 - share) * y[other]
            yield x, y

    def _crop(self, chosen: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.uint8]:
        rho = self._spec.resolution
        tops, lefts = random.integers(0, self._spec.margin + 1, (2, len(chosen)))
        flips = random.random(len(chosen)) < (0.5 if self._recipe.flip else 0.0)
        result = np.empty((len(chosen), rho, rho, self._images.shape[-1]), np.uint8)
        for i, index in enumerate(chosen):
            patch = self._images[index, tops[i] : tops[i] + rho, lefts[i] : lefts[i] + rho]
            result[i] = patch[:, ::-1] if flips[i] else patch
        return result


def inference_input(images: NDArray[np.uint8], spec: VariantSpec) -> NDArray[np.uint8]:
    """Images as the node crops them: uint8 (N, rho, rho, C), before normalisation."""
    return resize_crop_many(
        images, spec.resolution + spec.margin, spec.resolution, spec.crop_top, spec.crop_left
    )

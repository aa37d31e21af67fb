"""Training of one variant with Keras, checkpointed after every epoch."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.families.builder import (
    build_variant,
    copy_backbone,
    count_macs,
    count_parameters,
)
from variant_parallelism.families.spec import Recipe, VariantSpec
from variant_parallelism.preprocess import normalise
from variant_parallelism.training.batches import TrainingBatches, inference_input
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.training.files import write_json

Report = Callable[[str, int, int, float, float], None]
"""(variant, steps done, steps in all, loss, accuracy of the running epoch)."""

_REPORT_EVERY = 10


@dataclass(frozen=True)
class TrainedVariant:
    """What `<variant>.json` of a run holds; accuracies are fractions of the test split."""

    name: str
    parameters: int
    macs: int
    float_top1: float
    float_top5: float
    seed: int
    epochs: int
    seconds: float


def train_variant(
    spec: VariantSpec,
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    seed: int,
    resume: bool = True,
    report: Report | None = None,
) -> TrainedVariant:
    """Train one variant and write `<name>.keras`, `<name>.csv` and `<name>.json` to `out`.

    `recipe` is the family's; the variant that `spec` starts from must be in `out` already. With
    `resume`, a training that stopped goes on after its last whole epoch (`<name>.weights.h5`),
    and one that is complete is not repeated.
    """
    import keras

    recipe = recipe.of(spec)
    done_file = out / f"{spec.name}.json"
    if resume and done_file.exists() and (out / f"{spec.name}.keras").exists():
        done = TrainedVariant(**json.loads(done_file.read_text()))
        if done.epochs == recipe.epochs and done.seed == seed:
            return done

    keras.utils.set_random_seed(seed)
    batches = TrainingBatches(
        dataset.train_images, dataset.train_labels, len(dataset.classes), spec, recipe, seed
    )
    model = build_variant(spec, len(dataset.classes), dataset.image_shape[2])
    if spec.start_from is not None:
        _start_from(model, out / f"{spec.start_from}.keras")
    _compile(model, recipe, batches.steps)
    checkpoint = out / f"{spec.name}.weights.h5"
    log = _EpochLog(out / f"{spec.name}.csv")
    first, seconds = 0, 0.0
    if resume and checkpoint.exists():
        first = _load_checkpoint(model, checkpoint, batches.steps)
        seconds = log.keep(first)
    else:
        log.keep(0)

    total = recipe.epochs * batches.steps
    for epoch in range(first, recipe.epochs):
        started = time.monotonic()
        _seed_dropout(model, seed, epoch)
        loss = accuracy = 0.0
        for step, (x, y) in enumerate(batches.epoch(epoch), start=1):
            logs = model.train_on_batch(x, y, return_dict=True)
            loss += (float(logs["loss"]) - loss) / step
            accuracy += (float(logs["accuracy"]) - accuracy) / step
            if report is not None and (step % _REPORT_EVERY == 0 or step == batches.steps):
                report(spec.name, epoch * batches.steps + step, total, loss, accuracy)
        _save_checkpoint(model, checkpoint)
        seconds += time.monotonic() - started
        log.add(epoch + 1, loss, accuracy, seconds)

    scores = predict(model, inference_input(dataset.test_images, spec))
    result = TrainedVariant(
        name=spec.name,
        parameters=count_parameters(model),
        macs=count_macs(model),
        float_top1=top_k_accuracy(scores, dataset.test_labels, 1),
        float_top5=top_k_accuracy(scores, dataset.test_labels, 5),
        seed=seed,
        epochs=recipe.epochs,
        seconds=round(seconds, 1),
    )
    partial = out / f"{spec.name}.part.keras"
    model.save(partial)
    os.replace(partial, out / f"{spec.name}.keras")
    write_json(done_file, asdict(result))
    return result


def predict(model: Any, pixels: NDArray[np.uint8], batch: int = 250) -> NDArray[np.float32]:
    """Class scores, float32 (N, classes), of uint8 inputs (N, rho, rho, C)."""
    parts = [
        np.asarray(model.predict_on_batch(normalise(pixels[start : start + batch])))
        for start in range(0, len(pixels), batch)
    ]
    return np.concatenate(parts).astype(np.float32)


def top_k_accuracy(scores: NDArray[Any], labels: NDArray[np.int64], k: int) -> float:
    """Share of images whose label is among the k highest scores, ties to the lower index."""
    ranked = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return float(np.mean((ranked == labels[:, None]).any(axis=1)))


def _start_from(model: Any, path: Path) -> None:
    import keras

    if not path.exists():
        raise VpError(f"{model.name} starts from {path.stem}, which is not trained: no {path}")
    try:
        copy_backbone(keras.saving.load_model(path, compile=False), model)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise VpError(f"the backbone of {path} does not fit {model.name}: {reason}") from None


def _compile(model: Any, recipe: Recipe, steps: int) -> None:
    import keras

    model.compile(
        optimizer=_optimizer(model, recipe, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )


def _optimizer(model: Any, recipe: Recipe, steps: int) -> Any:
    import keras

    total = recipe.epochs * steps
    warmup = int(recipe.warmup * total)
    rate: Any
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=recipe.learning_rate / 25,
            decay_steps=max(1, total - warmup),
            warmup_target=recipe.learning_rate,
            warmup_steps=warmup,
        )
    elif recipe.schedule == "constant":
        rate = recipe.learning_rate
    else:
        raise VpError(f"unknown schedule {recipe.schedule!r}: cosine or constant")
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    else:
        raise VpError(f"unknown optimizer {recipe.optimizer!r}: adamw or sgd")
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    optimizer.build(model.trainable_variables)
    return optimizer


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Start the epoch's dropout masks from a known state: checkpoints do not hold it."""
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([seed, epoch], np.uint32))


def _save_checkpoint(model: Any, path: Path) -> None:
    partial = path.with_name(path.name.removesuffix(".weights.h5") + ".part.weights.h5")
    model.save_weights(partial)
    os.replace(partial, path)


def _load_checkpoint(model: Any, path: Path, steps: int) -> int:
    """Restore weights and optimizer; the number of whole epochs behind them."""
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise VpError(f"checkpoint {path} does not fit: {reason}; use --no-resume") from None
    return int(model.optimizer.iterations) // steps


class _EpochLog:
    """CSV with one row per epoch: epoch, loss, accuracy (training), seconds since the start."""

    _HEADER = ("epoch", "loss", "accuracy", "seconds")

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, epochs: int) -> float:
        """Drop rows after `epochs`; the seconds of the last one kept."""
        rows: list[list[str]] = []
        if epochs > 0 and self._path.exists():
            with self._path.open(newline="") as stream:
                rows = list(csv.reader(stream))[1 : epochs + 1]
        with self._path.open("w", newline="") as stream:
            csv.writer(stream).writerows([self._HEADER, *rows])
        return float(rows[-1][3]) if rows else 0.0

    def add(self, epoch: int, loss: float, accuracy: float, seconds: float) -> None:
        with self._path.open("a", newline="") as stream:
            csv.writer(stream).writerow([epoch, f"{loss:.5f}", f"{accuracy:.5f}", f"{seconds:.1f}"])

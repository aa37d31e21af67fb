"""A trained run -> a folder of int8 models with their manifest."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.aggregate import combine_vp, probabilities, scatter, top_k, variant_weights
from variant_parallelism.aggregate.combine import DEFAULT_ALPHA
from variant_parallelism.errors import VpError
from variant_parallelism.families.spec import VariantSpec
from variant_parallelism.manifest import (
    AggregationInfo,
    DatasetInfo,
    EnsembleInfo,
    InputInfo,
    Manifest,
    VariantInfo,
    model_hash,
    save_manifest,
)
from variant_parallelism.preprocess import normalise
from variant_parallelism.quantize.convert import convert_int8
from variant_parallelism.quantize.evaluate import Scores, evaluate_int8
from variant_parallelism.training.batches import inference_input
from variant_parallelism.training.datasets import Dataset, load_dataset
from variant_parallelism.training.record import RunRecord, load_record
from variant_parallelism.training.trainer import TrainedVariant, predict, top_k_accuracy

MANIFEST_NAME = "manifest.json"
CALIBRATION_IMAGES = 400
_CALIBRATION_SEED = 7

Track = Callable[[str, Iterable[Scores], int], Iterable[Scores]]
"""Wraps the results of so many parts of a named variant's measurement, for a progress bar."""


@dataclass(frozen=True)
class QuantizedFamily:
    """What `vp quantize` wrote."""

    manifest: Manifest
    sizes: dict[str, int]
    """Bytes of each variant's .tflite file."""


@dataclass(frozen=True)
class _Quantized:
    info: VariantInfo
    tflite: bytes
    float_scores: NDArray[np.float32]
    int8_scores: NDArray[np.int8]


def quantize_family(
    run: Path, out: Path, *, jobs: int = 1, track: Track | None = None
) -> QuantizedFamily:
    """Convert every variant of a training folder and write `<variant>.tflite` and `manifest.json`.

    All accuracies are of the whole test split, the int8 ones of the converted files, measured by
    `jobs` processes. `out` is made at once and must be writable, but keeps what it has until every
    variant is converted and measured. VpError names what is missing.
    """
    record = load_record(run)
    trained = {spec.name: _trained(run, spec) for spec in record.family.variants}
    check_writable(out)
    dataset = load_dataset(
        record.data, image_size=record.image_size, channels=record.family.channels
    )
    if dataset.classes != record.classes:
        raise VpError(
            f"{record.data} has the classes {', '.join(dataset.classes)} but {run} was trained "
            f"on {', '.join(record.classes)}"
        )
    specs = record.family.variants
    weights = variant_weights([s.resolution for s in specs], [s.width for s in specs])
    results = [
        _quantize(run, spec, trained[spec.name], float(weight), dataset, jobs, track)
        for spec, weight in zip(specs, weights, strict=True)
    ]
    manifest = _manifest(record, dataset, results)
    write_family(out, manifest, {r.info.file: r.tflite for r in results})
    return QuantizedFamily(manifest, {r.info.name: len(r.tflite) for r in results})


def check_writable(out: Path) -> None:
    """Make the folder `out`, with its parents; VpError if no file can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _staging(out):
            pass
    except (OSError, ValueError) as error:
        raise _cannot_write(out, error) from None


def write_family(out: Path, manifest: Manifest, models: Mapping[str, bytes]) -> None:
    """Put `models` (by file name) and then their manifest into the folder `out`, which exists.

    All of them are written beside their places before the first one is replaced: a full disk leaves
    the family that was there as it was. VpError if one cannot be written.
    """
    try:
        with _staging(out) as folder:
            staged = Path(folder)
            for name, tflite in models.items():
                (staged / name).write_bytes(tflite)
            save_manifest(manifest, staged / MANIFEST_NAME)
            for name in (*models, MANIFEST_NAME):
                os.replace(staged / name, out / name)
    except OSError as error:
        raise _cannot_write(out, error) from None


def _staging(out: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder on the file system of `out`, so that files move from it to `out` at once."""
    return tempfile.TemporaryDirectory(prefix=".quantize-", dir=out)


def _cannot_write(out: Path, error: OSError | ValueError) -> VpError:
    reason = getattr(error, "strerror", None) or error
    return VpError(f"cannot write to {str(out)!r}: {reason}; give another folder with --out")


def _trained(run: Path, spec: VariantSpec) -> TrainedVariant:
    path = run / f"{spec.name}.json"
    try:
        trained = TrainedVariant(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise VpError(f"{path} is damaged: {error}") from None
    except OSError:
        raise VpError(f"variant {spec.name} in {run} is not trained: run `vp train`") from None
    if not (run / f"{spec.name}.keras").exists():
        raise VpError(f"{run / spec.name}.keras is missing: run `vp train`")
    return trained


def _quantize(
    run: Path,
    spec: VariantSpec,
    trained: TrainedVariant,
    weight: float,
    dataset: Dataset,
    jobs: int,
    track: Track | None,
) -> _Quantized:
    import keras

    model = keras.saving.load_model(run / f"{spec.name}.keras", compile=False)
    random = np.random.default_rng(_CALIBRATION_SEED)
    count = min(CALIBRATION_IMAGES, len(dataset.train_images))
    chosen = random.choice(len(dataset.train_images), count, replace=False)
    tflite = convert_int8(model, normalise(inference_input(dataset.train_images[chosen], spec)))

    pixels, labels = inference_input(dataset.test_images, spec), dataset.test_labels
    float_scores = predict(model, pixels)
    name = spec.name
    int8_scores = evaluate_int8(
        tflite,
        pixels,
        jobs=jobs,
        track=None if track is None else lambda parts, count: track(name, parts, count),
    )
    info = VariantInfo(
        name=name,
        file=f"{name}.tflite",
        hash=model_hash(tflite),
        resolution=spec.resolution,
        width=spec.width,
        margin=spec.margin,
        crop_top=spec.crop_top,
        crop_left=spec.crop_left,
        last_conv=spec.last_conv,
        parameters=trained.parameters,
        macs=trained.macs,
        float_top1=top_k_accuracy(float_scores, labels, 1),
        float_top5=top_k_accuracy(float_scores, labels, 5),
        int8_top1=top_k_accuracy(int8_scores, labels, 1),
        int8_top5=top_k_accuracy(int8_scores, labels, 5),
        weight=weight,
        seed=trained.seed,
        epochs=trained.epochs,
    )
    return _Quantized(info, tflite, float_scores, int8_scores)


def _manifest(record: RunRecord, dataset: Dataset, results: list[_Quantized]) -> Manifest:
    height, width, channels = dataset.image_shape
    weights = np.array([result.info.weight for result in results])
    int8_scores = np.stack([result.int8_scores for result in results])
    float_scores = np.stack([result.float_scores for result in results])
    labels = dataset.test_labels
    return Manifest(
        name=record.family.name,
        family="vp",
        dataset=DatasetInfo(
            name=dataset.name, train=len(dataset.train_images), test=len(dataset.test_images)
        ),
        classes=list(dataset.classes),
        input=InputInfo(height=height, width=width, channels=channels),
        aggregation=AggregationInfo(method="vp", alpha=DEFAULT_ALPHA),
        recipe=asdict(record.family.recipe),
        seed=record.family.recipe.seed,
        variants=[result.info for result in results],
        ensemble=EnsembleInfo(
            float_top1_full=top_k_accuracy(combine_vp(float_scores, weights), labels, 1),
            int8_top1_full=ensemble_top1(int8_scores, weights, labels, len(dataset.classes)),
            int8_top1_k2=ensemble_top1(int8_scores, weights, labels, 2),
        ),
    )


def ensemble_top1(
    scores: NDArray[np.int8], weights: NDArray[np.float64], labels: NDArray[np.int64], k: int
) -> float:
    """Top-1 of the scaled sum when every variant sends k entries; scores int8 (V, N, C)."""
    indices, entries = top_k(scores, min(k, scores.shape[-1]))
    vectors = scatter(indices, probabilities(entries), scores.shape[-1])
    return top_k_accuracy(combine_vp(vectors, weights), labels, 1)

"""Training and quantization end to end, and the committed families against their manifests."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from variant_parallelism.aggregate import variant_weights
from variant_parallelism.errors import VpError
from variant_parallelism.families import get_family
from variant_parallelism.families.spec import VariantSpec
from variant_parallelism.manifest import Manifest, VariantInfo, load_manifest, model_hash
from variant_parallelism.quantize import evaluate
from variant_parallelism.quantize.evaluate import evaluate_int8, load_int8
from variant_parallelism.quantize.family import ensemble_top1, quantize_family
from variant_parallelism.training.batches import inference_input
from variant_parallelism.training.datasets import load_dataset
from variant_parallelism.training.record import load_record
from variant_parallelism.training.run import train_family
from variant_parallelism.training.trainer import top_k_accuracy

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODELS = Path(__file__).resolve().parents[2] / "models"
FAMILIES = ("digits", "cifar10-tiny")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of one digits variant, trained in a process of its own as `vp train` does."""
    pytest.importorskip("keras", reason="training needs Keras (extra [train])")
    out = tmp_path_factory.mktemp("run")
    family = get_family("digits", epochs=1)
    family = replace(family, variants=family.variants[:1])
    reported: list[tuple[str, int, int]] = []
    (result,) = train_family(
        family,
        "digits",
        out,
        report=lambda name, step, total, *_: reported.append((name, step, total)),
    )
    assert reported[-1][1] == reported[-1][2]
    assert result.epochs == 1
    return out


def test_train_then_quantize(small_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="quantization needs TensorFlow (extra [train])")
    result = quantize_family(small_run, tmp_path / "models")
    manifest = load_manifest(tmp_path / "models" / "manifest.json")
    assert manifest == result.manifest
    (variant,) = manifest.variants
    tflite = (tmp_path / "models" / variant.file).read_bytes()
    assert result.sizes == {variant.name: len(tflite)}
    assert variant.hash == model_hash(tflite)
    assert (manifest.dataset.train, manifest.dataset.test) == (1347, 450)
    assert manifest.input.size == 64
    trained = json.loads((small_run / "d8.json").read_text())
    assert variant.float_top1 == pytest.approx(trained["float_top1"], abs=1 / 450)
    # One epoch already tells digits apart better than a guess, and int8 must keep that.
    assert abs(variant.int8_top1 - variant.float_top1) < 0.1
    # Alone in its family, a variant is the ensemble.
    assert variant.weight == 1.0
    assert manifest.ensemble.int8_top1_full == variant.int8_top1
    assert not list((tmp_path / "models").glob("*.part"))


def test_measuring_in_processes_gives_the_same_scores(small_run: Path, tmp_path: Path) -> None:
    (name,) = quantize_family(small_run, tmp_path).sizes
    tflite = (tmp_path / f"{name}.tflite").read_bytes()
    pixels = np.random.default_rng(6).integers(0, 256, (120, 8, 8, 1), np.uint8)
    alone = evaluate_int8(tflite, pixels)
    assert alone.shape == (120, 10) and alone.dtype == np.int8
    assert np.array_equal(alone, evaluate_int8(tflite, pixels, jobs=2))


def test_both_int8_runtimes_agree_bit_for_bit(small_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro", reason="compares it with TensorFlow's kernels")
    quantize_family(small_run, tmp_path)
    tflite = (tmp_path / "d8.tflite").read_bytes()
    pixels = np.random.default_rng(7).integers(0, 256, (200, 8, 8, 1), np.uint8)
    micro, reference = evaluate._micro(tflite), evaluate._reference(tflite)
    assert micro.input_scale == reference.input_scale
    assert np.array_equal(micro.scores(pixels), reference.scores(pixels))


def test_int8_output_is_a_softmax_with_the_fixed_scale(small_run: Path, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="reads the file with TensorFlow")
    quantize_family(small_run, tmp_path)
    interpreter = tf.lite.Interpreter(str(tmp_path / "d8.tflite"))
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == result["dtype"] == np.int8
    assert source["shape"].tolist() == [1, 8, 8, 1]
    assert result["quantization"] == (1 / 256, -128)


def test_an_untrained_variant_is_named(small_run: Path, tmp_path: Path) -> None:
    record = load_record(small_run)
    more = replace(record.family, variants=get_family("digits").variants[:2])
    replace(record, family=more).save(tmp_path)
    for name in ("d8.json", "d8.keras"):
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    with pytest.raises(VpError, match=r"variant d12 .* is not trained"):
        quantize_family(tmp_path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_other_classes_than_trained_on_are_an_error(small_run: Path, tmp_path: Path) -> None:
    record = load_record(small_run)
    replace(record, classes=("zero", "one")).save(tmp_path)
    for name in ("d8.json", "d8.keras"):
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    with pytest.raises(VpError, match="was trained on zero, one"):
        quantize_family(tmp_path, tmp_path / "models")


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VpError, match="no training run in"):
        quantize_family(tmp_path, tmp_path / "models")


def test_compressed_ensembles_by_hand() -> None:
    scores = np.array([[[100, 90, -128]], [[-128, 90, 100]]], np.int8)
    weights = np.array([1.0, 1.0])
    assert ensemble_top1(scores, weights, np.array([1]), k=2) == 1.0
    # With one entry each, the class that both find second is lost; the tie goes to class 0.
    assert ensemble_top1(scores, weights, np.array([0]), k=1) == 1.0


def committed(name: str) -> tuple[Path, Manifest]:
    folder = MODELS / name
    return folder, load_manifest(folder / "manifest.json")


@pytest.mark.parametrize("name", FAMILIES)
def test_committed_files_are_those_of_the_manifest(name: str) -> None:
    folder, manifest = committed(name)
    for variant in manifest.variants:
        assert model_hash((folder / variant.file).read_bytes()) == variant.hash
    assert {p.name for p in folder.glob("*.tflite")} == {v.file for v in manifest.variants}


@pytest.mark.parametrize("name", FAMILIES)
def test_committed_manifests_describe_their_family(name: str) -> None:
    _, manifest = committed(name)
    family = get_family(name)
    assert [v.name for v in manifest.variants] == [s.name for s in family.variants]
    weights = variant_weights(
        [v.resolution for v in manifest.variants],
        [v.width for v in manifest.variants],
        manifest.aggregation.alpha,
    )
    for variant, spec, weight in zip(manifest.variants, family.variants, weights, strict=True):
        assert (variant.resolution, variant.margin, variant.crop_top, variant.crop_left) == (
            spec.resolution,
            spec.margin,
            spec.crop_top,
            spec.crop_left,
        )
        assert variant.weight == pytest.approx(weight)
        assert variant.epochs == family.recipe.of(spec).epochs
    best = max(variant.int8_top1 for variant in manifest.variants)
    assert manifest.ensemble.int8_top1_k2 > best
    assert manifest.ensemble.int8_top1_full > best


def test_committed_digits_figures_are_what_the_files_compute() -> None:
    pytest.importorskip("tflite_micro", reason="the int8 runtime (extra [train])")
    folder, manifest = committed("digits")
    data = load_dataset("digits")
    assert (manifest.dataset.train, manifest.dataset.test) == (
        len(data.train_images),
        len(data.test_images),
    )
    scores = np.stack([int8_scores(folder, v, data.test_images) for v in manifest.variants])
    weights = np.array([v.weight for v in manifest.variants])
    for variant, own in zip(manifest.variants, scores, strict=True):
        assert variant.int8_top1 == top_k_accuracy(own, data.test_labels, 1)
        assert variant.int8_top5 == top_k_accuracy(own, data.test_labels, 5)
    classes = len(manifest.classes)
    ensemble = manifest.ensemble
    assert ensemble.int8_top1_k2 == ensemble_top1(scores, weights, data.test_labels, 2)
    assert ensemble.int8_top1_full == ensemble_top1(scores, weights, data.test_labels, classes)


def test_the_first_cifar_images_are_classified_as_the_manifest_says() -> None:
    archive = Path(os.environ.get("VP_DATA", MODELS.parents[1] / "shared" / "data"))
    archive /= "cifar10.tar.xz"
    if not archive.exists():
        pytest.skip(f"no CIFAR-10 at {archive}: set VP_DATA")
    pytest.importorskip("tflite_micro", reason="the int8 runtime (extra [train])")
    folder, manifest = committed("cifar10-tiny")
    data = load_dataset(archive)
    chosen = np.random.default_rng(0).choice(len(data.test_images), 300, replace=False)
    variant = manifest.variants[0]
    scores = int8_scores(folder, variant, data.test_images[chosen])
    accuracy = top_k_accuracy(scores, data.test_labels[chosen], 1)
    # Four standard deviations of a 300-image sample of the reported figure.
    spread = 4 * np.sqrt(variant.int8_top1 * (1 - variant.int8_top1) / 300)
    assert accuracy == pytest.approx(variant.int8_top1, abs=spread)


def int8_scores(folder: Path, variant: VariantInfo, images: np.ndarray) -> np.ndarray:
    geometry = VariantSpec(
        name=variant.name,
        resolution=variant.resolution,
        width=variant.width,
        margin=variant.margin,
        crop_top=variant.crop_top,
        crop_left=variant.crop_left,
        last_conv=variant.last_conv,
        dropout=0.0,
    )
    model = load_int8((folder / variant.file).read_bytes())
    return model.scores(inference_input(images, geometry))

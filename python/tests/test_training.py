"""Batches and the training of variants, on a task small enough for seconds."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from variant_parallelism.cli import main
from variant_parallelism.errors import VpError
from variant_parallelism.families import Recipe, get_family
from variant_parallelism.families.spec import Stage, VariantSpec
from variant_parallelism.preprocess import normalise, resize_crop
from variant_parallelism.training.batches import TrainingBatches, inference_input
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.training.record import RunRecord, load_record
from variant_parallelism.training.run import train_family
from variant_parallelism.training.trainer import predict, top_k_accuracy, train_variant

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", reason="training needs Keras (extra [train])")

FAMILY = get_family("digits", epochs=3)
SPEC = replace(FAMILY.variants[0], dropout=0.3, stages=(Stage(1, 8, 1, 2),), last_conv=16)
RECIPE = replace(FAMILY.recipe, batch=16)


@pytest.fixture(scope="module")
def stripes() -> Dataset:
    """Three classes that a network learns in seconds: where the bright stripe is."""
    random = np.random.default_rng(8)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, 3, count)
        images = random.integers(0, 90, (count, 8, 8, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 1 + 2 * label : 3 + 2 * label] += 150
        return images, labels

    return Dataset("stripes", ("left", "middle", "right"), *split(96), *split(40))


def test_an_epoch_is_fixed_by_seed_and_number(stripes: Dataset) -> None:
    def first(seed: int, epoch: int) -> np.ndarray:
        batches = TrainingBatches(stripes.train_images, stripes.train_labels, 3, SPEC, RECIPE, seed)
        return next(iter(batches.epoch(epoch)))[0]

    assert np.array_equal(first(1, 0), first(1, 0))
    assert not np.array_equal(first(1, 0), first(1, 1))
    assert not np.array_equal(first(1, 0), first(2, 0))


def test_batches_have_the_variants_shape_and_drop_the_rest(stripes: Dataset) -> None:
    recipe = replace(RECIPE, batch=40)
    batches = TrainingBatches(stripes.train_images, stripes.train_labels, 3, SPEC, recipe, 0)
    found = list(batches.epoch(0))
    assert len(found) == batches.steps == 2
    for x, y in found:
        assert x.shape == (40, 8, 8, 1) and x.dtype == np.float32
        assert x.min() >= -1 and x.max() <= 1
        assert y.shape == (40, 3) and np.array_equal(y.sum(axis=1), np.ones(40))


@pytest.mark.parametrize("flip", [False, True])
def test_every_training_image_is_a_crop_of_its_source(flip: bool) -> None:
    source = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    recipe = replace(RECIPE, flip=flip)
    batches = TrainingBatches(source, np.array([0]), 2, SPEC, recipe, 0)
    allowed, mirrored = set(), set()
    for top in range(SPEC.margin + 1):
        for left in range(SPEC.margin + 1):
            crop = resize_crop(source[0], 8 + SPEC.margin, 8, top, left)
            allowed.add(normalise(crop).tobytes())
            mirrored.add(normalise(crop[:, ::-1]).tobytes())
    seen = {next(iter(batches.epoch(e)))[0][0].tobytes() for e in range(80)}
    assert seen <= allowed | (mirrored if flip else set())
    assert bool(seen & mirrored) == flip
    assert len(seen) > len(allowed) // 2


def test_mixup_blends_images_and_labels_alike() -> None:
    black_and_white = np.repeat(np.array([0, 255], np.uint8), 32)[:, None, None, None]
    images = np.broadcast_to(black_and_white, (64, 8, 8, 1)).copy()
    recipe = replace(RECIPE, batch=64, mixup=0.4)
    batches = TrainingBatches(images, np.repeat([0, 1], 32), 2, SPEC, recipe, 5)
    x, y = next(iter(batches.epoch(0)))
    assert len(np.unique(y[:, 1])) > 2
    assert x[:, 0, 0, 0] == pytest.approx(2 * y[:, 1] - 1, abs=1e-5)


def test_inference_input_is_the_fixed_crop(stripes: Dataset) -> None:
    spec = replace(SPEC, margin=2, crop_top=2, crop_left=1)
    crops = inference_input(stripes.test_images[:3], spec)
    for image, crop in zip(stripes.test_images, crops, strict=False):
        assert np.array_equal(crop, resize_crop(image, 10, 8, 2, 1))


def test_top_k_accuracy_counts_labels_among_the_best() -> None:
    scores = np.array([[3, 9, 1], [5, 5, 0], [1, 2, 3]], np.int8)
    assert top_k_accuracy(scores, np.array([1, 1, 0]), 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, np.array([1, 1, 0]), 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, np.array([1, 1, 0]), 5) == 1.0


def rows(path: Path) -> list[str]:
    with path.open(newline="") as stream:
        return [row["epoch"] for row in csv.DictReader(stream)]


class Stop(Exception):
    pass


def train(out: Path, data: Dataset, stop_after: int | None = None, resume: bool = True) -> None:
    """Train SPEC; raise Stop in the epoch after `stop_after`."""
    out.mkdir(exist_ok=True)

    def report(name: str, step: int, total: int, loss: float, accuracy: float) -> None:
        if stop_after is not None and step > stop_after * total / RECIPE.epochs:
            raise Stop

    train_variant(SPEC, RECIPE, data, out, seed=3, report=report, resume=resume)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    tmp_path: Path, stripes: Dataset
) -> None:
    train(tmp_path / "whole", stripes)
    with pytest.raises(Stop):
        train(tmp_path / "resumed", stripes, stop_after=1)
    assert rows(tmp_path / "resumed" / "d8.csv") == ["1"]
    assert not (tmp_path / "resumed" / "d8.json").exists()
    train(tmp_path / "resumed", stripes)
    assert rows(tmp_path / "resumed" / "d8.csv") == ["1", "2", "3"]

    whole, resumed = (
        keras.saving.load_model(tmp_path / name / "d8.keras", compile=False)
        for name in ("whole", "resumed")
    )
    pixels = inference_input(stripes.test_images, SPEC)
    assert predict(resumed, pixels) == pytest.approx(predict(whole, pixels), abs=1e-4)
    result = json.loads((tmp_path / "whole" / "d8.json").read_text())
    assert result["epochs"] == 3 and result["seed"] == 3
    assert result["float_top1"] == top_k_accuracy(predict(whole, pixels), stripes.test_labels, 1)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, stripes: Dataset) -> None:
    with pytest.raises(Stop):
        train(tmp_path, stripes, stop_after=1)
    other = replace(SPEC, last_conv=96)
    with pytest.raises(VpError, match=r"d8\.weights\.h5 does not fit: .*--no-resume"):
        train_variant(other, RECIPE, stripes, tmp_path, seed=3)


def test_a_variant_needs_what_it_starts_from(tmp_path: Path, stripes: Dataset) -> None:
    warm = replace(SPEC, name="warm", start_from="base")
    with pytest.raises(VpError, match="warm starts from base, which is not trained"):
        train_variant(warm, replace(RECIPE, warm_epochs=1), stripes, tmp_path, seed=3)


@pytest.mark.parametrize("wrong", [{"schedule": "steps"}, {"optimizer": "lion"}])
def test_unknown_recipe_values_are_errors(
    tmp_path: Path, stripes: Dataset, wrong: dict[str, str]
) -> None:
    with pytest.raises(VpError, match=next(iter(wrong.values()))):
        train_variant(SPEC, replace(RECIPE, **wrong), stripes, tmp_path, seed=3)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    record = RunRecord(FAMILY, "digits", None, tuple("0123456789"))
    record.save(tmp_path)
    assert load_record(tmp_path) == record
    with pytest.raises(VpError, match="holds another run"):
        train_family(get_family("digits", epochs=4), "digits", tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"family": {}}')
    with pytest.raises(VpError, match=r"run\.json is damaged"):
        load_record(tmp_path)
    with pytest.raises(VpError, match="run `vp train` first"):
        load_record(tmp_path / "missing")


def test_an_unknown_backend_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VpError, match="unknown backend 'theano'"):
        train_family(FAMILY, "digits", tmp_path, backend="theano")


def test_a_missing_backend_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("variant_parallelism.training.run.find_spec", lambda name: None)
    with pytest.raises(VpError, match=r"pip install 'variant-parallelism\[train\]'"):
        train_family(FAMILY, "digits", tmp_path)


def test_records_keep_every_field_of_a_family(tmp_path: Path) -> None:
    family = get_family("cifar10-tiny")
    record = RunRecord(family, "digits", 32, ("a", "b"))
    record.save(tmp_path)
    loaded = load_record(tmp_path)
    assert loaded.family.recipe == Recipe(**vars(family.recipe))
    assert all(isinstance(spec, VariantSpec) for spec in loaded.family.bases)
    assert loaded == record


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--family", "mnist"], "unknown family 'mnist'"),
        (["train", "--family", "cifar10-tiny"], "needs --data"),
        (["train", "--family", "digits", "--variants", "d8,d9"], "no variant 'd9'"),
        (["train", "--family", "digits", "--data", "missing.tar"], "no data at missing.tar"),
        (["quantize", "missing"], "no training run in missing"),
    ],
)
def test_mistakes_on_the_command_line_end_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vp", *arguments])
    with pytest.raises(SystemExit) as exit_status:
        main()
    assert exit_status.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and message in errors and errors.count("\n") == 1

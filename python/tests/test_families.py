"""Variant specifications and the Keras models built from them."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from variant_parallelism.errors import VpError
from variant_parallelism.families import FAMILIES, get_family
from variant_parallelism.families.spec import (
    MOBILENET_V2_STAGES,
    VariantSpec,
    scaled_margin,
    with_strides,
)

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", reason="building variants needs Keras (extra [train])")

from variant_parallelism.families.builder import (  # noqa: E402
    build_variant,
    copy_backbone,
    count_macs,
    count_parameters,
    scaled_filters,
)


def test_v1_has_the_size_of_table_2() -> None:
    model = build_variant(get_family("paper").variants[0], classes=100)
    assert model.count_params() == pytest.approx(320_000, rel=0.02)
    assert count_macs(model) == pytest.approx(10e6, rel=0.05)


def test_v5_has_the_size_of_table_2() -> None:
    model = build_variant(get_family("paper").variants[4], classes=100)
    assert model.count_params() == pytest.approx(370_000, rel=0.02)
    assert count_macs(model) == pytest.approx(54e6, rel=0.02)


def test_the_paper_family_follows_its_formula() -> None:
    variants = get_family("paper").variants
    assert [v.resolution for v in variants] == [96, 128, 160, 192, 224, 256, 320]
    assert [v.last_conv for v in variants] == [256, 320, 384, 448, 512, 576, 640]
    assert {v.width for v in variants} == {0.35}
    assert {v.margin for v in variants} == {10}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_names_and_weights_of_a_family_are_distinct(name: str) -> None:
    variants = FAMILIES[name].variants
    assert len({v.name for v in variants}) == len(variants) >= 5
    assert len({v.resolution for v in variants}) == len(variants)


@pytest.mark.parametrize("name", ["digits", "cifar10-tiny"])
def test_small_variants_build_within_their_budget(name: str) -> None:
    family = get_family(name)
    for spec in family.variants:
        model = build_variant(spec, 10, family.channels)
        assert model.input_shape == (None, spec.resolution, spec.resolution, family.channels)
        assert model.output_shape == (None, 10)
        assert count_macs(model) < 10e6
        assert count_parameters(model) < 400_000


def test_output_is_a_probability_vector() -> None:
    family = get_family("digits")
    model = build_variant(family.variants[0], 7, 1)
    image = np.random.default_rng(3).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    scores = np.asarray(model(image, training=False))
    assert scores.shape == (2, 7)
    assert scores.sum(axis=1) == pytest.approx([1, 1], rel=1e-5)


def test_parameters_and_macs_by_hand() -> None:
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(5)(x))
    assert count_parameters(model) == (3 * 3 * 2 * 4 + 4) + (3 * 3 * 4 + 4) + (4 * 5 + 5)
    assert count_macs(model) == 9 * (3 * 3 * 2 * 4) + 9 * (3 * 3 * 4) + 4 * 5


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(32, 0.35, 16), (24, 0.35, 8), (320, 0.35, 112), (16, 1, 16)]
)
def test_scaled_filters_round_to_eight_like_mobilenet_v2(
    filters: int, width: float, expected: int
) -> None:
    assert scaled_filters(filters, width) == expected


def test_margin_is_the_papers_in_proportion() -> None:
    assert [scaled_margin(r) for r in (8, 32, 96, 320)] == [1, 3, 10, 10]


def test_with_strides_needs_one_stride_a_stage() -> None:
    with pytest.raises(ValueError, match="7 stages but 2 strides"):
        with_strides(MOBILENET_V2_STAGES, (1, 2))


def test_a_crop_outside_the_margin_is_an_error() -> None:
    spec = get_family("digits").variants[0]
    with pytest.raises(ValueError, match="margin"):
        replace(spec, crop_top=spec.margin + 1)
    with pytest.raises(ValueError, match="dropout"):
        VariantSpec("x", 8, 0.5, 1, 0, 0, 64, dropout=1.0)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(VpError, match="cifar10-tiny, digits, paper"):
        get_family("digit")
    with pytest.raises(VpError, match="choose from d8"):
        get_family("digits").needed_for(["d9"])


def test_what_a_variant_starts_from_is_trained_before_it() -> None:
    family = get_family("cifar10-tiny")
    assert [s.name for s in family.needed_for(["c48"])] == ["base56", "c48"]
    assert [s.name for s in family.needed_for(["c36", "c32"])] == ["base32", "c36", "c32"]
    assert {s.name for s in family.needed_for(None)} > {s.name for s in family.variants}


def test_seeds_of_a_family_are_distinct() -> None:
    family = get_family("cifar10-tiny", seed=4)
    seeds = {family.seed_of(s.name) for s in (*family.bases, *family.variants)}
    assert len(seeds) == 7 and min(seeds) == 400


def test_copied_backbones_compute_the_same() -> None:
    base, warm = get_family("cifar10-tiny").needed_for(["c32"])
    source, target = build_variant(base, 10), build_variant(replace(warm, last_conv=64), 10)
    copy_backbone(source, target)
    inner = [
        keras.Model(m.input, m.get_layer("stage6_0_project_bn").output) for m in (source, target)
    ]
    image = np.random.default_rng(4).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(*(np.asarray(m(image, training=False)) for m in inner))


def test_a_backbone_of_another_width_does_not_fit() -> None:
    spec = get_family("digits").variants[0]
    other = build_variant(replace(spec, width=2.0), 10, 1)
    with pytest.raises(ValueError, match="weight"):
        copy_backbone(other, build_variant(spec, 10, 1))


def test_a_warm_variant_has_its_own_epochs() -> None:
    family = get_family("cifar10-tiny")
    base, warm = family.needed_for(["c32"])
    assert family.recipe.of(base).epochs == family.recipe.epochs
    assert family.recipe.of(warm).epochs == family.recipe.warm_epochs
    assert family.recipe.of(warm).learning_rate == family.recipe.warm_learning_rate


def test_epochs_and_seed_replace_the_recipes() -> None:
    recipe = get_family("digits", epochs=3, seed=9).recipe
    assert (recipe.epochs, recipe.seed) == (3, 9)

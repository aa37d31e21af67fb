"""The families that ship with the package."""

from __future__ import annotations

from dataclasses import replace

from variant_parallelism.errors import VpError
from variant_parallelism.families.spec import (
    MOBILENET_V2_STAGES,
    Family,
    Recipe,
    Stage,
    VariantSpec,
    scaled_margin,
    with_strides,
)


def _paper_variant(i: int, resolution: int) -> VariantSpec:
    """V_i of the paper: width 0.35, last convolution of 64 * (3 + i) filters, dropout growing."""
    return VariantSpec(
        name=f"v{i}",
        resolution=resolution,
        width=0.35,
        margin=10,
        crop_top=5,
        crop_left=5,
        last_conv=64 * (3 + i),
        dropout=0.05 * (1 + i),
    )


PAPER = Family(
    name="paper",
    variants=tuple(
        _paper_variant(i, resolution)
        for i, resolution in enumerate((96, 128, 160, 192, 224, 256, 320), start=1)
    ),
    recipe=Recipe(epochs=135, learning_rate=1e-3, mixup=0.2),
)


# At inputs below 96 px MobileNetV2's total stride of 32 leaves one pixel to the last stages. Two of
# its five halvings are dropped below 48 px, one above.
_STRIDES_SMALL = (1, 2, 1, 2, 1, 1, 1)
_STRIDES_MEDIUM = (1, 2, 2, 2, 1, 1, 1)


def _cifar_variant(
    i: int,
    resolution: int,
    strides: tuple[int, ...],
    crop_top: int,
    crop_left: int,
    start_from: str | None = None,
    name: str | None = None,
) -> VariantSpec:
    return VariantSpec(
        name=name or f"c{resolution}",
        resolution=resolution,
        width=0.35,
        margin=scaled_margin(resolution),
        crop_top=crop_top,
        crop_left=crop_left,
        last_conv=64 * (3 + i),
        dropout=0.02 * (1 + i),
        stages=with_strides(MOBILENET_V2_STAGES, strides),
        start_from=start_from,
    )


CIFAR10_TINY = Family(
    name="cifar10-tiny",
    variants=(
        _cifar_variant(1, 32, _STRIDES_SMALL, 1, 2, start_from="base32"),
        _cifar_variant(2, 36, _STRIDES_SMALL, 2, 1, start_from="base32"),
        _cifar_variant(3, 40, _STRIDES_SMALL, 2, 3, start_from="base32"),
        _cifar_variant(4, 48, _STRIDES_MEDIUM, 3, 2, start_from="base56"),
        _cifar_variant(5, 56, _STRIDES_MEDIUM, 3, 4, start_from="base56"),
    ),
    recipe=Recipe(
        epochs=12,
        batch=64,
        learning_rate=3e-3,
        weight_decay=0.05,
        warm_epochs=5,
        warm_learning_rate=2e-3,
    ),
    bases=(
        _cifar_variant(1, 32, _STRIDES_SMALL, 1, 2, name="base32"),
        _cifar_variant(5, 56, _STRIDES_MEDIUM, 3, 4, name="base56"),
    ),
)


_DIGIT_STAGES = (Stage(1, 16, 1, 1), Stage(4, 24, 1, 2), Stage(4, 32, 1, 1))


def _digits_variant(i: int, resolution: int, top: float, left: float) -> VariantSpec:
    """A variant that sees five sixths of the image, each another part: so their errors differ."""
    margin = round(resolution / 5)
    small = resolution < 16
    return VariantSpec(
        name=f"d{resolution}",
        resolution=resolution,
        width=0.5,
        margin=margin,
        crop_top=round(margin * top),
        crop_left=round(margin * left),
        last_conv=64 * i,
        dropout=0.1,
        stem_filters=16,
        stages=with_strides(_DIGIT_STAGES, (1, 1 if small else 2, 1)),
    )


DIGITS = Family(
    name="digits",
    variants=(
        _digits_variant(1, 8, 0.5, 0.5),
        _digits_variant(2, 12, 0.0, 0.0),
        _digits_variant(3, 16, 0.0, 1.0),
        _digits_variant(4, 20, 1.0, 0.0),
        _digits_variant(5, 24, 1.0, 1.0),
    ),
    recipe=Recipe(epochs=14, batch=32, learning_rate=4e-3, flip=False),
    channels=1,
    dataset="digits",
)

FAMILIES: dict[str, Family] = {family.name: family for family in (DIGITS, CIFAR10_TINY, PAPER)}


def get_family(name: str, *, epochs: int | None = None, seed: int | None = None) -> Family:
    """The family of that name, with other epochs or another seed if given.

    Raises VpError for an unknown name.
    """
    family = FAMILIES.get(name)
    if family is None:
        raise VpError(f"unknown family {name!r}: choose from {', '.join(sorted(FAMILIES))}")
    recipe = family.recipe
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs, warm_epochs=epochs)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    return replace(family, recipe=recipe)

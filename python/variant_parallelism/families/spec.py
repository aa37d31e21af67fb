"""What a variant, a recipe and a family are: plain data, no Keras."""

from __future__ import annotations

from dataclasses import dataclass, replace

from variant_parallelism.errors import VpError


@dataclass(frozen=True)
class Stage:
    """`repeats` inverted residual bottlenecks, as in Table 2 of the MobileNetV2 paper.

    `filters` is the output width before the width multiplier, `expansion` the factor t of the
    expanded channels, `stride` the stride of the first repeat.
    """

    expansion: int
    filters: int
    repeats: int
    stride: int


MOBILENET_V2_STAGES: tuple[Stage, ...] = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


def with_strides(stages: tuple[Stage, ...], strides: tuple[int, ...]) -> tuple[Stage, ...]:
    """The same stages with one other first stride each."""
    if len(stages) != len(strides):
        raise ValueError(f"{len(stages)} stages but {len(strides)} strides")
    return tuple(
        replace(stage, stride=stride) for stage, stride in zip(stages, strides, strict=True)
    )


@dataclass(frozen=True)
class VariantSpec:
    """One variant: input geometry and network shape.

    The source image is resized to (resolution + margin) squared; the network sees the crop of
    resolution squared at (crop_top, crop_left), in 0 .. margin. In training the crop is random.
    `last_conv` is the number of filters of the 1x1 convolution before the global max pool.
    """

    name: str
    resolution: int
    width: float
    margin: int
    crop_top: int
    crop_left: int
    last_conv: int
    dropout: float
    stem_filters: int = 32
    stem_stride: int = 2
    stages: tuple[Stage, ...] = MOBILENET_V2_STAGES

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.margin < 0 or self.width <= 0:
            raise ValueError(f"{self.name}: resolution, margin or width out of range")
        if not (0 <= self.crop_top <= self.margin and 0 <= self.crop_left <= self.margin):
            raise ValueError(f"{self.name}: the crop does not lie inside the margin")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"{self.name}: dropout {self.dropout} is not in [0, 1)")


def scaled_margin(resolution: int) -> int:
    """The paper's 10 px of margin at 96 px, in proportion for smaller inputs."""
    return min(10, round(resolution * 10 / 96))


@dataclass(frozen=True)
class Recipe:
    """How every variant of a family is trained.

    `learning_rate` is the peak: it rises linearly over `warmup` (a fraction of all steps), then
    falls to zero along a cosine. `mixup` is the alpha of the Beta distribution, 0 for none; one
    lambda is drawn per batch. `weight_decay` is decoupled (AdamW, SGDW).
    """

    epochs: int
    batch: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    warmup: float = 0.15
    weight_decay: float = 1e-3
    label_smoothing: float = 0.0
    mixup: float = 0.0
    flip: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Family:
    """A named list of variants that answer the same question, and their recipe.

    `dataset` is what `vp train` reads when no --data is given; None where there is no default.
    """

    name: str
    variants: tuple[VariantSpec, ...]
    recipe: Recipe
    channels: int = 3
    dataset: str | None = None

    def select(self, names: list[str]) -> Family:
        """The family restricted to the variants of the given names, in the family's order."""
        known = [variant.name for variant in self.variants]
        for name in names:
            if name not in known:
                raise VpError(
                    f"family {self.name} has no variant {name!r}: choose from {', '.join(known)}"
                )
        return replace(self, variants=tuple(v for v in self.variants if v.name in names))

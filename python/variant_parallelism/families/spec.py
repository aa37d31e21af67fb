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
    `start_from` names a variant of the same family whose trained backbone this one starts from
    (weights of convolutions do not depend on the resolution); None starts from random weights.
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
    start_from: str | None = None

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
    lambda is drawn per batch. `weight_decay` is decoupled (AdamW, SGDW). A variant that starts
    from another one's backbone trains `warm_epochs` with a peak of `warm_learning_rate`.
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
    warm_epochs: int = 0
    warm_learning_rate: float = 0.0

    def of(self, variant: VariantSpec) -> Recipe:
        """The recipe with the epochs and the learning rate that `variant` is trained with."""
        if variant.start_from is None:
            return self
        return replace(self, epochs=self.warm_epochs, learning_rate=self.warm_learning_rate)


@dataclass(frozen=True)
class Family:
    """A named list of variants that answer the same question, and their recipe.

    `bases` are trained first, like variants, only to start variants from their backbones.
    `dataset` is what `vp train` reads when no --data is given; None where there is no default.
    """

    name: str
    variants: tuple[VariantSpec, ...]
    recipe: Recipe
    channels: int = 3
    dataset: str | None = None
    bases: tuple[VariantSpec, ...] = ()

    def seed_of(self, name: str) -> int:
        """The seed of a variant or base: its place in training, offset by the recipe's seed."""
        names = [spec.name for spec in self.needed_for(None)]
        return 100 * self.recipe.seed + names.index(name)

    def needed_for(self, names: list[str] | None) -> list[VariantSpec]:
        """What to train for the variants of the given names (None: all), in a possible order.

        That is each of them after what it starts from. Raises VpError for an unknown name.
        """
        known = {spec.name: spec for spec in (*self.bases, *self.variants)}
        wanted = [variant.name for variant in self.variants] if names is None else names
        needed: dict[str, VariantSpec] = {}

        def add(name: str) -> None:
            spec = known.get(name)
            if spec is None:
                choices = ", ".join(variant.name for variant in self.variants)
                raise VpError(f"family {self.name} has no variant {name!r}: choose from {choices}")
            if name not in needed:
                if spec.start_from is not None:
                    add(spec.start_from)
                needed[name] = spec

        for name in wanted:
            add(name)
        return list(needed.values())

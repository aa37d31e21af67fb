"""Keras models of variants, for every Keras backend, and their size."""

from __future__ import annotations

from typing import Any

from variant_parallelism.families.spec import VariantSpec

# Normalisation settings of the MobileNetV2 reference, except for the momentum: 0.999 is meant for
# hundreds of thousands of steps, small variants see a few thousand.
_BN_MOMENTUM = 0.98
_BN_EPSILON = 1e-3


def scaled_filters(filters: int, width: float, divisor: int = 8) -> int:
    """`filters` times the width multiplier, rounded to a multiple of 8, at most 10% down."""
    wanted = filters * width
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


def build_variant(spec: VariantSpec, classes: int, channels: int = 3) -> Any:
    """A keras.Model: float32 (N, resolution, resolution, channels) in [-1, 1] -> (N, classes).

    MobileNetV2 bottlenecks, then the head of the Variant Parallelism paper (section III): 1x1
    convolution, batch normalisation, ReLU, dropout, global max pool, one score per class. The
    softmax over all classes is part of the model.
    """
    import keras
    from keras import layers

    def normalise(x: Any, name: str, relu6: bool = True) -> Any:
        x = layers.BatchNormalization(
            momentum=_BN_MOMENTUM, epsilon=_BN_EPSILON, name=f"{name}_bn"
        )(x)
        return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu6 else x

    def bottleneck(x: Any, filters: int, expansion: int, stride: int, name: str) -> Any:
        before = int(x.shape[-1])
        y = x
        if expansion != 1:
            y = layers.Conv2D(before * expansion, 1, use_bias=False, name=f"{name}_expand")(y)
            y = normalise(y, f"{name}_expand")
        y = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
        )(y)
        y = normalise(y, f"{name}_depthwise")
        y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(y)
        y = normalise(y, f"{name}_project", relu6=False)
        if stride == 1 and before == filters:
            y = layers.Add(name=f"{name}_add")([x, y])
        return y

    image = keras.Input((spec.resolution, spec.resolution, channels), name="image")
    x = layers.Conv2D(
        scaled_filters(spec.stem_filters, spec.width),
        3,
        strides=spec.stem_stride,
        padding="same",
        use_bias=False,
        name="stem",
    )(image)
    x = normalise(x, "stem")
    for s, stage in enumerate(spec.stages):
        filters = scaled_filters(stage.filters, spec.width)
        for r in range(stage.repeats):
            stride = stage.stride if r == 0 else 1
            x = bottleneck(x, filters, stage.expansion, stride, f"stage{s}_{r}")
    x = layers.Conv2D(spec.last_conv, 1, use_bias=False, name="last_conv")(x)
    x = layers.BatchNormalization(momentum=_BN_MOMENTUM, epsilon=_BN_EPSILON, name="last_conv_bn")(
        x
    )
    x = layers.ReLU(name="last_conv_relu")(x)
    if spec.dropout > 0:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    # The maximum over positions is large even for random weights: with small ones here the first
    # softmax is flat, with the default ones its loss is two to three times that of a guess.
    small = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Dense(classes, kernel_initializer=small, name="logits")(x)
    scores = layers.Softmax(name="scores")(x)
    return keras.Model(image, scores, name=spec.name)


def copy_backbone(source: Any, target: Any) -> None:
    """Copy the weights of every layer before the head from one variant to another.

    Both need the same stages and width; resolution, strides and head may differ. Raises ValueError
    if a layer does not fit.
    """
    for layer in target.layers:
        if layer.name.startswith(("stem", "stage")) and layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def count_parameters(model: Any) -> int:
    """Weights and biases that remain after batch normalisation is folded into convolutions.

    That is what a device stores: every convolution carries one bias per output channel.
    """
    total = 0
    for layer in model.layers:
        if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "Dense"):
            kernel = layer.kernel
            total += _size(kernel.shape)
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            total += int(kernel.shape[2] * kernel.shape[3]) if depthwise else int(kernel.shape[-1])
    return total


def count_macs(model: Any) -> int:
    """Multiply-accumulates of one image: convolutions and dense layers, padding included."""
    total = 0
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D"):
            _, height, width, _ = layer.output.shape
            total += int(height) * int(width) * _size(layer.kernel.shape)
        elif kind == "Dense":
            total += _size(layer.kernel.shape)
    return total


def _size(shape: Any) -> int:
    total = 1
    for side in shape:
        total *= int(side)
    return total

"""One variant as C: its compiled model, its geometry and input table, its buffer sizes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.manifest import Manifest, VariantInfo, model_hash
from variant_parallelism.preprocess import input_lut

_STAMP = "stamp.json"
_SCORE_SCALE = 1 / 256
_SCORE_ZERO_POINT = -128

_VARIANT_C = """\
/* Variant {name}: written by vp build. */
#include "{identifier}.h"
#include "vp/image.h"
#include "vp_image_config.h"

_Static_assert({macro}_ARENA_SIZE <= VP_IMAGE_ARENA_SIZE &&
                   {macro}_INPUT_SIZE ==
                       VP_IMAGE_RESOLUTION * VP_IMAGE_RESOLUTION * VP_IMAGE_CHANNELS &&
                   {macro}_OUTPUT_SIZE == VP_IMAGE_CLASSES,
               "vp_image_config.h is not this model's");

static const int8_t lut[256] = {{
{lut}
}};

const vp_node_variant vp_image_variant = {{
    .model = &{identifier},
    .margin = VP_IMAGE_MARGIN,
    .crop_top = VP_IMAGE_CROP_TOP,
    .crop_left = VP_IMAGE_CROP_LEFT,
    .input_height = VP_IMAGE_INPUT_HEIGHT,
    .input_width = VP_IMAGE_INPUT_WIDTH,
    .lut = lut,
}};
"""

_CONFIG_H = """\
/* Variant {name}: written by vp build. Sizes in bytes, lengths in pixels. */
#ifndef VP_IMAGE_CONFIG_H
#define VP_IMAGE_CONFIG_H

#define VP_IMAGE_ARENA_SIZE {arena}u
#define VP_IMAGE_INPUT_CAPACITY {capacity}u
#define VP_IMAGE_INPUT_HEIGHT {height}u
#define VP_IMAGE_INPUT_WIDTH {width}u
#define VP_IMAGE_RESOLUTION {resolution}u
#define VP_IMAGE_CHANNELS {channels}u
#define VP_IMAGE_MARGIN {margin}u
#define VP_IMAGE_CROP_TOP {crop_top}u
#define VP_IMAGE_CROP_LEFT {crop_left}u
#define VP_IMAGE_CLASSES {classes}u

#endif
"""


@dataclass(frozen=True)
class VariantSource:
    """What a written variant takes.

    Attributes:
        arena: bytes of the model's working memory.
        step: operator and index, in the .tflite file, of the call with the most multiplications:
            what runs without a pause.
        step_macs: those.
    """

    arena: int
    step: str
    step_macs: int


@dataclass(frozen=True)
class ModelSource:
    """A model written as C into a folder of its own: what the image around it must know.

    Attributes:
        name: C identifier of the vp_model; <name>.h declares it and its sizes.
        input_shape, output_shape: of its int8 tensors.
        input, output: their (scale, zero point).
        arena, step, step_macs: as in VariantSource.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input: tuple[float, int]
    output: tuple[float, int]
    arena: int
    step: str
    step_macs: int


class Runtime(Protocol):
    """What runs the model in an image."""

    def digest(self) -> str:
        """Changes with whatever it makes a model's folder from, the model itself excepted."""

    def write_model(self, tflite: Path, folder: Path, name: str) -> ModelSource:
        """Write a model into `folder`; VpError if it cannot run it."""

    def cmake_arguments(self) -> list[str]:
        """What CMake must know of it."""


@dataclass(frozen=True)
class Compiled:
    """The runtime of every image by default: the model as C of its own, without an interpreter.

    Attributes:
        kernels: "portable", "dsp" or "mve", as for vp_converters.compile_model.
        ram: bytes that an arena may take, as there.
    """

    kernels: str = "portable"
    ram: int | None = None

    def digest(self) -> str:
        """Of the kernels, this file, the compiler and the sources that it copies."""
        try:
            return f"{self.kernels} {self.ram} {_generator_digest()}"
        except ImportError as error:
            raise _without_compiler(error) from None

    def write_model(self, tflite: Path, folder: Path, name: str) -> ModelSource:
        """Compile the model."""
        try:
            from vp_converters import ConversionError, compile_model
        except ImportError as error:
            raise _without_compiler(error) from None
        try:
            compiled = compile_model(tflite, folder, name, self.kernels, self.ram)
        except ConversionError as error:
            raise VpError(str(error)) from None
        report = compiled.report()
        steps = [step for step in compiled.steps() if step.calls]
        step = max(steps, key=lambda step: step.macs / step.calls)
        return ModelSource(
            name=compiled.name,
            input_shape=compiled.input_shape,
            output_shape=compiled.output_shape,
            input=(report["input"]["scale"], report["input"]["zero_point"]),
            output=(report["output"]["scale"], report["output"]["zero_point"]),
            arena=compiled.arena_size,
            step=f"{step.operator} {step.op_index}",
            step_macs=step.macs // step.calls,
        )

    def cmake_arguments(self) -> list[str]:
        """Nothing."""
        return []


COMPILED: Runtime = Compiled()


def write_variant(
    manifest: Manifest,
    variant: VariantInfo,
    tflite: Path,
    folder: Path,
    runtime: Runtime = COMPILED,
) -> VariantSource:
    """Write the variant's folder (variant.c, vp_image_config.h, model/) unless it is up to date.

    VpError if the model cannot be read, `runtime` cannot run it, or it is not the one that the
    manifest describes.
    """
    try:
        data = tflite.read_bytes()
    except OSError as error:
        raise VpError(f"cannot read model {tflite}: {error.strerror}") from None
    if model_hash(data) != variant.hash:
        raise VpError(
            f"{tflite} is not the model that its manifest describes "
            f"(hash {model_hash(data)}, manifest {variant.hash}): run vp quantize again"
        )
    key = _key(manifest, variant, runtime)
    stamp = _read_stamp(folder)
    if stamp is not None and stamp.get("key") == key:
        return VariantSource(**stamp["source"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vp-", dir=folder.parent) as temporary:
        partial = Path(temporary, folder.name)
        model = runtime.write_model(tflite, partial / "model", f"model_{variant.name}")
        _check_model(manifest, variant, tflite, model)
        _write_image(manifest, variant, model, partial)
        source = VariantSource(arena=model.arena, step=model.step, step_macs=model.step_macs)
        (partial / _STAMP).write_text(json.dumps({"key": key, "source": vars(source)}) + "\n")
        if folder.exists():
            os.replace(folder, Path(temporary, "old"))
        os.replace(partial, folder)
    return source


def _check_model(
    manifest: Manifest, variant: VariantInfo, tflite: Path, model: ModelSource
) -> None:
    wanted = (1, variant.resolution, variant.resolution, manifest.input.channels)
    if model.input_shape != wanted:
        raise VpError(
            f"{tflite} takes {_shape(model.input_shape)}, the manifest says {_shape(wanted)}"
        )
    if model.output_shape[-1] != len(manifest.classes):
        raise VpError(
            f"{tflite} gives {model.output_shape[-1]} scores, "
            f"the manifest has {len(manifest.classes)} classes"
        )
    _check_output(tflite, *model.output)


def _write_image(
    manifest: Manifest, variant: VariantInfo, model: ModelSource, folder: Path
) -> None:
    table = input_lut(*model.input).tolist()
    rows = [", ".join(map(str, table[at : at + 16])) for at in range(0, 256, 16)]
    (folder / "variant.c").write_text(
        _VARIANT_C.format(
            name=variant.name,
            identifier=model.name,
            macro=model.name.upper(),
            lut="\n".join(f"    {row}," for row in rows),
        )
    )
    (folder / "vp_image_config.h").write_text(
        _CONFIG_H.format(
            name=variant.name,
            arena=model.arena,
            capacity=manifest.input.size,
            height=manifest.input.height,
            width=manifest.input.width,
            resolution=variant.resolution,
            channels=manifest.input.channels,
            margin=variant.margin,
            crop_top=variant.crop_top,
            crop_left=variant.crop_left,
            classes=len(manifest.classes),
        )
    )


def _check_output(tflite: Path, scale: float, zero_point: int) -> None:
    """The gateway adds up int8 scores as (q + 128) / 256: a softmax of every variant."""
    if (scale, zero_point) != (_SCORE_SCALE, _SCORE_ZERO_POINT):
        raise VpError(
            f"{tflite} gives scores of scale {scale:g} and zero point {zero_point}, "
            f"the aggregation needs {_SCORE_SCALE:g} and {_SCORE_ZERO_POINT}: "
            "end the model with a softmax"
        )


def _key(manifest: Manifest, variant: VariantInfo, runtime: Runtime) -> str:
    """Changes with whatever the generated folder depends on."""
    facts = [
        variant.hash,
        variant.name,
        variant.margin,
        variant.crop_top,
        variant.crop_left,
        variant.resolution,
        manifest.input.height,
        manifest.input.width,
        manifest.input.channels,
        len(manifest.classes),
        runtime.digest(),
    ]
    return hashlib.blake2s(json.dumps(facts).encode()).hexdigest()


def _without_compiler(error: ImportError) -> VpError:
    return VpError(f"the compiler needs {error.name}: pip install 'variant-parallelism[convert]'")


@cache
def _generator_digest() -> str:
    """Over this file, the compiler and the sources that it copies."""
    origin = import_module("vp_converters.errors").__file__
    assert origin is not None
    compiler = Path(origin).parent
    sources = [Path(__file__)]
    sources += [path for path in compiler.rglob("*") if path.suffix in (".py", ".j2", ".c", ".h")]
    firmware = firmware_dir()
    sources += [*(firmware / "nn").rglob("*.[ch]"), *(firmware / "include").rglob("*.h")]
    digest = hashlib.blake2s()
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def remove_stale(folder: Path, keep: set[str]) -> None:
    """Delete the folders of variants that the manifest no longer has: what write_variant wrote in
    `folder` itself, nothing that only a link leads to."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if path.name not in keep and not path.is_symlink() and (path / _STAMP).is_file():
                shutil.rmtree(path)

"""The manifest of a trained family: what each variant is and how well it answers.

`vp quantize` writes `manifest.json` beside the `.tflite` files; every other command reads it.
Accuracies are fractions of the whole test split, sizes are in pixels.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from variant_parallelism.errors import VpError
from variant_parallelism.preprocess import MAX_SIDE
from variant_parallelism.text_files import read_text

Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1, le=MAX_SIDE)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=63)]
"""Names files and folders, so it never leads out of the one it is put in."""

MODEL_HASH_SIZE = 8


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DatasetInfo(_Model):
    """Where the figures come from: name and sizes of the two splits."""

    name: str
    train: int
    test: int


class InputInfo(_Model):
    """The source image as the gateway broadcasts it (uint8, interleaved channels)."""

    height: Pixels
    width: Pixels
    channels: Annotated[int, Field(ge=1, le=4)]

    @property
    def size(self) -> int:
        """Bytes of one image."""
        return self.height * self.width * self.channels


class AggregationInfo(_Model):
    """How the family's predictions combine: `vp` is the scaled sum, `vip` the mean."""

    method: Literal["vp", "vip"] = "vp"
    alpha: float = 1.15


class VariantInfo(_Model):
    """One variant: geometry, size and measured accuracy.

    The node resizes its input to (resolution + margin) squared and crops at
    (crop_top, crop_left). `weight` is (rho / max rho) * (d / min d) ** alpha over the family.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=31)]
    file: PlainName
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    resolution: Pixels
    width: Annotated[float, Field(gt=0)]
    margin: Annotated[int, Field(ge=0)]
    crop_top: Annotated[int, Field(ge=0)]
    crop_left: Annotated[int, Field(ge=0)]
    last_conv: int
    parameters: int
    macs: int
    float_top1: Fraction
    float_top5: Fraction
    int8_top1: Fraction
    int8_top5: Fraction
    weight: Annotated[float, Field(gt=0)]
    seed: int
    epochs: int

    @model_validator(mode="after")
    def _geometry(self) -> VariantInfo:
        if self.resolution + self.margin > MAX_SIDE:
            raise ValueError(f"resolution and margin must not exceed {MAX_SIDE} together")
        if max(self.crop_top, self.crop_left) > self.margin:
            raise ValueError("crop_top and crop_left must not exceed margin")
        return self


class EnsembleInfo(_Model):
    """Top-1 of all variants together: float and int8 with whole vectors, int8 with k = 2."""

    float_top1_full: Fraction
    int8_top1_full: Fraction
    int8_top1_k2: Fraction


class Manifest(_Model):
    """`manifest.json`, schema 1."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: PlainName
    family: Literal["vp", "vip"]
    dataset: DatasetInfo
    classes: Annotated[list[str], Field(min_length=2, max_length=65535)]
    input: InputInfo
    aggregation: AggregationInfo
    recipe: dict[str, Any]
    seed: int
    variants: Annotated[list[VariantInfo], Field(min_length=1)]
    ensemble: EnsembleInfo

    @model_validator(mode="after")
    def _unique_names(self) -> Manifest:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("two variants share a name")
        return self

    def variant(self, name: str) -> VariantInfo:
        """The variant called `name`; KeyError if there is none."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)


def model_hash(tflite: bytes) -> str:
    """The 16 hexadecimal digits that name a model: 8 bytes of BLAKE2s-256 over its file."""
    return hashlib.blake2s(tflite).digest()[:MODEL_HASH_SIZE].hex()


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; VpError names the file and the first thing that is wrong."""
    text = read_text(path, "manifest")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        if not where.isprintable():
            where = repr(where)
        message = first["msg"].removeprefix("Value error, ")
        raise VpError(f"manifest {path}: {where}: {message}") from None


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(manifest.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)

"""What a node must answer, computed on this machine with the node's own C, bit for bit.

The resize and the top-k are the ones that the firmware links (through cffi); the model is compiled
by the same compiler for this machine. Needs the `convert` extra and a C compiler.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib
from variant_parallelism.manifest import Manifest, VariantInfo
from variant_parallelism.preprocess import input_lut

if TYPE_CHECKING:
    from vp_converters.host import HostModel

Entries = tuple[tuple[int, int], ...]


class VariantReference:
    """One variant on this machine. `folder` is the manifest's."""

    def __init__(self, variant: VariantInfo, folder: Path) -> None:
        from vp_converters.host import HostModel
        from vp_converters.reader import check_activation

        self._variant = variant
        self._model: HostModel = HostModel(folder / variant.file)
        graph = self._model.compiled.program.graph
        self._lut = input_lut(*check_activation(graph.tensors[graph.input]))

    def input(self, image: NDArray[np.uint8]) -> NDArray[np.int8]:
        """uint8 (H, W, C) -> the model's int8 input (rho, rho, C), as vp_resize_rows makes it."""
        height, width, channels = image.shape
        side = self._variant.resolution
        geometry = ffi.new("vp_resize *")
        geometry.source_height, geometry.source_width = height, width
        geometry.crop_height = geometry.crop_width = side
        geometry.margin = self._variant.margin
        geometry.crop_top = self._variant.crop_top
        geometry.crop_left = self._variant.crop_left
        geometry.channels = channels
        result = np.empty((side, side, channels), np.int8)
        error = lib.vp_resize_rows(
            geometry,
            ffi.from_buffer("uint8_t[]", np.ascontiguousarray(image)),
            ffi.from_buffer("int8_t[]", self._lut),
            0,
            side,
            ffi.from_buffer("int8_t[]", result, require_writable=True),
        )
        if error:
            raise ValueError(f"an image of {height} x {width} x {channels} cannot be resized")
        return result

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.int8]:
        """The model's int8 output (C,) for a uint8 image (H, W, C)."""
        return self._model.run(self.input(image)).reshape(-1)

    def entries(self, image: NDArray[np.uint8], k: int) -> Entries:
        """The k best (class, int8 score), as the node's PREDICTION must carry them."""
        scores = np.ascontiguousarray(self.scores(image))
        chosen = ffi.new("vp_topk_entry[]", k)
        count = lib.vp_topk_select(ffi.from_buffer("int8_t[]", scores), len(scores), k, chosen)
        return tuple((chosen[i].index, chosen[i].score) for i in range(count))


class FamilyReference:
    """All variants of a manifest, each compiled when it is first asked."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._manifest = manifest
        self._folder = folder
        self._variants: dict[str, VariantReference] = {}

    def __getitem__(self, name: str) -> VariantReference:
        if name not in self._variants:
            self._variants[name] = VariantReference(self._manifest.variant(name), self._folder)
        return self._variants[name]

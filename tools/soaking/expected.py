"""What every node must say: of an image that was sent, and of what it captured at a trigger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.fleet import Fleet
from variant_parallelism.pattern import captured
from variant_parallelism.reference import Entries
from variant_parallelism.virtual import AnswerTable, trigger_answer

_RENUMBERED = 64
"""A node that has to be asked anew knows a request by a later number: at most so much later."""


class Expected:
    """Of the nodes of one fleet. `virtual` says which of them answer triggers by rule."""

    def __init__(
        self,
        fleet: Fleet,
        images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        table: AnswerTable,
        is_virtual: Callable[[int], bool],
        model: Callable[[str, NDArray[np.uint8], int], Entries],
    ) -> None:
        """`model` gives what a variant, by name, says of an image (H, W, C): its k best."""
        manifest = fleet.manifest
        columns = {variant.name: at for at, variant in enumerate(manifest.variants)}
        self._variant = {node.id: node.variant for node in fleet.nodes}
        self._column = {node.id: columns[node.variant] for node in fleet.nodes}
        self._k = fleet.table.k
        self._classes = len(manifest.classes)
        self._shape = (manifest.input.height, manifest.input.width, manifest.input.channels)
        self._is_virtual = is_virtual
        self._model = model
        self._of_images = [
            [table.entries(image, column, self._k) for column in columns.values()]
            for image in images
        ]

    def of_image(self, at: int, node: int) -> Entries:
        """What `node` says of the image at this place."""
        return self._of_images[at][self._column[node]]

    def is_of_later_trigger(self, request: int, node: int, entries: Entries) -> bool:
        """Whether `node` says that when it is asked anew, under a number soon after this one.

        By chance that may be so: a check of few answers.
        """
        return any(
            entries == self.of_trigger((request + later) & 0xFFFF, node)
            for later in range(1, _RENUMBERED)
        )

    def of_trigger(self, number: int, node: int) -> Entries:
        """What `node` says at a TRIGGER of this number on the wire."""
        if self._is_virtual(node):
            return trigger_answer(number, self._column[node], self._classes, self._k)
        return self._model(self._variant[node], captured(node, number, self._shape), self._k)

"""The votes of an answer: arrays, and `Vote` objects made of them when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.ballot import latencies_s
from variant_parallelism.gateway.types import Vote


class Votes(Sequence[Vote]):
    """V votes of k entries each, by rising node id. Nobody changes the arrays."""

    __slots__ = ("_rows", "_started", "_variants", "counted", "k", "nodes")

    def __init__(
        self,
        nodes: NDArray[np.int64],
        variants: NDArray[np.object_],
        rows: NDArray[np.void],
        k: int,
        started: float,
        counted: NDArray[np.bool_],
    ) -> None:
        """`rows` (V,) are those of the ballot of a request that started at `started`, in seconds
        of the core's clock."""
        self.nodes = nodes
        """Ids (V,)."""
        self.counted = counted
        """Whether the vote had a part in the answer (V,)."""
        self.k = k
        self._variants = variants
        self._rows = rows
        self._started = started

    @property
    def latencies_ms(self) -> NDArray[np.float64]:
        """From the first of the question that went out to the vote (V,)."""
        return latencies_s(self._rows, self._started) * 1000

    @property
    def classes(self) -> NDArray[np.uint16]:
        """(V, k), best first."""
        return self._rows["classes"][:, : self.k]

    @property
    def scores(self) -> NDArray[np.int8]:
        """(V, k), in the order of `classes`."""
        return self._rows["scores"][:, : self.k]

    def _all(self) -> tuple[Vote, ...]:
        """Made anew each time: answers that wait for a sink by the thousand hold arrays alone."""
        return tuple(
            Vote(node, variant, tuple(zip(classes, scores, strict=True)), *rest)
            for node, variant, classes, scores, *rest in zip(
                self.nodes.tolist(),
                self._variants.tolist(),
                self.classes.tolist(),
                self.scores.tolist(),
                self.latencies_ms.tolist(),
                (self._rows["time_quarter_ms"] / 4).tolist(),
                self._rows["wire_bytes"].tolist(),
                self.counted.tolist(),
                strict=True,
            )
        )

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Vote]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Vote: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Vote, ...]: ...
    def __getitem__(self, index: int | slice) -> Vote | tuple[Vote, ...]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._all())

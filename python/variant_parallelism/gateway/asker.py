"""The seam for gateways that share a fleet."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.types import Answer


class Asker(Protocol):
    """Somebody who gets a fleet's answers for a gateway."""

    async def classify(
        self,
        image: NDArray[np.uint8],
        *,
        k: int | None,
        deadline_ms: float | None,
        label: int | None,
    ) -> Answer:
        """See `Gateway.classify`."""

    async def trigger(
        self, *, k: int | None, deadline_ms: float | None, label: int | None
    ) -> Answer:
        """See `Gateway.trigger`."""

    def counts(self) -> dict[str, int]:
        """What became of the requests."""

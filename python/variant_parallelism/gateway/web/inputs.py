"""GET /v1/inputs/{request}.png: the images that the fleet was asked about lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.types import Answered, Event

_MOST = 256
_MOST_BYTES = 32 * 1024 * 1024


class Inputs:
    """The latest images by request: at most 256, and 32 MiB."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._images: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._forget: Callable[[], None] | None = None

    def start(self) -> None:
        self._forget = self._gateway.on_event(self._listen)

    def close(self) -> None:
        if self._forget is not None:
            self._forget()
        self._images.clear()

    def get(self, request: int) -> NDArray[np.uint8] | None:
        """(H, W, C), None if it is no longer, or never was, there."""
        return self._images.get(request)

    def _listen(self, event: Event) -> None:
        if not isinstance(event, Answered) or event.image is None:
            return
        # Numbers of requests wrap around: the older image of one goes.
        old = self._images.pop(event.answer.request, None)
        self._bytes += event.image.nbytes - (0 if old is None else old.nbytes)
        self._images[event.answer.request] = event.image
        while len(self._images) > _MOST or self._bytes > _MOST_BYTES:
            self._bytes -= self._images.popitem(last=False)[1].nbytes

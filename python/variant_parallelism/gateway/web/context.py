"""What the routes share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from variant_parallelism.api import HttpCounters
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.web.decoders import Decoders
from variant_parallelism.gateway.web.events import EventHub
from variant_parallelism.gateway.web.history import History
from variant_parallelism.gateway.web.inputs import Inputs
from variant_parallelism.gateway.web.limits import Limits
from variant_parallelism.gateway.web.security import Access


@dataclass
class Web:
    """One gateway's HTTP side. `metrics` gives /metrics and its content type, where it is on."""

    gateway: Gateway
    counters: HttpCounters
    limits: Limits
    access: Access
    hub: EventHub
    inputs: Inputs
    history: History
    metrics: Callable[[], Awaitable[tuple[bytes, str]]] | None = None
    stopping: bool = False
    started: float = field(default_factory=time.time)
    decoders: Decoders = field(default_factory=Decoders)

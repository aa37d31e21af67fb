"""`[workers]` of `fleet.toml`: several gateways answer together, through a broker."""

from __future__ import annotations

import math
import re
import socket
from typing import Annotated

from pydantic import AfterValidator, Field

from variant_parallelism.broker_table import BrokerTable, Topic

GATEWAY_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$"

_SILENT_HEARTBEATS = 3


def _host_name() -> str:
    """This machine's name as far as it can be a gateway's."""
    plain = re.sub(r"[^A-Za-z0-9_\-]", "-", socket.gethostname().partition(".")[0])
    return plain.strip("-_")[:63] or "gateway"


def _check_name(text: str) -> str:
    if re.fullmatch(GATEWAY_NAME, text) is None:
        raise ValueError(
            f"{text!r} is no name of a gateway: 1 to 63 letters of ASCII, digits, '.', '_' and "
            "'-', a letter or a digit first"
        )
    return text


class WorkersTable(BrokerTable):
    """`[workers]`: the broker where gateways of one fleet meet the workers that combine.

    `gateway` is this gateway's name, another one for each (default: the machine's). Topics lie
    below `topic` (default: vp/ and the fleet's name). Workers wait `grace_ms` beyond a request's
    deadline for what is under way. A gateway keeps its nodes' votes until it has seen the answer,
    for `validity_s` at most, of at most `keep` requests. Everybody says every `heartbeat_s` that he
    is there; who is silent for three of them is not.
    """

    gateway: Annotated[str, AfterValidator(_check_name)] = Field(default_factory=_host_name)
    topic: Topic | None = None
    grace_ms: Annotated[int, Field(ge=1, le=60_000)] = 100
    validity_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    keep: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    heartbeat_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0

    @property
    def away_s(self) -> float:
        """Silence after which somebody is no longer there."""
        return _SILENT_HEARTBEATS * self.heartbeat_s

    @property
    def keepalive_s(self) -> int:
        """After one and a half of these the broker knows that a connection is dead."""
        return max(1, math.ceil(2 * self.heartbeat_s))

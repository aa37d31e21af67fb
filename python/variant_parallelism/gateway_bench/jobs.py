"""One measurement: what is asked for, and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["triggered", "images", "latency", "bare", "recv", "plain"]
"""`triggered` and `images`: the gateway, in a closed loop of requests in flight. `latency`: the
gateway, at a low rate of triggers. `bare`: a C loop of recvmmsg, and `recv`: a Python loop of
socket.recv, that throw the answers away. `plain`: a gateway in plain Python."""


class Job(BaseModel):
    """What a worker is to measure. `answers`: run until so many requests were answered, however
    long that takes; else for `seconds`. `rate`: requests a second, of `latency`."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    fleet: Path
    sent: Path
    """File of 65536 uint64: when the last prediction of each request was sent, in ns."""
    state: Path
    seconds: Annotated[float, Field(gt=0)]
    answers: int | None = None
    in_flight: Annotated[int, Field(ge=1)] = 4
    rate: Annotated[float, Field(gt=0)] = 50.0
    cpu: int | None = None


LOST_SHARE = 0.01
"""A bound that lost more of its predictions than this says too little."""


class Measured(BaseModel):
    """What a worker measured. Times in seconds, memory (resident) in bytes.

    `predictions` are those that had a part in an answer, for `bare` and `recv` datagrams received.
    `lost` are requests without an answer, for `bare` and `recv` predictions that never came.
    `wrong` answers name another class than the nodes gave. `dropped`: datagrams that the system
    threw away because the worker's socket was full. `added_us`: percentiles 50 and 99 of the
    time from just before the last prediction of a request was handed to the system by the nodes to
    the answer in the caller's hands: the way over loopback, the gateway, the event loop. Answers
    that lack a vote have no such time, and are `incomplete`.
    """

    kind: Kind
    nodes: int
    seconds: float
    cpu_s: float
    requests: int = 0
    answers: int = 0
    lost: int = 0
    incomplete: int = 0
    wrong: int = 0
    predictions: int
    dropped: int = 0
    added_us: tuple[float, float] | None = None
    rss_before: int = 0
    rss_after: int = 0
    rss: list[tuple[int, int]] = []
    """(answers, memory) over the run, if `answers` was given."""

    @property
    def lost_share(self) -> float:
        """Of a bound: the part of the predictions asked for that never came."""
        return self.lost / max(1, self.lost + self.predictions)

    @property
    def answers_per_s(self) -> float:
        return self.answers / self.seconds

    @property
    def predictions_per_s(self) -> float:
        return self.predictions / self.seconds

    @property
    def predictions_per_core_s(self) -> float:
        """For each second of processor time that the worker used."""
        return self.predictions / self.cpu_s

    @property
    def cpu_share(self) -> float:
        return self.cpu_s / self.seconds

    def rss_slope(self) -> float:
        """Bytes of growth per million answers: a line through the last nine tenths of `rss`."""
        import numpy as np

        points = np.array(self.rss[len(self.rss) // 10 :], np.float64)
        if len(points) < 2:
            return 0.0
        return float(np.polyfit(points[:, 0] / 1e6, points[:, 1], 1)[0])

"""What is looked at while the soak runs: memory, rate, nodes alive; and lines of events counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soaking.load import Tally
from soaking.stage import Stage
from variant_parallelism import AsyncClient
from variant_parallelism.client import GatewayError

_PERIOD_S = 1.0
_ROTATE_S = 10.0


@dataclass
class Samples:
    """One number each a second: seconds since the start, bytes, answers so far, nodes up."""

    seconds: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)

    def slope_kb_per_min(self, share: float) -> float:
        """Growth of memory: a line through the last `share` of the samples."""
        import numpy as np

        begin = int(len(self.rss) * (1 - share))
        if len(self.rss) - begin < 2:
            return 0.0
        line = np.polyfit(self.seconds[begin:], self.rss[begin:], 1)
        return float(line[0]) * 60 / 1000


class LineCounter:
    """Counts events in a file of JSON lines by moving it away, as logrotate does."""

    def __init__(self, path: Path) -> None:
        self.events: Counter[str] = Counter()
        self.answers: set[tuple[str, int]] = set()
        """Time, as in the line, and request."""
        self.damaged = 0
        self._path = path
        self._moved = path.with_name(path.name + ".moved")

    def rotate(self) -> None:
        """Count what was moved away last time (nobody writes to it any more), and move again."""
        self._count(self._moved)
        if self._path.exists():
            self._path.rename(self._moved)

    def finish(self) -> None:
        """Count what is left, once the gateway has ended."""
        self._count(self._moved)
        self._count(self._path)

    def _count(self, path: Path) -> None:
        if not path.exists():
            return
        for line in path.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                self.damaged += 1
                continue
            self.events[event["event"]] += 1
            if event["event"] == "answer":
                self.answers.add((event["time"], event["request"]))
        path.unlink()


class Watch:
    """Samples until it is cancelled; `stopped` is set when the gateway ends by itself."""

    def __init__(self, stage: Stage, tally: Tally, lines: LineCounter) -> None:
        self.samples = Samples()
        self._stage = stage
        self._tally = tally
        self._lines = lines

    async def run(self) -> None:
        begin = time.monotonic()
        rotated = begin
        samples = self.samples
        async with AsyncClient(f"http://{self._stage.fleet.table.gateway.http}") as client:
            while self._stage.gateway.status is None:
                up = samples.up[-1] if samples.up else 0
                try:
                    up = sum(node.state == "up" for node in await client.nodes())
                except GatewayError as error:
                    self._tally.note(str(error))
                now = time.monotonic()
                samples.seconds.append(round(now - begin, 3))
                samples.rss.append(self._stage.gateway.rss())
                samples.answers.append(self._tally.answered)
                samples.up.append(up)
                if now >= rotated + _ROTATE_S:
                    rotated = now
                    self._lines.rotate()
                await asyncio.sleep(_PERIOD_S)

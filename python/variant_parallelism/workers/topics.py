"""Where gateways, workers and those who ask meet."""

from __future__ import annotations

from dataclasses import dataclass

from variant_parallelism.fleet import FleetTable
from variant_parallelism.workers_table import WorkersTable


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one fleet. `gateway` and `worker` are retained, and expire."""

    base: str

    @classmethod
    def of(cls, fleet: FleetTable, table: WorkersTable) -> Topics:
        return cls(table.topic or f"vp/{fleet.name}")

    @property
    def request(self) -> str:
        """Images, to all gateways."""
        return f"{self.base}/request"

    @property
    def answer(self) -> str:
        """Answers, to everybody."""
        return f"{self.base}/answer"

    def votes(self, partition: int) -> str:
        """What gateways report of their nodes, to the worker that has the partition."""
        return f"{self.base}/votes/{partition}"

    def gateway(self, name: str) -> str:
        """That a gateway is there, and which nodes it has; `+` for all."""
        return f"{self.base}/gateway/{name}"

    def worker(self, name: str) -> str:
        """That a worker is there, and which partitions it has; `+` for all."""
        return f"{self.base}/worker/{name}"

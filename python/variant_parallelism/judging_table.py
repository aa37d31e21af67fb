"""`[judging]` of `fleet.toml`: how votes make an answer, and how nodes are judged by them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from variant_parallelism.aggregate import ROBUST, Method, most_liars
from variant_parallelism.toml_table import Table

_Share = Annotated[float, Field(gt=0, lt=1)]

_NEEDS = {
    "deadline_margin": 'deadline = "auto"',
    "floor_ms": 'deadline = "auto"',
    "confidence": "first",
    "everyone_every": "first",
    "min_agreement": "quarantine = true",
    "min_reliability": "quarantine = true",
}


class JudgingTable(Table):
    """`[judging]`: see docs/judging.md.

    `combine` replaces the fleet's `aggregation`; `liars` is how many lying nodes a robust method is
    to withstand (default: the most that the nodes permit).

    `deadline = "auto"` waits `deadline_margin` times as long as the nodes usually take, at least
    `floor_ms`; the fleet's `deadline_ms` is then the longest wait.

    `first` is how many nodes are asked at first: if they agree with at least `confidence`, the
    others are spared. Every `everyone_every`-th request is put to all.

    `quarantine = true` leaves nodes out that agree with the others in fewer than `min_agreement` of
    their votes, or answer fewer than `min_reliability` of their requests in time, until they
    behave. `window` is how many recent votes and requests the estimates are mostly made of.
    """

    combine: Method | None = None
    liars: Annotated[int, Field(ge=1)] | None = None
    deadline: Literal["fixed", "auto"] = "fixed"
    deadline_margin: Annotated[float, Field(ge=1, le=100)] = 1.5
    floor_ms: Annotated[int, Field(ge=1, le=600_000)] = 20
    first: Annotated[int, Field(ge=1)] | None = None
    confidence: Annotated[float, Field(gt=0, le=1)] = 0.9
    everyone_every: Annotated[int, Field(ge=2, le=1_000_000)] = 20
    quarantine: bool = False
    min_agreement: _Share = 0.5
    min_reliability: _Share = 0.5
    window: Annotated[int, Field(ge=16, le=4096)] = 64

    def liars_among(self, nodes: int) -> int:
        """How many liars the method withstands in a fleet of so many nodes; 0 for `vp`, `vip`."""
        if self.combine not in ROBUST:
            return 0
        return most_liars(nodes) if self.liars is None else self.liars


def judging_fault(table: JudgingTable, nodes: int, deadline_ms: int) -> tuple[str, str] | None:
    """(key, what is wrong with it) in a fleet of so many nodes, or None."""
    return _without_effect(table) or _too_few(table, nodes) or _floor_above(table, deadline_ms)


def _without_effect(table: JudgingTable) -> tuple[str, str] | None:
    on = {
        'deadline = "auto"': table.deadline == "auto",
        "first": table.first is not None,
        "quarantine = true": table.quarantine,
    }
    for key, needed in _NEEDS.items():
        if key in table.model_fields_set and not on[needed]:
            return key, f"has no effect without {needed}: leave it out"
    if table.liars is not None and table.combine not in ROBUST:
        return "liars", f"has no effect without combine = one of {', '.join(ROBUST)}"
    return None


def _too_few(table: JudgingTable, nodes: int) -> tuple[str, str] | None:
    liars = table.liars_among(nodes)
    if table.combine in ROBUST and (liars > most_liars(nodes) or liars == 0):
        key = "combine" if table.liars is None else "liars"
        wanted = max(1, liars)
        return key, (
            f"{table.combine} withstands {_liars(wanted)} among at least {2 * wanted + 1} nodes, "
            f"and the fleet has {nodes}"
        )
    if table.first is not None and table.first >= nodes:
        return "first", f"{table.first} at first of {nodes} nodes leaves none to spare"
    if table.first is not None and table.first <= liars:
        return "first", (
            f"{table.first} could all be liars where {table.combine} is to withstand "
            f"{_liars(liars)}: take at least {liars + 1}"
        )
    if table.quarantine and nodes < 3:
        return "quarantine", f"needs 3 nodes, and the fleet has {nodes}: which of two lies?"
    return None


def _floor_above(table: JudgingTable, deadline_ms: int) -> tuple[str, str] | None:
    if table.deadline == "auto" and table.floor_ms > deadline_ms:
        return "floor_ms", f"{table.floor_ms} exceeds deadline_ms = {deadline_ms}"
    return None


def _liars(count: int) -> str:
    return "a liar" if count == 1 else f"{count} liars"

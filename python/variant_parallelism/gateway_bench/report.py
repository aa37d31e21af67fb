"""The measurements as a table and as JSON."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism.gateway_bench.jobs import LOST_SHARE, Kind, Measured

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 120
"""Columns that the table wants, where nobody says how many there are."""

_LOOPS: tuple[Kind, ...] = ("bare", "recv")

NAMES: dict[Kind, str] = {
    "bare": "bound: recvmmsg in C",
    "recv": "bound: socket.recv in Python",
    "plain": "gateway in plain Python",
    "triggered": "vp gateway, triggered",
    "images": "vp gateway, images",
    "latency": "vp gateway, at a low rate",
}


def machine() -> dict[str, str | int]:
    """What it was measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def ratios(measured: list[Measured], nodes: int) -> dict[str, float | None]:
    """How many times the plain gateway's predictions a second the triggered gateway makes, and
    which part of the bare receive rate, which is that of the faster of both loops; by the clock
    and for each second of processor time."""
    by_kind = {one.kind: one for one in measured if one.nodes == nodes}
    ours = by_kind.get("triggered")
    values: dict[str, float | None] = {}
    loops = [by_kind[kind] for kind in _LOOPS if kind in by_kind]
    bare = max(loops, key=lambda one: one.predictions_per_s, default=None)
    for name, other in (("times_plain", by_kind.get("plain")), ("of_bare", bare)):
        wall = per_core = None
        if ours is not None and other is not None and other.predictions > 0:
            wall = ours.predictions_per_s / other.predictions_per_s
            per_core = ours.predictions_per_core_s / other.predictions_per_core_s
        values |= {name: wall, f"{name}_per_core": per_core}
    return values


def as_json(measured: list[Measured]) -> dict[str, Any]:
    """Every number of the table, and the ones that it was made from."""
    sizes = dict.fromkeys(one.nodes for one in measured)
    return {
        "machine": machine(),
        "measured": [
            one.model_dump()
            | {
                "answers_per_s": one.answers_per_s,
                "predictions_per_s": one.predictions_per_s,
                "predictions_per_core_s": one.predictions_per_core_s,
                "cpu_share": one.cpu_share,
            }
            | ({"rss_slope": one.rss_slope()} if one.rss else {})
            for one in measured
        ],
        "ratios": {str(nodes): ratios(measured, nodes) for nodes in sizes},
    }


def table(measured: list[Measured]) -> Table:
    """One row a measurement."""
    from rich import box
    from rich.table import Table

    heads = ["nodes", "what", "answers/s", "predictions/s", "per core-s", "CPU", "added p50"]
    heads += ["added p99", "lost", "RSS MB"]
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads:
        rows.add_column(head, justify="left" if head == "what" else "right")
    before = None
    for one in measured:
        added = ["", ""] if one.added_us is None else [f"{us:,.0f} us" for us in one.added_us]
        is_bound = one.kind in _LOOPS
        rows.add_row(
            str(one.nodes) if one.nodes != before else "",
            NAMES[one.kind],
            "" if is_bound else f"{one.answers_per_s:,.0f}",
            f"{one.predictions_per_s:,.0f}",
            f"{one.predictions_per_core_s:,.0f}",
            f"{one.cpu_share:.0%}",
            *added,
            f"{one.lost:,}",
            f"{one.rss_before / 1e6:.1f} -> {one.rss_after / 1e6:.1f}",
            end_section=one.kind == "latency",
        )
        before = one.nodes
    return rows


def verdicts(measured: list[Measured]) -> list[str]:
    """The ratios in words, one line a fleet; what was wrong, if anything was."""
    lines = []
    for nodes in dict.fromkeys(one.nodes for one in measured):
        values = ratios(measured, nodes)
        if values["times_plain"] is None or values["of_bare"] is None:
            continue
        lines.append(
            f"{nodes} nodes: {values['times_plain']:.1f} times the plain gateway "
            f"({values['times_plain_per_core']:.1f} per core-second), "
            f"{values['of_bare']:.0%} of the bare receive rate "
            f"({values['of_bare_per_core']:.0%} per core-second)"
        )
    for one in measured:
        if one.wrong:
            lines.append(f"{one.nodes} nodes, {one.kind}: {one.wrong} answers are WRONG")
        if one.dropped:
            lines.append(
                f"{one.nodes} nodes, {one.kind}: {one.dropped:,} datagrams did not fit the "
                "socket's buffer (see net.core.rmem_max)"
            )
        if one.kind in _LOOPS and one.lost_share > LOST_SHARE:
            lines.append(
                f"{one.nodes} nodes, {one.kind}: {one.lost:,} predictions never came: this machine "
                "delivers more than this bound"
            )
        if one.incomplete:
            lines.append(
                f"{one.nodes} nodes, {one.kind}: {one.incomplete:,} of {one.answers:,} answers "
                "lack a vote, and are not in the added latency"
            )
        if one.rss:
            lines.append(
                f"{one.nodes} nodes: memory grows by {one.rss_slope() / 1e3:+.1f} kB in a million "
                f"answers, over {one.answers:,}"
            )
    return lines

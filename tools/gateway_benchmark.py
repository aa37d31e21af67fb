#!/usr/bin/env python3
"""Measures the gateway and writes its tables in docs/benchmarks.md anew.

Usage: .venv/bin/python tools/gateway_benchmark.py [--seconds S] [--answers N]

`--answers` measures memory, too, over so many answers of 8 nodes (ten million take a while).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import with_block

from variant_parallelism.errors import VpError
from variant_parallelism.gateway_bench import Measured, Options, run_benchmark
from variant_parallelism.gateway_bench.report import NAMES, machine, ratios

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEADS = ["nodes", "", "answers/s", "predictions/s", "per core-second", "processor"]
HEADS += ["added, median", "added, 99%", "memory, MB"]


def _row(one: Measured, first: bool) -> list[str]:
    p50, p99 = one.added_us or (None, None)
    return [
        f"**{one.nodes:,}**" if first else "",
        NAMES[one.kind],
        f"{one.answers_per_s:,.0f}" if one.answers else "",
        f"{one.predictions_per_s:,.0f}",
        f"{one.predictions_per_core_s:,.0f}",
        f"{one.cpu_share:.0%}",
        "" if p50 is None else f"{p50 / 1000:.2f} ms",
        "" if p99 is None else f"{p99 / 1000:.2f} ms",
        f"{one.rss_after / 1e6:.1f}",
    ]


def tables(measured: list[Measured], memory: list[Measured]) -> str:
    """The rows, how the gateway stands beside its bounds, memory over many answers, the machine."""
    rules = ["---:", "---", *["---:"] * (len(HEADS) - 2)]
    rows, before = [HEADS, rules], None
    for one in measured:
        rows.append(_row(one, one.nodes != before))
        before = one.nodes
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.append("")
    for nodes in dict.fromkeys(one.nodes for one in measured):
        values = ratios(measured, nodes)
        if None not in values.values():
            lines.append(
                f"- {nodes:,} nodes, triggered: {values['times_plain']:.1f} times the gateway in "
                f"plain Python ({values['times_plain_per_core']:.1f} per core-second), "
                f"{values['of_bare']:.0%} of what a bare loop receives"
            )
    for one in memory:
        lines.append(
            f"- memory over {one.answers:,} answers of {one.nodes} nodes: "
            f"{one.rss[0][1] / 1e6:.1f} MB at first, {one.rss[-1][1] / 1e6:.1f} MB at the end, "
            f"{one.rss_slope() / 1000:+.2f} kB in a million answers"
        )
    about = machine()
    lines.append(
        f"- {about['processor']}, {about['cores']} cores, {about['system']}, "
        f"Python {about['python']}"
    )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the gateway's tables anew.")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--answers", type=int, help="measure memory over so many answers")
    options = parser.parse_args()

    def tell(what: str, share: float) -> None:
        if share == 0.0:
            print(what, flush=True)

    try:
        measured = run_benchmark(Options(seconds=options.seconds), tell)
        memory = (
            run_benchmark(Options(nodes=(8,), answers=options.answers), tell)
            if options.answers
            else []
        )
    except VpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = DOCUMENT.read_text(encoding="utf-8")
    text = with_block(text, "gateway", tables(measured, memory))
    DOCUMENT.write_text(text, encoding="utf-8")
    wrong = [one for one in [*measured, *memory] if one.wrong]
    for one in wrong:
        print(f"{one.nodes} nodes, {one.kind}: {one.wrong} wrong answers", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

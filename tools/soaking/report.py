"""What a soak found: a table, report.json and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from soaking.watch import Samples

_PLOT_SMOOTH_S = 5


def write_report(out: Path, report: dict[str, Any]) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def print_report(console: Console, report: dict[str, Any]) -> None:
    """The figures, then what was broken."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for group in ("load", "memory", "trouble", "counters"):
        table.add_section()
        for name, value in report[group].items():
            if isinstance(value, int | float):
                text = f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
                table.add_row(name.replace("_", " "), text)
    console.print(table)
    sinks = Table("sink", box=box.SIMPLE_HEAD, pad_edge=False)
    heads = ("taken", "written", "dropped", "refused", "waiting", "answers_found", "events_found")
    for head in heads:
        sinks.add_column(head.replace("_", " "), justify="right")
    for name, counts in report["sinks"].items():
        sinks.add_row(
            name, *("" if counts[head] is None else f"{counts[head]:,}" for head in heads)
        )
    console.print(sinks)
    for text, count in report["problems"].items():
        console.print(f"{count} x {text}", highlight=False, soft_wrap=True)
    if report["ended_early"]:
        console.print("ended early")
    for broken in report["broken"]:
        console.print(f"[red]BROKEN[/] {broken}", highlight=False, soft_wrap=True)
    if not report["broken"]:
        console.print("every promise was kept")


def plot(path: Path, samples: Samples) -> bool:
    """Memory, rate and nodes up over time; False if there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = np.array(samples.seconds) / 60
    answers = np.array(samples.answers, np.float64)
    rate = np.zeros_like(answers)
    if len(answers) > _PLOT_SMOOTH_S:
        rise = answers[_PLOT_SMOOTH_S:] - answers[:-_PLOT_SMOOTH_S]
        rate[_PLOT_SMOOTH_S:] = rise / (60 * (minutes[_PLOT_SMOOTH_S:] - minutes[:-_PLOT_SMOOTH_S]))
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(10, 7))
    for axis, values, label in (
        (axes[0], np.array(samples.rss) / 1e6, "resident memory, MB"),
        (axes[1], rate, "answers/s"),
        (axes[2], np.array(samples.up), "nodes up"),
    ):
        axis.plot(minutes, values, linewidth=1)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[2].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True

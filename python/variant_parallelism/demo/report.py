"""The summary of a demo run as text."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from variant_parallelism.demo.summary import Summary


def render(summary: Summary) -> RenderableType:
    """Two tables and a few lines; whatever went wrong is at the end, in red."""
    head = Text(
        f"\nSummary: {summary.fleet}, k = {summary.k}, "
        f"{summary.images:,} images in {summary.duration_s:.0f} s\n",
        style="bold",
    )
    parts: list[RenderableType] = [head]
    for part in (_variants(summary), _survivors(summary), _facts(summary)):
        parts += [part, Text()]
    parts += [Text(f"Problem: {problem}", style="bold red") for problem in summary.problems]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right")
    return table


_LEFT = ("variant", "board", "line", "nodes")


def _variants(summary: Summary) -> Table:
    manifest = ("manifest",) if summary.whole_split else ()
    table = _table("node", "variant", "board", "line", "top-1", *manifest, "bytes/answer")
    for node in summary.nodes:
        expected = (f"{100 * node.manifest_int8_top1:.2f} %",) if summary.whole_split else ()
        table.add_row(
            str(node.node),
            node.variant,
            node.board,
            node.transport,
            str(node.accuracy),
            *expected,
            f"{node.answer_bytes:.1f}",
        )
    top1_k2 = summary.manifest_int8_top1_k2
    known = "-" if top1_k2 is None else f"{100 * top1_k2:.2f} %"
    expected = (known,) if summary.whole_split else ()
    table.add_section()
    table.add_row(
        "", "ensemble", "", "", str(summary.ensemble), *expected, f"{summary.answer_bytes:.1f}",
        style="bold",
    )  # fmt: skip
    return table


def _survivors(summary: Summary) -> Table:
    images = summary.survivors[0].accuracy.images if summary.survivors else 0
    table = _table("boards alive", "nodes", f"top-1 of {images} images", "lost")
    for group in summary.survivors:
        nodes = " ".join(str(node) for node in group.nodes)
        table.add_row(str(len(group.nodes)), nodes, str(group.accuracy), str(group.lost))
    return table


def _facts(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), show_edge=False)
    lost_style = "green" if summary.lost == 0 else "bold red"
    table.add_row(
        "answers lost",
        Text(f"{summary.lost} of {summary.images:,}", style=lost_style)
        + Text(f", {summary.deaths} boards killed with an image on its way", style="default"),
    )
    missing_style = "green" if summary.votes_missing == 0 else "bold red"
    table.add_row(
        "votes missing",
        Text(f"{summary.votes_missing:,} of {summary.votes_asked:,}", style=missing_style)
        + Text(" from running boards", style="default"),
    )
    if summary.votes_compared:
        equal = summary.votes_compared - summary.votes_differing
        style = "green" if summary.votes_differing == 0 else "bold red"
        text = f"{equal:,} of {summary.votes_compared:,} votes equal the host's bit for bit"
        table.add_row("votes", Text(text, style=style))
    table.add_row("bytes on the wire", f"{_bytes(summary)} per answer, tag included")
    table.add_row(
        "latency",
        f"median {summary.latency_median_ms:.1f} ms, p95 {summary.latency_p95_ms:.1f} ms, "
        f"up to {summary.latency_death_ms:.0f} ms at a death",
    )
    back = [rejoin.after_ms for rejoin in summary.rejoins if rejoin.after_ms is not None]
    if summary.rejoins:
        span = f": HELLO after {min(back):.0f} to {max(back):.0f} ms" if back else ""
        table.add_row("boards back", f"{len(back)} of {len(summary.rejoins)}{span}")
    return table


def _bytes(summary: Summary) -> str:
    lines = {"serial": "serial", "udp": "UDP"}
    parts = []
    for transport, name in lines.items():
        sizes = {node.answer_bytes for node in summary.nodes if node.transport == transport}
        if sizes:
            low, high = min(sizes), max(sizes)
            span = f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"
            parts.append(f"{span} ({name})")
    return ", ".join(parts)

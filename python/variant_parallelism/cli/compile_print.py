"""What `vp compile` prints about a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

if TYPE_CHECKING:
    from rich.console import Console

    from vp_converters import CompiledModel
    from vp_converters.explain import GroupReport, StepReport


def print_steps(console: Console, compiled: CompiledModel) -> None:
    """A line for each step."""
    heads = ("group", "step", "operator", "kernel", "output", "MACs", "weights")
    table = _table(heads, numbers=("MACs", "weights"))
    for number, step in enumerate(compiled.steps()):
        table.add_row(
            str(step.group),
            str(number),
            f"{step.operator} {step.op_index}",
            step.kernel,
            "x".join(map(str, step.shape)),
            f"{step.macs:,}",
            f"{step.weights:,}",
        )
    console.print(table)


def print_buffers(console: Console, compiled: CompiledModel) -> None:
    """A line for each buffer of the arena."""
    heads = ("buffer", "rows", "offset", "bytes", "first call", "last call")
    table = _table(heads, numbers=heads[1:])
    program, calls = compiled.program, len(compiled.plan.schedule.calls)
    makers = {step.output: f"{step.operator} {step.op_index}" for step in program.steps}
    for buffer in sorted(compiled.plan.buffers, key=lambda b: (b.first, b.offset)):
        names = [makers.get(tensor, "input") for tensor in buffer.tensors]
        rows = f"{buffer.rows} of {program.height(buffer.tensors[0])}" if names else ""
        table.add_row(
            ", ".join(names) or buffer.kind,
            rows,
            f"{buffer.offset:,}",
            f"{buffer.size:,}",
            str(max(buffer.first, 0)),
            "the output" if buffer.last >= calls else str(max(buffer.last, 0)),
        )
    console.print(table)


def print_explanation(console: Console, compiled: CompiledModel) -> None:
    """What the compiler did, group by group."""
    from vp_converters.explain import explain

    explanation = explain(compiled)
    tree = Tree(f"[bold]{compiled.name}[/], {compiled.kernels} kernels")
    if explanation.passes:
        graph = tree.add("[bold]graph[/]")
        for line in explanation.passes:
            graph.add(escape(line))
    tree.add(f"[bold]input[/] {escape(explanation.input)}")
    for group in explanation.groups:
        _add_group(tree, group)
    console.print(tree)


def _add_group(tree: Tree, group: GroupReport) -> None:
    head = f"[bold]group {group.group}[/]: up to {group.bytes:,} bytes in use"
    branch = tree.add(head)
    for step in group.steps:
        branch.add(_step_line(step))
    for reason in group.end:
        branch.add(f"[dim]ends here: {escape(reason)}[/]")


def _step_line(step: StepReport) -> str:
    rows = f"{step.rows} of {step.height} rows" if step.rows < step.height else "whole"
    shape = "x".join(map(str, step.shape))
    line = f"[bold]{step.operator} {step.op_index}[/] {shape}: {rows}, {step.bytes:,} bytes"
    return f"{line}[dim]{''.join(f'; {escape(note)}' for note in step.notes)}[/]"


def _table(heads: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        if column.header in numbers:
            column.justify = "right"
    return table

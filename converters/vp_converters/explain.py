"""Says what the compiler did with a model, and why not more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vp_converters.compiler import CompiledModel
from vp_converters.grouping import MAX_GROUP, group_cost
from vp_converters.lowering.step import Program, Step
from vp_converters.passes import Change
from vp_converters.planner import Buffer, Plan, progress_bytes
from vp_converters.schedule import Wiring

_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class StepReport:
    """A step, and the memory of its output.

    Attributes:
        rows, height: rows of the output that are kept, of how many.
        bytes: of those rows.
        notes: what is special about it.
    """

    step: int
    op_index: int
    operator: str
    kernel: str
    shape: tuple[int, ...]
    rows: int
    height: int
    bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class GroupReport:
    """Steps that run together, row by row.

    Attributes:
        bytes: most bytes of the arena in use while it runs.
        end: why it ends where it does.
    """

    group: int
    bytes: int
    steps: tuple[StepReport, ...]
    end: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What became of a model.

    Attributes:
        passes: what changed in the graph.
        input: how the input is taken.
    """

    passes: tuple[str, ...]
    input: str
    groups: tuple[GroupReport, ...]

    def as_json(self) -> dict[str, Any]:
        """For `vp compile --explain --json`."""
        return asdict(self)


def explain(model: CompiledModel) -> Explanation:
    """The explanation of a compiled model."""
    explainer = _Explainer(model.plan)
    return Explanation(
        passes=tuple(_passes(model)),
        input=explainer.input(),
        groups=tuple(explainer.group(number) for number in range(len(model.plan.schedule.groups))),
    )


def _passes(model: CompiledModel) -> Iterator[str]:
    kinds = {op.index: op.kind for op in model.program.graph.ops}
    for change in model.changes:
        yield f"{_name(change.op.index, change.op.kind)} {_became(change, kinds)}"
    views = {alias.output for alias in model.program.aliases}
    for op in model.program.graph.ops:
        if views.intersection(op.outputs):
            yield f"{_name(op.index, op.kind)} is another view of the same memory"


def _became(change: Change, kinds: dict[int, str]) -> str:
    if change.into is not None:
        return f"is folded into {_name(change.into, kinds[change.into])}"
    if change.name == "fold_shapes":
        return "is a constant"
    return "is dropped: nobody reads it"


def _name(index: int, kind: str) -> str:
    return f"operator {index} {kind}"


def _rows(kept: int, height: int) -> str:
    return f"{kept} of {height} rows" if kept < height else "whole"


class _Explainer:
    """Args:
    plan: the plan to explain.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._program: Program = plan.program
        self._wiring = Wiring(plan.program)
        self._activations = {op.index: op.attributes.activation for op in self._program.graph.ops}

    def input(self) -> str:
        """How the input is taken."""
        tensor = self._program.graph.input
        buffer, height = self._plan.rows[tensor], self._program.height(tensor)
        if buffer.size == 0:
            return "nobody reads it"
        text = f"{_rows(buffer.rows, height)}, {buffer.size:,} bytes"
        if buffer.rows < height:
            return f"streamed in: {text} kept"
        readers = self._readers(tensor, 0)
        return f"{text}{f': read by {readers}' if height > 1 and readers else ''}"

    def group(self, number: int) -> GroupReport:
        """One group."""
        groups = self._plan.schedule.groups
        group = groups[number]
        return GroupReport(
            group=number,
            bytes=self._in_use(group),
            steps=tuple(self._step(n) for n in group),
            end=tuple(self._end(group, groups[number + 1])) if number + 1 < len(groups) else (),
        )

    def _in_use(self, group: range) -> int:
        spans = [self._plan.schedule.spans[n] for n in group if n in self._plan.schedule.spans]
        if not spans:
            return 0
        begin, end = min(first for first, _ in spans), max(last for _, last in spans)
        buffers = [b for b in self._plan.buffers if b.first <= end and begin <= b.last]
        times = {begin, *(b.first for b in buffers if b.first > begin)}
        return max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in times)

    def _step(self, number: int) -> StepReport:
        step = self._program.steps[number]
        buffer = self._plan.rows[step.output]
        return StepReport(
            step=number,
            op_index=step.op_index,
            operator=step.operator,
            kernel=step.kernel,
            shape=self._program.graph.tensors[step.output].shape,
            rows=buffer.rows,
            height=self._program.height(step.output),
            bytes=buffer.size,
            notes=tuple(self._notes(number, step, buffer)),
        )

    def _notes(self, number: int, step: Step, buffer: Buffer) -> Iterator[str]:
        graph = self._program.graph
        quantization = graph.tensors[step.inputs[0]].quantization
        if step.operator in _WITH_BIAS and quantization and quantization.zero_points[0]:
            yield f"zero point {quantization.zero_points[0]} in the bias"
        activation = self._activations[step.op_index]
        if activation != "NONE":
            yield f"{activation} is the clamp"
        if step.is_joined:
            yield f"all {self._program.height(step.output)} rows in one call"
        elif step.accumulates:
            yield "takes each row as it comes"
        elif step.reach is None and self._program.height(step.inputs[0]) > 1:
            yield "needs all rows"
        place = buffer.tensors.index(step.output) if step.output in buffer.tensors else 0
        if place:
            owner = self._wiring.producers[buffer.tensors[place - 1]]
            yield f"in place of {self._output_of(owner)}"
        if number not in self._plan.schedule.spans:
            yield "never runs: nobody reads a row of it"
        for kind, size in (("state", step.state), ("scratch", step.scratch)):
            if size:
                yield f"{size:,} bytes of {kind}"

    def _output_of(self, number: int) -> str:
        if number < 0:
            return "the input"
        step = self._program.steps[number]
        return f"{_name(step.op_index, step.operator)}'s output"

    def _readers(self, tensor: int, first: int) -> str:
        """The operators from step ``first`` on that read a tensor."""
        numbers = [n for n in self._wiring.consumers.get(tensor, []) if n >= first]
        indices = [str(self._program.steps[number].op_index) for number in numbers]
        if not indices:
            return ""
        return f"operator{'s' if len(indices) > 1 else ''} {', '.join(indices)}"

    def _end(self, group: range, following: range) -> Iterator[str]:
        for tensor, producer in self._wiring.producers.items():
            if producer in group and self._wiring.is_kept(tensor, group.stop):
                readers = self._readers(tensor, group.stop)
                name = self._output_of(producer)
                size = self._plan.rows[tensor].size
                yield f"{name} is kept whole, {size:,} bytes: read by {readers or 'the caller'}"
        yield self._why_not_together(group, following)

    def _why_not_together(self, group: range, following: range) -> str:
        steps = self._program.steps
        for number in (group[-1], following[0]):
            if steps[number].is_joined:
                name = _name(steps[number].op_index, steps[number].operator)
                return f"{name} makes all its rows in one call, which takes fewer instructions"
        if following.stop - group.start > MAX_GROUP:
            return f"a group holds at most {MAX_GROUP} steps"
        base = progress_bytes(self._program)
        now = base + max(group_cost(self._program, part) for part in (group, following))
        together = base + group_cost(self._program, range(group.start, following.stop))
        return f"one group with the next would need {together:,} bytes, two need {now:,}"

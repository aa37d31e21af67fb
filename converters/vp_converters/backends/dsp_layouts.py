"""Which tensors the kernels of firmware/nn/dsp pass on in layouts of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from vp_converters.backends.dsp_scaling import is_clamped, is_linear
from vp_converters.lowering.step import Layout, Program, Step, Value

_SLACK = 16


@dataclass(frozen=True)
class Planar16:
    """PLANAR16 (vp/nn_dsp.h).

    Attributes:
        lead: columns of padding ahead of a plane.
        plane: bytes of a plane.
        row_bytes: bytes of a row.
    """

    lead: int
    plane: int
    row_bytes: int

    @property
    def layout(self) -> Layout:
        """As the planner sees it."""
        return Layout(self.row_bytes, f"planar16 {self.lead} {self.plane}")


@dataclass(frozen=True)
class Tile16:
    """TILE16 (vp/nn_dsp.h)."""

    row_bytes: int

    @property
    def layout(self) -> Layout:
        """As the planner sees it."""
        return Layout(self.row_bytes, "tile16")


Rows: TypeAlias = "Planar16 | Tile16 | None"
NHWC: Rows = None


def choose_layouts(program: Program, proven: Sequence[bool]) -> dict[int, Planar16 | Tile16]:
    """The layout of every tensor that is not NHWC.

    Args:
        proven: for each step whether its scaling is.
    """
    return _Chooser(program, proven).choose()


class _Chooser:
    def __init__(self, program: Program, proven: Sequence[bool]) -> None:
        self._program = program
        self._proven = proven
        self._readers: dict[int, list[int]] = {}
        for number, step in enumerate(program.steps):
            for tensor in step.inputs:
                self._readers.setdefault(tensor, []).append(number)
        self._producers = {step.output: n for n, step in enumerate(program.steps)}
        shared = {t for alias in program.aliases for t in (alias.input, alias.output)}
        self._public = shared | {program.graph.input, program.graph.output}

    def choose(self) -> dict[int, Planar16 | Tile16]:
        rows: dict[int, Planar16 | Tile16] = {}
        candidates = {
            number
            for number, step in enumerate(self._program.steps)
            if self._proven[number] and _is_depthwise_3x3(step)
        }
        while True:
            misfits = {n for n in candidates if not self._fits(n, candidates)}
            if not misfits:
                break
            candidates -= misfits
        for number in candidates:
            step = self._program.steps[number]
            rows[step.inputs[0]] = _planar(step)
            rows[step.output] = _tiled(step)
        return rows

    def _fits(self, number: int, candidates: set[int]) -> bool:
        """Whether a depthwise convolution has the right neighbours on both sides."""
        step = self._program.steps[number]
        source = step.inputs[0]
        if self._public & {source, step.output}:
            return False
        producer = self._producers.get(source)
        if producer is None or not self._makes_planes(producer):
            return False
        readers = self._readers[source]
        if any(r not in candidates for r in readers):
            return False
        if any(_planar(self._program.steps[r]) != _planar(step) for r in readers):
            return False
        return all(self._reads_tiles(r) for r in self._readers.get(step.output, [])) and bool(
            self._readers.get(step.output)
        )

    def _makes_planes(self, number: int) -> bool:
        step = self._program.steps[number]
        return (
            self._proven[number]
            and step.kernel in ("conv_1x1", "conv_2d")
            and not is_clamped(_output(step))
        )

    def _reads_tiles(self, number: int) -> bool:
        step = self._program.steps[number]
        return (
            self._proven[number]
            and step.kernel == "conv_1x1"
            and step.parameters["row_step"] == 1
            and step.parameters["column_step"] == step.parameters["input_channels"]
        )


def _output(step: Step) -> Mapping[str, Value]:
    return cast(Mapping[str, Value], step.parameters["output"])


def _window(step: Step) -> dict[str, int]:
    return cast(dict[str, int], step.parameters["window"])


def _is_depthwise_3x3(step: Step) -> bool:
    if step.kernel != "depthwise_conv_2d":
        return False
    window, output = _window(step), _output(step)
    return (
        window["kernel_height"] == window["kernel_width"] == 3
        and window["dilation_height"] == window["dilation_width"] == 1
        and window["stride_width"] in (1, 2)
        and not is_linear(output)
        and not is_clamped(output)
    )


def _planar(step: Step) -> Planar16:
    """What a 3x3 depthwise convolution reads."""
    window = _window(step)
    stride, width = window["stride_width"], window["output_width"]
    lead = window["pad_left"]
    columns = max(lead + window["input_width"], (width - 1) * stride + 3)
    plane = 2 * (columns + columns % 2)
    # The last tile is read as if it were full.
    read = 2 * (-(-width // 4) * 4 * stride + 2)
    size = (window["input_channels"] - 1) * plane + max(plane, read) + 4
    return Planar16(lead, plane, size + -size % 4)


def _tiled(step: Step) -> Tile16:
    window = _window(step)
    depth = window["output_channels"] + -window["output_channels"] % 4
    return Tile16(2 * depth * window["output_width"] + _SLACK)

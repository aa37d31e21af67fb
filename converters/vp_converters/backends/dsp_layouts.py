"""Which tensors the kernels of firmware/nn/dsp pass on in layouts of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from vp_converters.backends.dsp_scaling import is_clamped, is_linear
from vp_converters.lowering.step import Layout, Program, Reach, Step, Value

_SLACK = 16


@dataclass(frozen=True)
class Planar16:
    """PLANAR16 (vp/nn_dsp.h).

    Attributes:
        lead: columns of padding ahead of a plane.
        plane: bytes of a plane.
        read: bytes that are read of a plane, a multiple of 4.
        row_bytes: bytes of a row.
    """

    lead: int
    plane: int
    read: int
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

    The input of a proven depthwise convolution is PLANAR16 if what makes it can write that and
    everything that reads it wants the same planes. Its output is TILE16 if only 1x1 convolutions
    read it.

    Args:
        proven: for each step whether firmware/nn/dsp can run it exactly.
    """
    steps = program.steps
    makers = {step.output: number for number, step in enumerate(steps)}
    readers: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(number)
    shared = {tensor for alias in program.aliases for tensor in (alias.input, alias.output)}
    shared |= {program.graph.input, program.graph.output}

    rows: dict[int, Planar16 | Tile16] = {}
    for number, step in enumerate(steps):
        if not proven[number] or step.kernel != "depthwise_conv_2d":
            continue
        source, target = step.inputs[0], step.output
        maker = makers.get(source)
        planes = planes_for(step)
        if (
            source not in shared
            and maker is not None
            and proven[maker]
            and _makes_planes(steps[maker])
            and all(_reads_planes(steps[r], proven[r], planes) for r in readers[source])
        ):
            rows[source] = planes
        width = window_of(step)["output_width"]
        tiles = [proven[r] and _reads_tiles(steps[r], width) for r in readers.get(target, ())]
        if target not in shared and tiles and all(tiles):
            rows[target] = _tiles_for(step)
    return rows


def with_planes(program: Program, proven: Sequence[bool]) -> tuple[Program, dict[int, Planar16]]:
    """The program with steps that bring inputs of proven depthwise convolutions into planes where
    they are NHWC, and the tensors that these steps make."""
    rows = choose_layouts(program, proven)
    tensors = list(program.graph.tensors)
    made: dict[int, Planar16] = {}
    steps: list[Step] = []
    for step, fits in zip(program.steps, proven, strict=True):
        source = step.inputs[0]
        if not fits or step.kernel != "depthwise_conv_2d" or source in rows:
            steps.append(step)
            continue
        planes = planes_for(step)
        copy = replace(tensors[source], index=len(tensors), name=f"{tensors[source].name} (planes)")
        tensors.append(copy)
        made[copy.index] = planes
        window = window_of(step)
        steps.append(
            Step(
                op_index=step.op_index,
                operator=step.operator,
                kernel="dsp_planes",
                parameters={
                    "width": window["input_width"],
                    "channels": window["input_channels"],
                    "plane": planes.plane,
                    "lead": planes.lead,
                    "zero_point": step.parameters["input_zero_point"],
                },
                inputs=(source,),
                output=copy.index,
                reach=(Reach(),),
            )
        )
        steps.append(replace(step, inputs=(copy.index,)))
    graph = replace(program.graph, tensors=tuple(tensors))
    return replace(program, graph=graph, steps=tuple(steps)), made


def output_of(step: Step) -> Mapping[str, Value]:
    """The fields of its vp_nn_output."""
    return cast(Mapping[str, Value], step.parameters["output"])


def window_of(step: Step) -> dict[str, int]:
    """The fields of its vp_nn_window."""
    return cast(dict[str, int], step.parameters["window"])


def is_fast_depthwise(step: Step) -> bool:
    """Whether vp_nn_dsp_depthwise_3x3 can run a proven depthwise convolution into TILE16."""
    window, output = window_of(step), output_of(step)
    return (
        window["kernel_height"] == window["kernel_width"] == 3
        and window["dilation_height"] == 1
        and window["stride_width"] in (1, 2)
        and not is_linear(output)
        and not is_clamped(output)
    )


def planes_for(step: Step) -> Planar16:
    """What a depthwise convolution reads."""
    window = window_of(step)
    stride, width, kernel = (
        window[name] for name in ("stride_width", "output_width", "kernel_width")
    )
    lead = window["pad_left"]
    columns = max(lead + window["input_width"], (width - 1) * stride + kernel)
    plane = 2 * (columns + columns % 2)
    # Four outputs are computed at a time, with an even number of weights.
    last = (width + 3) // 4 * 4 - 1
    read = 2 * (last * stride + kernel + kernel % 2)
    read = max(plane, read + read % 4)
    # Padding is written by pairs, up to the first pixel of the next plane.
    written = plane + 2 * lead + 2
    size = (window["input_channels"] - 1) * plane + max(read, written + written % 4)
    return Planar16(lead, plane, read, size)


def _makes_planes(step: Step) -> bool:
    if step.kernel not in ("conv_1x1", "conv_2d"):
        return False
    return not is_clamped(output_of(step)) and not is_linear(output_of(step))


def _reads_planes(step: Step, proven: bool, planes: Planar16) -> bool:
    return proven and step.kernel == "depthwise_conv_2d" and planes_for(step) == planes


def _reads_tiles(step: Step, width: int) -> bool:
    """Whether it is a 1x1 convolution of every pixel of rows of ``width``."""
    if step.kernel != "conv_1x1":
        return False
    return step.parameters["row_step"] == 1 and step.parameters["output_width"] == width


def _tiles_for(step: Step) -> Tile16:
    window = window_of(step)
    depth = window["output_channels"] + -window["output_channels"] % 4
    return Tile16(2 * depth * window["output_width"] + _SLACK)

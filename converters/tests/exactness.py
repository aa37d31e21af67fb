"""Compares compiled graphs with tflite_micro, many graphs in one build."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from random_graphs import IMAGE_OPS, single_op, small_graph
from vp_converters import CompiledModel, load_model
from vp_converters.host import HostLibrary, HostModel
from vp_converters.oracle import Oracle

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_MODELS = ("resnet8", "v_32", "v1_96", "v3_160")
KINDS = (*IMAGE_OPS, "graph")

Int8Array = npt.NDArray[np.int8]
Runner = Callable[[Sequence[CompiledModel], Sequence[Int8Array]], Sequence[Int8Array]]


@dataclass(frozen=True)
class Case:
    """One graph with the label that makes it again."""

    label: str
    model: CompiledModel
    inputs: Int8Array


def graph_bytes(kind: str, label: str) -> bytes:
    """The graph that belongs to the label."""
    rng = random.Random(label)
    return small_graph(rng) if kind == "graph" else single_op(rng, kind)


def cases(kind: str, count: int, folder: Path, inputs: int, start: int = 0) -> Iterator[Case]:
    """``count`` graphs of one kind with ``inputs`` inputs each, the last one all at one extreme."""
    for number in range(start, start + count):
        label = f"{kind}-{number}"
        path = folder / f"{label}.tflite"
        path.write_bytes(graph_bytes(kind, label))
        yield case(path, label, inputs)


def case(path: Path, label: str, inputs: int) -> Case:
    """A model file with random inputs."""
    model = load_model(path)
    values = np.random.default_rng(inputs)
    shape = (inputs, *model.input_shape)
    batch = values.integers(-128, 128, shape, dtype=np.int8)
    if inputs > 1:
        batch[-1] = values.choice((-128, 127))
    return Case(label, model, batch)


def host_runner(folder: Path, flags: Sequence[str] = ("-O1",)) -> Runner:
    """Runs graphs from one shared library, quickly built rather than quick."""

    def run(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
        library = HostLibrary(models, folder, flags)
        hosts = [HostModel.from_library(model, library) for model in models]
        return [
            np.stack([host.run(one) for one in batch])
            for host, batch in zip(hosts, inputs, strict=True)
        ]

    return run


def mismatches(batch: Sequence[Case], runner: Runner) -> list[str]:
    """Labels of the graphs whose outputs differ from tflite_micro, with operators and amount."""
    outputs = runner([c.model for c in batch], [c.inputs for c in batch])
    found = []
    for one, output in zip(batch, outputs, strict=True):
        oracle = Oracle(one.model.data)
        expected = np.stack([oracle.run(values) for values in one.inputs])
        assert expected.shape == output.shape
        if not np.array_equal(expected, output):
            operators = [step.operator for step in one.model.steps()]
            worst = np.abs(expected.astype(int) - output).max()
            found.append(f"{one.label} {operators}: off by up to {worst}")
    return found

"""Runs compiled models on an emulated Cortex-M through semihosting.

Many models and inputs share one program and one QEMU process, so that whole batches of random
graphs run in a second or two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vp_converters.compiler import CompiledModel
from vp_converters.host import program_files, sources_of
from vp_converters.target.machines import (
    BOARDS,
    MPS2_AN386,
    MPS2_AN500,
    MPS3_AN547,
    SANITIZED_HOST,
    Machine,
)
from vp_converters.target.program import (
    compile_sources,
    link_program,
    run_program,
    write_files,
)

__all__ = [
    "BOARDS",
    "MPS2_AN386",
    "MPS2_AN500",
    "MPS3_AN547",
    "SANITIZED_HOST",
    "Machine",
    "TargetResult",
    "run_on_target",
]


@dataclass(frozen=True, eq=False)
class TargetResult:
    """What one model answered.

    Attributes:
        outputs: int8, one row per input with the model's output shape behind it.
        instructions: guest instructions of each inference; None unless they were counted.
    """

    outputs: npt.NDArray[np.int8]
    instructions: npt.NDArray[np.int64] | None


def run_on_target(
    models: Sequence[CompiledModel],
    inputs: Sequence[npt.NDArray[np.int8]],
    machine: Machine = MPS2_AN386,
    count_instructions: bool = False,
    timeout: float = 300.0,
) -> list[TargetResult]:
    """Builds one program from all models and runs each on its inputs.

    Args:
        models: with different names; their constants together fit the machine.
        inputs: for each model an int8 array with the inputs along its first axis.
        count_instructions: let the machine's counter count instructions; somewhat slower.
        timeout: seconds for the run.

    Raises:
        ConversionError: a tool is missing, the program does not build or does not end well.
    """
    machine.check_tools()
    with tempfile.TemporaryDirectory(prefix="vp-target-") as temporary:
        work = Path(temporary)
        _build(work, models, machine)
        _write_inputs(work, models, inputs)
        run_program(work, machine, count_instructions, timeout)
        return _read_outputs(work, models, inputs, count_instructions)


def _build(work: Path, models: Sequence[CompiledModel], machine: Machine) -> None:
    arena = max(model.arena_size for model in models)
    machine.check_size(sum(model.weight_bytes for model in models), arena)
    files = program_files(models)
    table = ", ".join(f"&{model.name}" for model in models)
    files["models.c"] += (
        f"extern const vp_model *const vp_target_models[];\n"
        f"extern const uint32_t vp_target_model_count;\n"
        f"const vp_model *const vp_target_models[] = {{{table}}};\n"
        f"const uint32_t vp_target_model_count = {len(models)};\n"
    )
    write_files(work, files)
    defines = [
        f"VP_TARGET_ARENA_SIZE={max(arena, 8)}u",
        f"VP_TARGET_INPUT_SIZE={max(int(np.prod(model.input_shape)) for model in models)}u",
        f"VP_TARGET_MAX_MODELS={len(models)}",
    ]
    sources = ["main.c", *machine.sources, *sources_of(files)]
    link_program(work, machine, compile_sources(work, machine, sources, defines))


def _write_inputs(
    work: Path, models: Sequence[CompiledModel], inputs: Sequence[npt.NDArray[np.int8]]
) -> None:
    if len(models) != len(inputs):
        raise ValueError(f"{len(models)} models, {len(inputs)} arrays of inputs")
    with (work / "inputs.bin").open("wb") as file:
        file.write(np.asarray([len(values) for values in inputs], dtype="<u4").tobytes())
        for model, values in zip(models, inputs, strict=True):
            size = int(np.prod(model.input_shape))
            if values.dtype != np.int8 or values.size != len(values) * size:
                raise ValueError(f"inputs of {model.name} are {values.dtype} {values.shape}")
            file.write(np.ascontiguousarray(values).tobytes())


def _read_outputs(
    work: Path,
    models: Sequence[CompiledModel],
    inputs: Sequence[npt.NDArray[np.int8]],
    count_instructions: bool,
) -> list[TargetResult]:
    outputs = np.fromfile(work / "outputs.bin", dtype=np.int8)
    instructions = np.fromfile(work / "instructions.bin", dtype="<u8").astype(np.int64)
    results = []
    for model, values in zip(models, inputs, strict=True):
        count = len(values)
        size = count * int(np.prod(model.output_shape))
        taken, outputs = outputs[:size], outputs[size:]
        spent, instructions = instructions[:count], instructions[count:]
        results.append(
            TargetResult(
                taken.reshape(count, *model.output_shape), spent if count_instructions else None
            )
        )
    return results

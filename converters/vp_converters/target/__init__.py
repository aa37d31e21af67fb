"""Runs compiled models on an emulated Cortex-M4F (QEMU mps2-an386) through semihosting.

Many models and inputs share one program and one QEMU process, so that whole batches of random
graphs run in a second or two.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vp_converters.compiler import CompiledModel
from vp_converters.errors import ConversionError
from vp_converters.host import program_files, sources_of

# With -icount shift=0 an instruction takes 1 ns; SysTick counts at 25 MHz.
INSTRUCTIONS_PER_TICK = 40

_SOURCES = Path(__file__).parent
_COMMON_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I.")


@dataclass(frozen=True)
class Machine:
    """Where the program runs.

    Attributes:
        tools: programs it needs, each with the Debian packages that hold it; the first is the
            compiler.
        sources: files of this folder that it needs beside main.c and machine.h.
        run: the command that runs program.elf.
        count: more arguments that make its counter count instructions.
    """

    tools: Mapping[str, str]
    flags: Sequence[str]
    sources: Sequence[str]
    run: Sequence[str]
    count: Sequence[str] = ()


MPS2_AN386 = Machine(
    tools={
        "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
        "qemu-system-arm": "qemu-system-arm",
    },
    flags=(
        *("-O2", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        *("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"),
        *("--specs=rdimon.specs", "-T", "mps2-an386.ld"),
    ),
    sources=("start.c", "mps2-an386.ld"),
    run=(
        *("qemu-system-arm", "-M", "mps2-an386", "-kernel", "program.elf", "-net", "none"),
        *("-display", "none", "-serial", "none", "-monitor", "none"),
        *("-semihosting-config", "enable=on,target=native"),
    ),
    count=("-icount", "shift=0"),
)

SANITIZED_HOST = Machine(
    tools={"cc": "gcc"},
    flags=("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    sources=("host_start.c",),
    run=("./program.elf",),
)


@dataclass(frozen=True, eq=False)
class TargetResult:
    """What one model answered.

    Attributes:
        outputs: int8, one row per input with the model's output shape behind it.
        instructions: guest instructions of each inference, to within INSTRUCTIONS_PER_TICK; None
            unless they were counted.
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
    for tool, package in machine.tools.items():
        if shutil.which(tool) is None:
            raise ConversionError(f"{tool} not found: apt install {package}")
    with tempfile.TemporaryDirectory(prefix="vp-target-") as temporary:
        work = Path(temporary)
        _build(work, models, machine)
        _write_inputs(work, models, inputs)
        _run(work, [*machine.run, *(machine.count if count_instructions else ())], timeout)
        return _read_outputs(work, models, inputs, count_instructions)


def _build(work: Path, models: Sequence[CompiledModel], machine: Machine) -> None:
    files = program_files(models)
    for name in ("main.c", "machine.h", *machine.sources):
        files[name] = (_SOURCES / name).read_text(encoding="utf-8")
    table = ", ".join(f"&{model.name}" for model in models)
    files["models.c"] += (
        f"extern const vp_model *const vp_target_models[];\n"
        f"extern const uint32_t vp_target_model_count;\n"
        f"const vp_model *const vp_target_models[] = {{{table}}};\n"
        f"const uint32_t vp_target_model_count = {len(models)};\n"
    )
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    compiler = next(iter(machine.tools))
    arena = max(model.arena_size for model in models)
    command = [
        compiler,
        *_COMMON_FLAGS,
        *machine.flags,
        f"-DVP_TARGET_ARENA_SIZE={max(arena, 8)}u",
        f"-DVP_TARGET_MAX_MODELS={len(models)}",
        "-o",
        "program.elf",
        *("main.c", *(name for name in machine.sources if name.endswith(".c"))),
        *sources_of(files),
    ]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [s for s in result.stderr.splitlines() if "error" in s or "undefined" in s]
        raise ConversionError(f"{compiler} failed: {(lines or ['no message'])[0]}")


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


def _run(work: Path, command: Sequence[str], timeout: float) -> None:
    try:
        result = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{command[0]} did not finish in {timeout:g} s") from None
    if result.returncode != 0:
        lines = [s for s in result.stderr.splitlines() if "rror" in s] or ["no message"]
        raise ConversionError(f"{command[0]} ended with code {result.returncode}: {lines[0]}")


def _read_outputs(
    work: Path,
    models: Sequence[CompiledModel],
    inputs: Sequence[npt.NDArray[np.int8]],
    count_instructions: bool,
) -> list[TargetResult]:
    outputs = np.fromfile(work / "outputs.bin", dtype=np.int8)
    ticks = np.fromfile(work / "ticks.bin", dtype="<u4").astype(np.int64)
    results = []
    for model, values in zip(models, inputs, strict=True):
        count = len(values)
        size = count * int(np.prod(model.output_shape))
        taken, outputs = outputs[:size], outputs[size:]
        spent, ticks = ticks[:count] * INSTRUCTIONS_PER_TICK, ticks[count:]
        results.append(
            TargetResult(
                taken.reshape(count, *model.output_shape), spent if count_instructions else None
            )
        )
    return results

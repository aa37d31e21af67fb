"""Runs compiled models on an emulated Cortex-M4F (QEMU mps2-an386) through semihosting.

Many models and inputs share one program and one QEMU process, so that whole batches of random graphs
run in a second or two.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vp_converters.compiler import CompiledModel
from vp_converters.errors import ConversionError

COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"
_PACKAGES = {COMPILER: "gcc-arm-none-eabi libnewlib-arm-none-eabi", EMULATOR: "qemu-system-arm"}

# With -icount shift=0 an instruction takes 1 ns; SysTick counts at 25 MHz.
INSTRUCTIONS_PER_TICK = 40

_SOURCES = Path(__file__).parent
_FLAGS = (
    "-std=c99",
    "-O2",
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfloat-abi=hard",
    "-mfpu=fpv4-sp-d16",
    "-ffunction-sections",
    "-fdata-sections",
    "--specs=rdimon.specs",
    "-Wl,--gc-sections",
    "-I.",
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
    count_instructions: bool = False,
    timeout: float = 300.0,
) -> list[TargetResult]:
    """Builds one program from all models and runs each on its inputs.

    Args:
        models: with different names; their constants together fit 4 MB.
        inputs: for each model an int8 array with the inputs along its first axis.
        count_instructions: run QEMU with a clock that counts instructions; somewhat slower.
        timeout: seconds for the emulated run.

    Raises:
        ConversionError: a tool is missing, the program does not build or does not end well.
    """
    for tool, package in _PACKAGES.items():
        if shutil.which(tool) is None:
            raise ConversionError(f"{tool} not found: apt install {package}")
    with tempfile.TemporaryDirectory(prefix="vp-target-") as temporary:
        work = Path(temporary)
        _build(work, models)
        _write_inputs(work, models, inputs)
        _emulate(work, count_instructions, timeout)
        return _read_outputs(work, models, inputs, count_instructions)


def _build(work: Path, models: Sequence[CompiledModel]) -> None:
    files: dict[str, str] = {}
    for model in models:
        files.update(model.files())
    for name in ("start.c", "main.c", "mps2-an386.ld"):
        files[name] = (_SOURCES / name).read_text(encoding="utf-8")
    includes = "".join(f'#include "{model.name}.h"\n' for model in models)
    table = ", ".join(f"&{model.name}" for model in models)
    files["models.c"] = (
        f"{includes}const vp_model *const vp_target_models[] = {{{table}}};\n"
        f"const uint32_t vp_target_model_count = {len(models)};\n"
    )
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    arena = max(model.arena_size for model in models)
    command = [
        COMPILER,
        *_FLAGS,
        f"-DVP_TARGET_ARENA_SIZE={max(arena, 8)}",
        f"-DVP_TARGET_MAX_MODELS={len(models)}",
        "-T",
        "mps2-an386.ld",
        "-o",
        "program.elf",
        *(name for name in files if name.endswith(".c")),
    ]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [s for s in result.stderr.splitlines() if "error" in s or "undefined" in s]
        raise ConversionError(f"{COMPILER} failed: {(lines or ['no message'])[0]}")


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


def _emulate(work: Path, count_instructions: bool, timeout: float) -> None:
    command = [EMULATOR, "-M", "mps2-an386", "-kernel", "program.elf", "-net", "none"]
    command += ["-display", "none", "-serial", "none", "-monitor", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    if count_instructions:
        command += ["-icount", "shift=0"]
    try:
        result = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"the emulated board did not finish in {timeout:g} s") from None
    if result.returncode != 0:
        last = (result.stderr.splitlines() or ["no message"])[-1]
        raise ConversionError(f"the emulated board ended with code {result.returncode}: {last}")


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

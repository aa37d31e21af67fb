"""Runs compiled models on this machine: the C that a board would run, built by the host's compiler.

`HostModel("variant.tflite").run(image)` answers as the board would; `trace(image)` also gives every
step's output, among them the scores before a softmax.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import numpy.typing as npt

from vp_converters.compiler import CompiledModel, StepInfo, load_model
from vp_converters.errors import ConversionError
from vp_converters.schedule import INPUT

Int8Array = npt.NDArray[np.int8]

_DECLARATIONS = """
typedef uint64_t vp_arena_t;
typedef struct {
    uint32_t offset; uint32_t size; uint32_t dims[4]; uint32_t dim_count;
    float scale; int32_t zero_point;
} vp_tensor;
typedef struct {
    const char *name; uint8_t hash[8]; uint32_t arena_size;
    vp_tensor input; vp_tensor output;
    uint32_t input_row_size; uint32_t input_ring;
    uint32_t stage_count; uint32_t schedule_size; const uint16_t *schedule;
    void (*run)(uint32_t stage, int32_t row, vp_arena_t *arena);
} vp_model;
void vp_model_invoke(const vp_model *model, vp_arena_t *arena, const int8_t *input);
"""
_FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC")


class HostModel:
    """One model, compiled to a shared library in a cache folder.

    Args:
        source: a .tflite file or a CompiledModel.
        cache_dir: where libraries are kept; by default $XDG_CACHE_HOME/variant-parallelism or
            ~/.cache/variant-parallelism.

    Raises:
        ConversionError: the model cannot be compiled, or there is no C compiler.
    """

    def __init__(
        self, source: str | Path | CompiledModel, cache_dir: str | Path | None = None
    ) -> None:
        compiled = source if isinstance(source, CompiledModel) else load_model(source)
        self._set(compiled, HostLibrary([compiled], cache_dir))

    @classmethod
    def from_library(cls, compiled: CompiledModel, library: HostLibrary) -> HostModel:
        """A model of a library that holds several."""
        model = cls.__new__(cls)
        model._set(compiled, library)
        return model

    def _set(self, compiled: CompiledModel, library: HostLibrary) -> None:
        self.compiled = compiled
        self._library = library
        self._model = library.symbol(compiled.name)
        words = -(-compiled.arena_size // 8)
        self._arena = np.zeros(max(words, 1), dtype=np.uint64)
        self._bytes: Int8Array = self._arena.view(np.int8)
        self._pointer = library.ffi.cast("vp_arena_t *", self._arena.ctypes.data)

    def run(self, values: npt.ArrayLike) -> Int8Array:
        """The model's output.

        Args:
            values: int8, the model's input shape; or a batch of such inputs, with one more
                dimension ahead (or the batch in place of the model's batch dimension of 1).

        Returns:
            int8, the model's output shape, or for a batch one output per input with the batch in
            place of the leading 1.
        """
        inputs, single = self._inputs(values)
        output = self._model.output
        ffi, lib = self._library.ffi, self._library.lib
        results = np.empty((len(inputs), output.size), dtype=np.int8)
        for number, one in enumerate(inputs):
            pointer = ffi.cast("const int8_t *", one.ctypes.data)
            lib.vp_model_invoke(self._model, self._pointer, pointer)
            results[number] = self._bytes[output.offset : output.offset + output.size]
        shape = self.compiled.output_shape
        return results.reshape(shape if single else (len(inputs), *_without_batch(shape)))

    def trace(self, values: npt.ArrayLike) -> list[tuple[StepInfo, Int8Array]]:
        """Runs one input step by step.

        Returns:
            every step that runs with its output: int8, the tensor's shape, or where nobody reads
            the last of its rows, the shape with fewer rows.
        """
        inputs, single = self._inputs(values)
        if not single and len(inputs) != 1:
            raise ValueError("trace takes one input")
        plan, program = self.compiled.plan, self.compiled.program
        steps = self.compiled.steps()
        made: list[dict[int, Int8Array]] = [{} for _ in steps]
        rows = inputs[0].reshape(program.height(program.graph.input), -1)
        for call in plan.schedule.calls:
            if call.step == INPUT:
                ring = self._ring(program.graph.input)
                ring[call.number % len(ring)] = rows[call.number]
                continue
            self._model.run(call.step + 1, call.number, self._pointer)
            step = program.steps[call.step]
            ring = self._ring(step.output)
            if step.reach is None:
                made[call.step] = dict(enumerate(ring.copy()))
            else:
                row = 0 if step.accumulates else call.number
                made[call.step][row] = ring[row % len(ring)].copy()
        return [(info, _layer(info, rows)) for info, rows in zip(steps, made, strict=True) if rows]

    def _ring(self, tensor: int) -> Int8Array:
        """The rows of a tensor in the arena, as many as are kept."""
        buffer = self.compiled.plan.rows[tensor]
        return self._bytes[buffer.offset : buffer.end].reshape(buffer.rows, buffer.row_bytes)

    def _inputs(self, values: npt.ArrayLike) -> tuple[Int8Array, bool]:
        array = np.asarray(values)
        if array.dtype != np.int8:
            raise ValueError(f"input is {array.dtype}, not int8")
        shape = self.compiled.input_shape
        size = int(np.prod(shape))
        single = array.shape in (shape, _without_batch(shape))
        if not single and array.shape[1:] not in (shape, _without_batch(shape)):
            raise ValueError(f"input has shape {array.shape}; the model takes {shape}")
        return np.ascontiguousarray(array).reshape(-1, size), single


def _layer(info: StepInfo, rows: Mapping[int, Int8Array]) -> Int8Array:
    values = np.stack([rows[row] for row in sorted(rows)])
    if values.size == np.prod(info.shape):
        return values.reshape(info.shape)
    return values.reshape(1, len(rows), *info.shape[2:])


def program_files(models: Sequence[CompiledModel]) -> dict[str, str]:
    """The generated files of several models, and models.c, which includes every <name>.c.

    One translation unit for all models: starting the compiler takes longer than compiling a small
    model.
    """
    files: dict[str, str] = {}
    for model in models:
        files.update(model.files())
    files["models.c"] = "".join(f'#include "{model.name}.c"\n' for model in models)
    return files


def sources_of(files: Mapping[str, str]) -> list[str]:
    """The sources to compile: models.c, which includes the models, and the kernels."""
    return ["models.c", *(name for name in files if name.startswith("nn/") and name.endswith(".c"))]


class HostLibrary:
    """A shared library with several models; their names must differ."""

    def __init__(
        self,
        models: Sequence[CompiledModel],
        cache_dir: str | Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.ffi: Any = cffi.FFI()
        self.ffi.cdef(_DECLARATIONS)
        for model in models:
            self.ffi.cdef(f"extern vp_model {model.name};")
        files = program_files(models)
        folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        self.lib: Any = self.ffi.dlopen(str(_build(files, (*_FLAGS, *flags), folder)))

    def symbol(self, name: str) -> Any:
        """Pointer to the vp_model called ``name``."""
        return self.ffi.addressof(self.lib, name)


def _without_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) > 1 else shape


def default_cache_dir() -> Path:
    """Folder for built libraries."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "variant-parallelism"


def _build(files: Mapping[str, str], flags: Sequence[str], folder: Path) -> Path:
    compiler = os.environ.get("CC", "cc")
    key = hashlib.blake2s("\0".join([compiler, *flags]).encode())
    for name in sorted(files):
        key.update(f"\0{name}\0{files[name]}".encode())
    target = folder / f"{key.hexdigest()}.so"
    if target.is_file():
        return target
    if shutil.which(compiler) is None:
        raise ConversionError(f"C compiler {compiler!r} not found: apt install gcc, or set CC")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as temporary:
            _compile(Path(temporary), files, [compiler, *flags], target)
    except OSError as error:
        raise ConversionError(f"{folder}: {error.strerror or error}") from error
    return target


def _compile(work: Path, files: Mapping[str, str], command: list[str], target: Path) -> None:
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sources = sources_of(files)
    result = subprocess.run(
        [*command, "-I.", "-o", "model.so", *sources],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if "error" in line] or ["no message"]
        raise ConversionError(f"{command[0]} failed on the generated C: {lines[0]}")
    os.replace(work / "model.so", target)

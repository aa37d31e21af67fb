"""Runs damaged models through the compiler, and what it accepts through sanitizers and
tflite_micro, in child processes with limits."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np

from exactness import Int8Array, Runner
from fuzz_corpus import Mutant
from vp_converters import CompiledModel, ConversionError, load_model
from vp_converters.backends import KERNELS
from vp_converters.explain import explain
from vp_converters.oracle import Oracle
from vp_converters.target import SANITIZED_HOST, run_on_target

SECONDS = 15
"""Of the processor for one file."""

PATIENCE = 300
"""Seconds until a child counts as hung."""

MEMORY = 3 << 30
_MAX_MACS = 2 * 10**6
_MAX_BYTES = 10**6
_INPUTS = 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Verdict:
    """What became of a file: ``error`` is the compiler's, ``fault`` anything that must not be."""

    label: str
    error: str = ""
    fault: str = ""


class _OutOfTimeError(BaseException):
    """Not an Exception: nothing on the way may take it for a fault of the file."""


def judge(mutants: Iterable[Mutant], folder: Path) -> list[Verdict]:
    """Compiles every file in a child with limits on time and memory."""
    files = []
    for number, mutant in enumerate(mutants):
        path = folder / f"m{number}.tflite"
        path.write_bytes(mutant.data)
        files.append((mutant.label, path))
    answers = in_children(_compile, [path for _, path in files])
    return [
        Verdict(label, *(answer or ("", "the process ended")))
        for (label, _), answer in zip(files, answers, strict=True)
    ]


def _compile(path: Path) -> tuple[str, str]:
    """(error, fault) of one file."""

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        kernels = KERNELS[int(path.stem[1:]) % len(KERNELS)]
        model = load_model(path, kernels=kernels)
        model.files()
        explain(model)
    except ConversionError as error:
        text = str(error)
        sound = text.startswith(f"{path}: ") and text.isprintable() and len(text) < 2000
        return text, "" if sound else f"not one clear line: {text[:300]!r}"
    except (Exception, _OutOfTimeError):
        return "", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "", ""


def accepted(verdicts: Sequence[Verdict], folder: Path) -> list[CompiledModel]:
    """The models of the files that compile, apart from those that would take long to run."""
    models = []
    for number, verdict in enumerate(verdicts):
        if not verdict.error and not verdict.fault:
            model = load_model(folder / f"m{number}.tflite")
            if model.macs < _MAX_MACS and max(model.arena_size, model.weight_bytes) < _MAX_BYTES:
                models.append(model)
    return models


def sanitized(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
    """The outputs under the sanitizers.

    Raises:
        ConversionError: the C draws a warning, or a sanitizer stops it.
    """
    machine = replace(SANITIZED_HOST, flags=(*SANITIZED_HOST.flags, "-Wshadow"))
    return [result.outputs for result in run_on_target(models, inputs, machine)]


def compare(models: Sequence[CompiledModel], runner: Runner) -> tuple[int, list[str]]:
    """(number compared, names of those that differ from tflite_micro where it has an answer)."""
    inputs = [_inputs(model) for model in models]
    outputs = runner(models, inputs)
    tasks = [(model.data, values) for model, values in zip(models, inputs, strict=True)]
    expected = in_children(_ask_oracle, tasks)
    both = [
        (model.name, np.array_equal(output, answer))
        for model, output, answer in zip(models, outputs, expected, strict=True)
        if answer is not None
    ]
    return len(both), [name for name, equal in both if not equal]


def _inputs(model: CompiledModel) -> Int8Array:
    random = np.random.default_rng(1)
    values = random.integers(-128, 128, (_INPUTS, *model.input_shape), dtype=np.int8)
    values[1], values[2] = -128, 127
    return values


def _ask_oracle(task: tuple[bytes, Int8Array]) -> Int8Array | None:
    data, inputs = task
    try:
        oracle = Oracle(data)
        return np.stack([oracle.run(values) for values in inputs])
    except ConversionError:
        return None


def in_children(work: Callable[[T], R], tasks: Sequence[T]) -> list[R | None]:
    """``work`` on every task, one after another; None where it ends its process or hangs. The next
    task then gets another process."""
    context = multiprocessing.get_context("fork")
    answers: list[R | None] = []
    while len(answers) < len(tasks):
        ours, theirs = context.Pipe()
        rest = tasks[len(answers) :]
        child = context.Process(target=_serve, args=(work, rest, theirs), daemon=True)
        child.start()
        theirs.close()
        try:
            while len(answers) < len(tasks) and ours.poll(PATIENCE):
                answers.append(ours.recv())
            if len(answers) < len(tasks):
                answers.append(None)
        except (EOFError, ConnectionResetError):
            answers.append(None)
        child.kill()
        child.join()
    return answers


def _serve(work: Callable[[T], R], tasks: Sequence[T], connection: Connection) -> None:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    for task in tasks:
        connection.send(work(task))

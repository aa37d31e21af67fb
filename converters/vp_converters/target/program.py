"""Builds programs out of compiled models and runs them on a machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vp_converters.errors import ConversionError
from vp_converters.target.machines import FOLDER, Machine

_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
_OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes")
_WORKERS = 2


def write_files(work: Path, files: Mapping[str, str]) -> None:
    """Writes ``files`` (path within the folder -> text)."""
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def compile_sources(
    work: Path, machine: Machine, sources: Sequence[str], defines: Sequence[str] = ()
) -> list[str]:
    """Compiles each source to an object, two at a time; names of the objects within ``work``.

    Args:
        sources: within ``work``; one that is not there is a file of this package's folder.
        defines: "NAME=value".

    Raises:
        ConversionError: a source does not compile.
    """

    def compile_one(source: str) -> str:
        target = source.replace("/", "_").removesuffix(".c") + ".o"
        path = source if (work / source).is_file() else str(FOLDER / source)
        macros = [f"-D{text}" for text in (*_machine_defines(machine), *defines)]
        flags = [*_WARNINGS, *machine.flags, *macros, "-I.", "-I", str(FOLDER)]
        _tool(work, [machine.compiler, *flags, "-c", "-o", target, path])
        return target

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(compile_one, sources))


def link_program(work: Path, machine: Machine, objects: Sequence[str]) -> None:
    """Links program.elf.

    Raises:
        ConversionError: it does not fit the machine's memory, or does not link.
    """
    flags = (*machine.flags, *machine.library, *machine.script)
    _tool(work, [machine.compiler, *flags, "-o", "program.elf", *objects], machine.name)


def link_alone(
    work: Path, machine: Machine, objects: Sequence[str], entry: str, target: str
) -> None:
    """Links ``target``, which cannot run: the function ``entry`` and what it needs, nothing else.

    Raises:
        ConversionError: it does not link.
    """
    flags = (*machine.flags, "-nostartfiles", *machine.script, f"-Wl,-e,{entry}")
    _tool(work, [machine.compiler, *flags, "-o", target, *objects])


def run_program(work: Path, machine: Machine, count: bool, timeout: float) -> None:
    """Runs program.elf in ``work``.

    Args:
        count: let the machine's counter count instructions; somewhat slower.
        timeout: seconds.

    Raises:
        ConversionError: it takes too long or does not end well.
    """
    command = [*machine.run, *(machine.count if count else ())]
    try:
        result = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{command[0]} did not finish in {timeout:g} s") from None
    if result.returncode != 0:
        lines = [s for s in result.stderr.splitlines() if "rror" in s] or ["no message"]
        raise ConversionError(f"{command[0]} ended with code {result.returncode}: {lines[0]}")


def _machine_defines(machine: Machine) -> list[str]:
    if not machine.tick_ps:
        return []
    return [
        f"VP_TARGET_TICK_PS={machine.tick_ps}u",
        f"VP_TARGET_INSTRUCTION_PS={machine.instruction_ps}u",
    ]


def _tool(work: Path, command: Sequence[str], machine: str = "") -> None:
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    if overflow := _OVERFLOW.search(result.stderr):
        region, excess = overflow.groups()
        raise ConversionError(
            f"too large for {machine}: {int(excess):,} bytes more than its {region} memory holds"
        )
    lines = [s for s in result.stderr.splitlines() if "error" in s or "undefined" in s]
    raise ConversionError(f"{command[0]} failed: {(lines or ['no message'])[0]}")

"""The emulated boards: what they count, and how a program that fails ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exactness import cases, mismatches
from vp_converters.errors import ConversionError
from vp_converters.target import BOARDS, MPS2_AN386, Machine, run_on_target
from vp_converters.target.program import (
    compile_sources,
    link_program,
    run_program,
    write_files,
)

LOOP_MAIN = """
#include <stdio.h>
#include "machine.h"

__attribute__((noinline)) static uint64_t loop(uint32_t rounds)
{
    const vp_target_time begin = vp_target_now();
    __asm__ volatile("1: subs %0, #1\\n\\tbne 1b" : "+r"(rounds) : : "cc");
    return vp_target_since(begin);
}

int main(void)
{
    const uint32_t rounds[] = {1, 2, 3, 10, 1000, 12345678};
    uint64_t counts[6];
    FILE *file = fopen("counts.bin", "wb");
    vp_target_start();
    for (int i = 0; i < 6; i++) {
        counts[i] = loop(rounds[i]);
    }
    return file == NULL || fwrite(counts, sizeof counts, 1, file) != 1 || fclose(file) != 0;
}
"""


def _run(work: Path, machine: Machine, main: str) -> None:
    write_files(work, {"test.c": main})
    link_program(work, machine, compile_sources(work, machine, ["test.c", *machine.sources]))
    run_program(work, machine, count=True, timeout=60)


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_every_instruction_is_counted(board: Machine, tmp_path: Path, emulated: None) -> None:
    """Also where the 24-bit counter wraps, which 12,345,678 rounds make it do several times."""
    _run(tmp_path, board, LOOP_MAIN)
    counts = np.fromfile(tmp_path / "counts.bin", dtype="<u8").astype(np.int64)
    rounds = np.array([1, 2, 3, 10, 1000, 12345678])
    np.testing.assert_array_equal(counts - counts[0], 2 * (rounds - 1))


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_graphs_on_every_board(board: Machine, tmp_path: Path, emulated: None) -> None:
    def run(models: list, inputs: list) -> list:
        return [result.outputs for result in run_on_target(models, inputs, board)]

    assert mismatches(list(cases("graph", 6, tmp_path, 2)), run) == []


def test_the_count_does_not_depend_on_the_clock(tmp_path: Path, emulated: None) -> None:
    """With 1 ns an instruction, 40 instructions a tick: the same to within two ticks."""
    one = next(cases("graph", 1, tmp_path, 3))
    coarse = replace(MPS2_AN386, count=("-icount", "shift=0"), instruction_ps=1000)
    fine, rough = (
        run_on_target([one.model], [one.inputs], machine, count_instructions=True)[0].instructions
        for machine in (MPS2_AN386, coarse)
    )
    assert fine is not None and rough is not None
    assert np.abs(fine - rough).max() <= 80
    assert fine.min() > 80


def test_a_fault_is_an_error(tmp_path: Path, emulated: None) -> None:
    text = "int main(void) { return *(volatile int *)0xE0000000 + ((int (*)(void))0xF0000000)(); }"
    for board in BOARDS.values():
        with pytest.raises(ConversionError, match="ended with code 70"):
            _run(tmp_path, board, text)


def test_a_program_that_hangs_is_an_error(tmp_path: Path, emulated: None) -> None:
    write_files(tmp_path, {"test.c": "int main(void) { for (;;) { } }"})
    objects = compile_sources(tmp_path, MPS2_AN386, ["test.c", *MPS2_AN386.sources])
    link_program(tmp_path, MPS2_AN386, objects)
    with pytest.raises(ConversionError, match=r"did not finish in 0.5 s"):
        run_program(tmp_path, MPS2_AN386, count=False, timeout=0.5)


def test_a_program_that_does_not_fit_is_an_error(tmp_path: Path, emulated: None) -> None:
    text = (
        "extern const char big[]; const char big[5 << 20] = {1};\n"
        "int main(void) { return *(const volatile char *)big; }"
    )
    with pytest.raises(ConversionError, match=r"too large for mps2-an386: [\d,]+ bytes more"):
        _run(tmp_path, MPS2_AN386, text)


def test_a_model_that_does_not_fit_is_an_error(tmp_path: Path, emulated: None) -> None:
    one = next(cases("conv_2d", 1, tmp_path, 1))
    small = replace(MPS2_AN386, arena_bytes=one.model.arena_size - 1)
    with pytest.raises(ConversionError, match=r"too large for mps2-an386: arena of"):
        run_on_target([one.model], [one.inputs], small)
    small = replace(MPS2_AN386, code_bytes=one.model.weight_bytes - 1)
    with pytest.raises(ConversionError, match=r"too large for mps2-an386: constants of"):
        run_on_target([one.model], [one.inputs], small)


def test_a_missing_tool_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConversionError, match="apt install gcc-arm-none-eabi"):
        MPS2_AN386.check_tools()

"""A watchdog that outlives the reset before programming is stopped, or it would bite half-way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("pyocd", reason="pyOCD is missing: pip install 'variant-parallelism[flash]'")

from variant_parallelism.firmware import load_board
from variant_parallelism.flash.pyocd_backend import PyocdConnection


@pytest.mark.parametrize(
    ("board", "writes"),
    [("pico", [(0x4005B000, 1 << 30)]), ("nrf52840-dk", []), ("nucleo-f446re", [])],
)
def test_only_the_rp2040s_is_stopped(board: str, writes: list[tuple[int, int]]) -> None:
    seen: list[tuple[int, int]] = []
    target = SimpleNamespace(write32=lambda address, value: seen.append((address, value)))
    connection = PyocdConnection(SimpleNamespace(target=target), "probe")
    connection.stop_watchdog(load_board(board))
    assert seen == writes

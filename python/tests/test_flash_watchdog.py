"""What a chip needs besides its image: a watchdog stopped, or the debug port kept open."""

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


@pytest.mark.parametrize(
    ("hardened", "before", "written"),
    [
        (True, 0xFFFFFFFF, [(0x10001208, 0x5A)]),
        (True, 0xFFFFFF5A, []),
        (True, 0xFFFFFF00, []),
        (False, 0xFFFFFFFF, []),
        (None, 0xFFFFFFFF, []),
    ],
    ids=["blank", "open", "locked on purpose", "earlier revision", "another chip"],
)
def test_the_debug_port_is_kept_open_where_nobody_decided(
    hardened: bool | None, before: int, written: list[tuple[int, int]]
) -> None:
    seen: list[tuple[int, int]] = []
    target = SimpleNamespace(
        read32={0x10001208: before}.__getitem__,
        write_uicr=lambda address, value: seen.append((address, value)),
    )
    if hardened is not None:
        target.hardened_approtect = hardened
    PyocdConnection(SimpleNamespace(target=target), "probe").keep_debug_port_open()
    assert seen == written

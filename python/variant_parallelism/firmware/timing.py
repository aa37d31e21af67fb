"""How long a board may take for one step of a model, against its watchdog."""

from __future__ import annotations

from variant_parallelism.firmware.boards import BoardInfo

CYCLES_PER_MAC = 40
"""Pessimistic, for the portable kernels without DSP instructions: a 3 x 3 depthwise convolution,
the most expensive one, takes up to 18.4 instructions a multiplication on a Cortex-M4 (counted in
QEMU, requantization included), a convolution over 16 channels 6.6; doubled for loads, branches and
slow flash. Steps without multiplications cost less than the convolutions around them."""


def step_ms(macs: int, board: BoardInfo) -> float:
    """Estimated milliseconds of a step of `macs` multiplications, rather too many than too few."""
    return macs * CYCLES_PER_MAC * 1000 / board.clock_hz


def watchdog_warning(variant: str, step: str, macs: int, board: BoardInfo) -> str | None:
    """One line if `step` may take over half of the watchdog's period, else None.

    The watchdog is fed between steps, never within one. It is a warning because the estimate is a
    bound, and because time on an emulated board is not the real board's.
    """
    estimate = step_ms(macs, board)
    if estimate <= board.watchdog_ms / 2:
        return None
    return (
        f"variant {variant}: step {step} ({macs:,} multiplications) may take {estimate:,.0f} ms on "
        f"{board.name}, whose watchdog bites after {board.watchdog_ms:,} ms"
    )

"""Flash sectors of the STM32 chips that have a port, by what their bootloader says they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from variant_parallelism.errors import VpError

FLASH_ORIGIN = 0x08000000

_K = 1024
_F4_BANK = (16 * _K,) * 4 + (64 * _K,) + (128 * _K,) * 7


@dataclass(frozen=True)
class Stm32Chip:
    """A product id (AN2606) and the sectors of its largest member.

    Attributes:
        targets: how pyOCD's names for the chips begin.
        sectors: bytes of each sector, from FLASH_ORIGIN on.
        erase_s: the longest that erasing one of its largest sectors takes, in seconds.
    """

    product: int
    name: str
    targets: tuple[str, ...]
    sectors: tuple[int, ...]
    erase_s: float = 4.0

    def sectors_of(self, ranges: Iterable[tuple[int, int]]) -> list[int]:
        """The sectors that (address, size) ranges touch, rising; VpError outside the flash."""
        ends = list(accumulate(self.sectors, initial=FLASH_ORIGIN))
        touched: set[int] = set()
        for address, size in ranges:
            if address < FLASH_ORIGIN or address + size > ends[-1]:
                raise VpError(
                    f"{address:#010x} to {address + size:#010x} is not in the flash of {self.name}"
                )
            touched.update(
                number
                for number in range(len(self.sectors))
                if ends[number] < address + size and address < ends[number + 1]
            )
        return sorted(touched)


# RM0090 tables 5 and 6, RM0390 table 4, RM0385 table 3, RM0410 table 3 (as one bank of 256 bits).
CHIPS = (
    Stm32Chip(0x413, "STM32F405/407", ("stm32f405", "stm32f407"), _F4_BANK),
    Stm32Chip(0x419, "STM32F42x/43x", ("stm32f42", "stm32f43"), _F4_BANK * 2),
    Stm32Chip(0x421, "STM32F446", ("stm32f446",), _F4_BANK[:8]),
    Stm32Chip(
        0x449,
        "STM32F74x/75x",
        ("stm32f74", "stm32f75"),
        (32 * _K,) * 4 + (128 * _K,) + (256 * _K,) * 3,
    ),
    Stm32Chip(
        0x451,
        "STM32F76x/77x",
        ("stm32f76", "stm32f77"),
        (32 * _K,) * 4 + (128 * _K,) + (256 * _K,) * 7,
    ),
)


def chip_of_target(target: str) -> Stm32Chip | None:
    """The chip that a board's `pyocd_target` names, if its bootloader is known here."""
    return next((chip for chip in CHIPS if target.startswith(chip.targets)), None)


def chip_name(product: int) -> str:
    """What to call the chip that a bootloader says it is."""
    known = next((chip.name for chip in CHIPS if chip.product == product), None)
    return known or f"an STM32 with product id {product:#05x}"

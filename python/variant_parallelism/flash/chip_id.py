"""Which chip a debug probe is connected to: the id that the chip keeps for debuggers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from variant_parallelism.flash.stm32_chips import chip_name, chip_of_target

Read = Callable[[int], int]
"""Reads the word at an address; raises what the probe raises where there is no memory."""

# DBGMCU_IDCODE: RM0090, RM0390, RM0385 and RM0410, "MCU device ID code".
_STM32_IDCODE = 0xE0042000
_STM32_DEVICE_MASK = 0xFFF
# Revision A of the F405/407 says what an F2 says (ES0182, "MCU device ID is incorrect"); its core
# tells them apart: CPUID, Armv7-M Architecture Reference Manual, B3.2.3.
_F407, _F407_REVISION_A = 0x413, 0x411
_CPUID = 0xE000ED00
_CPUID_PART = 0xFFF0
_CORTEX_M4 = 0xC240
# FICR INFO.PART: nRF52840 product specification.
_NRF_PART = 0x10000100


@dataclass(frozen=True, slots=True)
class ChipId:
    """What a word of a chip must be, and what to call another value."""

    address: int
    mask: int
    value: int
    name: str
    name_of: Callable[[int], str]

    def found(self, read: Read) -> str | None:
        """None if the chip is the right one, else what to call it."""
        value = read(self.address) & self.mask
        if (self.value, value) == (_F407, _F407_REVISION_A):
            value = _F407 if read(_CPUID) & _CPUID_PART == _CORTEX_M4 else value
        return None if value == self.value else self.name_of(value)


def chip_id(pyocd_target: str) -> ChipId | None:
    """How to recognise the chip that pyOCD calls so; None if there is no way known here.

    An RP2040 needs none: it answers on SWD only to who selects it by its id.
    """
    stm32 = chip_of_target(pyocd_target)
    if stm32 is not None:
        return ChipId(
            _STM32_IDCODE,
            _STM32_DEVICE_MASK,
            stm32.product,
            stm32.name,
            lambda value: chip_name(value) if value else "another chip",
        )
    if pyocd_target.startswith("nrf52"):
        part = int(pyocd_target[3:8], 16)
        return ChipId(_NRF_PART, 0xFFFFFFFF, part, f"nRF{part:05X}", _nrf_name)
    return None


def _nrf_name(part: int) -> str:
    return f"nRF{part:05X}" if part >> 12 == 0x52 else "another chip"

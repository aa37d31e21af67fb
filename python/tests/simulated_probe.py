"""A debug probe of pyOCD's with an STM32F4 behind it: ADIv5 registers, flash controller and core.

pyOCD itself, its flash algorithms among it, runs as on hardware: the core executes them (Unicorn),
and the flash takes only what RM0090 section 3.9 allows: unlocked, erased by sectors, bits cleared
one word at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from pyocd.core import exceptions
from pyocd.probe.debug_probe import DebugProbe
from unicorn import (
    UC_ARCH_ARM,
    UC_HOOK_INTR,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    Uc,
    arm_const,
)

FLASH = 0x08000000
FLASH_SIZE = 0x100000
SECTORS = (*(0x4000,) * 4, 0x10000, *(0x20000,) * 7)
STARTS = (0, *accumulate(SECTORS))[:-1]
RAM = 0x20000000
RAM_SIZE = 0x30000

_PERIPHERALS = 0x40023000
_KEYR, _SR, _CR, _OPTCR = 0xC04, 0xC0C, 0xC10, 0xC14
_KEYS = (0x45670123, 0xCDEF89AB)
_OPTCR_RESET = 0x0FFFAAED
_LOCK, _START, _MASS, _SECTOR, _PROGRAM = 1 << 31, 1 << 16, 1 << 2, 1 << 1, 1
_PGSERR = 1 << 7

_DHCSR, _DCRSR, _DCRDR, _DEMCR, _AIRCR = 0xE000EDF0, 0xE000EDF4, 0xE000EDF8, 0xE000EDFC, 0xE000ED0C
_C_DEBUGEN, _C_HALT = 1, 2
_S_REGRDY, _S_HALT, _S_RESET = 1 << 16, 1 << 17, 1 << 25
_ROM_TABLE = 0xE00FF000


def _ids(base: int, component_class: int, part: int, designer: int) -> dict[int, int]:
    """PIDR and CIDR of a component; `designer` is JEP106, continuation code above the low byte."""
    return {
        base + 0xFD0: designer >> 8,
        base + 0xFE0: part & 0xFF,
        base + 0xFE4: (designer & 0xF) << 4 | part >> 8,
        base + 0xFE8: 8 | designer >> 4 & 7,
        base + 0xFF0: 0x0D,
        base + 0xFF4: component_class << 4,
        base + 0xFF8: 0x05,
        base + 0xFFC: 0xB1,
    }


_REGISTERS = {
    **{number: getattr(arm_const, f"UC_ARM_REG_R{number}") for number in range(13)},
    13: arm_const.UC_ARM_REG_SP,
    14: arm_const.UC_ARM_REG_LR,
    15: arm_const.UC_ARM_REG_PC,
    17: arm_const.UC_ARM_REG_MSP,
    18: arm_const.UC_ARM_REG_PSP,
}


class SimulatedChip:
    """Flash, RAM and core. `started` is called when the firmware begins to run."""

    def __init__(self, idcode: int = 0x10076413) -> None:
        self.flash = bytearray(b"\xff" * FLASH_SIZE)
        self.erased: list[int] = []
        self.stuck: set[int] = set()
        """Addresses whose bits cannot be cleared any more."""
        self.started: Callable[[], None] = lambda: None
        self.asleep = False
        """The firmware has stopped the clocks that the debugger needs, until a reset."""
        self._words = {
            0xE0042000: idcode,
            0xE000ED00: 0x410FC241,  # CPUID: Cortex-M4 r0p1
            _ROM_TABLE: 0xFFF0F003,
            **_ids(_ROM_TABLE, 1, idcode & 0xFFF, 0x20),
            **_ids(0xE000E000, 0xE, 0x00C, 0x43B),
        }
        self._core = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self._core.mem_map(RAM, RAM_SIZE)
        self._core.mmio_map(FLASH, FLASH_SIZE, self._read_flash, None, self._write_flash, None)
        self._core.mmio_map(
            _PERIPHERALS, 0x1000, self._read_register, None, self._write_register, None
        )
        self._core.hook_add(UC_HOOK_INTR, lambda core, number, _: core.emu_stop())
        self._other_registers: dict[int, int] = {}
        self._selected_data = 0
        self._halted = False
        self._debugging = False
        self._was_reset = True
        self._catches = 0
        self._control = _LOCK
        self._status = 0
        self._keys = 0

    @property
    def running(self) -> bool:
        return not self._halted

    @property
    def debugged(self) -> bool:
        """Whether faults or resets would stop the core for the debugger."""
        return self._debugging or self._catches != 0

    def reset(self) -> None:
        """As the reset line does: flash and RAM keep what they hold."""
        self._control, self._status, self._keys = _LOCK, 0, 0
        self._was_reset = True
        self.asleep = False
        self._core.reg_write(arm_const.UC_ARM_REG_PC, 0)
        self._halted = self._debugging and bool(self._catches & 1)
        if not self._halted:
            self.started()

    # Memory as the debugger sees it.

    def read(self, address: int, size: int) -> bytes:
        if self.asleep:
            raise exceptions.TransferFaultError(fault_address=address)
        if FLASH <= address < FLASH + FLASH_SIZE:
            return bytes(self.flash[address - FLASH : address - FLASH + size])
        if RAM <= address < RAM + RAM_SIZE:
            return bytes(self._core.mem_read(address, size))
        return (self._read_word(address & ~3) >> 8 * (address & 3)).to_bytes(8, "little")[:size]

    def write(self, address: int, data: bytes) -> None:
        if RAM <= address < RAM + RAM_SIZE:
            self._core.mem_write(address, data)
        elif FLASH <= address < FLASH + FLASH_SIZE:
            self._write_flash(None, address - FLASH, len(data), int.from_bytes(data, "little"), 0)
        else:
            self._write_word(address, int.from_bytes(data, "little"))

    def _read_word(self, address: int) -> int:
        if address == _DHCSR:
            status = _S_REGRDY | (_S_HALT if self._halted else 0)
            status |= (_S_RESET if self._was_reset else 0) | int(self._debugging)
            self._was_reset = False
            return status | (_C_HALT if self._halted else 0)
        if address == _DCRDR:
            return self._selected_data
        if address == _DEMCR:
            return self._catches
        if _PERIPHERALS <= address < _PERIPHERALS + 0x1000:
            return self._read_register(None, address - _PERIPHERALS, 4, None)
        if address in self._words:
            return self._words[address]
        if 0xE0000000 <= address < 0xE0100000:
            return 0
        raise exceptions.TransferFaultError(fault_address=address)

    def _write_word(self, address: int, value: int) -> None:
        if address == _DHCSR and value >> 16 == 0xA05F:
            self._debugging = bool(value & _C_DEBUGEN)
            if value & _C_HALT:
                self._halted = True
            elif self._halted:
                self._resume()
        elif address == _DCRSR:
            self._transfer_register(value)
        elif address == _DCRDR:
            self._selected_data = value
        elif address == _DEMCR:
            self._catches = value & 0x7F1
        elif address == _AIRCR and value >> 16 == 0x05FA and value & 4:
            self.reset()
        elif _PERIPHERALS <= address < _PERIPHERALS + 0x1000:
            self._write_register(None, address - _PERIPHERALS, 4, value, None)

    # The core.

    def _transfer_register(self, request: int) -> None:
        number = request & 0x7F
        if request >> 16 & 1:
            if number in _REGISTERS:
                self._core.reg_write(_REGISTERS[number], self._selected_data)
            else:
                self._other_registers[number] = self._selected_data
        elif number in _REGISTERS:
            self._selected_data = int(self._core.reg_read(_REGISTERS[number]))
        else:
            self._selected_data = self._other_registers.get(number, 0)

    def _resume(self) -> None:
        """Run a flash algorithm to its breakpoint; anything else is the firmware."""
        self._halted = False
        start = int(self._core.reg_read(arm_const.UC_ARM_REG_PC))
        if RAM <= start < RAM + RAM_SIZE:
            self._core.emu_start(start | 1, 0xFFFFFFFF)
            self._halted = True
        else:
            self.started()

    # The flash controller.

    def _read_flash(self, core: object, offset: int, size: int, data: object) -> int:
        return int.from_bytes(self.flash[offset : offset + size], "little")

    def _write_flash(self, core: object, offset: int, size: int, value: int, data: object) -> None:
        # PSIZE (bits 9:8) says how much is written at once.
        if not self._control & _PROGRAM or 1 << (self._control >> 8 & 3) != size:
            self._status |= _PGSERR
            return
        for index, byte in enumerate(value.to_bytes(size, "little")):
            if FLASH + offset + index not in self.stuck:
                self.flash[offset + index] &= byte

    def _read_register(self, core: object, offset: int, size: int, data: object) -> int:
        return {_SR: self._status, _CR: self._control, _OPTCR: _OPTCR_RESET}.get(offset, 0)

    def _write_register(
        self, core: object, offset: int, size: int, value: int, data: object
    ) -> None:
        if offset == _KEYR:
            right = self._keys < 2 and value == _KEYS[self._keys]
            self._keys = self._keys + 1 if right else 3
            if self._keys == 2:
                self._control &= ~_LOCK
        elif offset == _SR:
            self._status &= ~value
        elif offset == _CR and not self._control & _LOCK:
            self._control = value & ~_START
            if value & _LOCK:
                self._keys = 0
            elif value & _START and value & _SECTOR:
                self._erase(value >> 3 & 0xF)

    def _erase(self, sector: int) -> None:
        self.erased.append(sector)
        start, size = STARTS[sector], SECTORS[sector]
        self.flash[start : start + size] = b"\xff" * size


class SimulatedProbe(DebugProbe):
    """SWD down to DP and AP registers (ADIv5.2), with faults to order.

    `fail_after` transfers of words, each one ends in `failure`, until `plug_in`.
    """

    connected: list[SimulatedProbe] = []  # noqa: RUF012

    def __init__(self, unique_id: str, chip: SimulatedChip) -> None:
        super().__init__()
        self.chip = chip
        self.fail_after: int | None = None
        self.failure: Exception = exceptions.ProbeDisconnected("no such device")
        self.transfers = 0
        self._unique_id = unique_id
        self._open = False
        self._protocol: DebugProbe.Protocol | None = None
        self._select = 0
        self._status = 0
        self._csw = 0x23000042
        self._tar = 0

    @classmethod
    def get_all_connected_probes(cls, unique_id=None, is_explicit=False):  # type: ignore[no-untyped-def]
        return list(cls.connected)

    @classmethod
    def get_probe_with_id(cls, unique_id, is_explicit=False):  # type: ignore[no-untyped-def]
        return next((probe for probe in cls.connected if probe.unique_id == unique_id), None)

    vendor_name = "Simulated"
    product_name = "CMSIS-DAP"
    supported_wire_protocols = (DebugProbe.Protocol.DEFAULT, DebugProbe.Protocol.SWD)
    capabilities = frozenset()

    @property
    def unique_id(self) -> str:
        return self._unique_id

    @property
    def wire_protocol(self) -> DebugProbe.Protocol | None:
        return self._protocol

    @property
    def is_open(self) -> bool:
        return self._open

    def plug_in(self) -> None:
        """End the failure; the board was without power meanwhile."""
        self.fail_after = None
        self.transfers = 0
        self.chip.reset()

    def open(self) -> None:
        self._count(0)
        self._open = True

    def close(self) -> None:
        self._open = False

    def connect(self, protocol: DebugProbe.Protocol | None = None) -> None:
        self._protocol = DebugProbe.Protocol.SWD

    def disconnect(self) -> None:
        self._protocol = None

    def set_clock(self, frequency: float) -> None:
        pass

    def reset(self) -> None:
        self._count(1)
        self.chip.reset()

    def assert_reset(self, asserted: bool) -> None:
        if asserted:
            self.chip.asleep = False
        else:
            self.reset()

    def is_reset_asserted(self) -> bool:
        return False

    def read_dp(self, addr: int, now: bool = True):  # type: ignore[no-untyped-def]
        self._count(1)
        # Power-up requests are acknowledged at once.
        value = {0x0: 0x2BA01477, 0x4: self._status | (self._status & 0x50000000) << 1}.get(addr, 0)
        return value if now else lambda: value

    def write_dp(self, addr: int, data: int) -> None:
        self._count(1)
        if addr == 0x4:
            self._status = data & 0x50000000
        elif addr == 0x8:
            self._select = data

    def read_ap(self, addr: int, now: bool = True):  # type: ignore[no-untyped-def]
        (value,) = self.read_ap_multiple(addr, 1)
        return value if now else lambda: value

    def write_ap(self, addr: int, data: int) -> None:
        self.write_ap_multiple(addr, [data])

    def read_ap_multiple(self, addr: int, count: int = 1, now: bool = True):  # type: ignore[no-untyped-def]
        self._count(count)
        values = [self._read_ap(self._register(addr)) for _ in range(count)]
        return values if now else lambda: values

    def write_ap_multiple(self, addr: int, values) -> None:  # type: ignore[no-untyped-def]
        self._count(len(values))
        for value in values:
            self._write_ap(self._register(addr), value)

    def _register(self, addr: int) -> tuple[int, int]:
        return self._select >> 24, self._select & 0xF0 | addr & 0xC

    def _read_ap(self, register: tuple[int, int]) -> int:
        if register[0] != 0:
            return 0
        if register[1] == 0x0C:
            size = 1 << (self._csw & 7)
            lane = 8 * (self._tar & 3)
            value = int.from_bytes(self.chip.read(self._tar, size), "little") << lane
            self._advance(size)
            return value
        return {0x00: self._csw, 0x04: self._tar, 0xF8: _ROM_TABLE | 3, 0xFC: 0x24770011}.get(
            register[1], 0
        )

    def _write_ap(self, register: tuple[int, int], value: int) -> None:
        if register == (0, 0x00):
            self._csw = value | 0x40  # Device enabled: read-only.
        elif register == (0, 0x04):
            self._tar = value
        elif register == (0, 0x0C):
            size = 1 << (self._csw & 7)
            data = (value >> 8 * (self._tar & 3)) & (1 << 8 * size) - 1
            self.chip.write(self._tar, data.to_bytes(size, "little"))
            self._advance(size)

    def _advance(self, size: int) -> None:
        if self._csw >> 4 & 3:
            # The increment wraps within 4 KB (Cortex-M4 TRM, AHB-AP transfer address register).
            self._tar = self._tar & ~0xFFF | self._tar + size & 0xFFF

    def _count(self, words: int) -> None:
        self.transfers += words
        if self.fail_after is not None and self.transfers > self.fail_after:
            raise self.failure

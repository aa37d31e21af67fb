"""What a processor's fault registers say, in words.

CFSR and HFSR as in the Armv7-M Architecture Reference Manual, B3.2.15 and B3.2.16; STKOF is of
Armv8-M.
"""

from __future__ import annotations

from variant_parallelism.wire import Fault

_CFSR = {
    0: ("IACCVIOL", "instruction fetch where nothing may be executed"),
    1: ("DACCVIOL", "data access to protected memory"),
    3: ("MUNSTKERR", "protected memory at the return from an exception"),
    4: ("MSTKERR", "protected memory at the entry of an exception"),
    5: ("MLSPERR", "protected memory while FPU registers were saved"),
    8: ("IBUSERR", "bus error at an instruction fetch"),
    9: ("PRECISERR", "bus error at a data access"),
    10: ("IMPRECISERR", "bus error at an earlier store"),
    11: ("UNSTKERR", "bus error at the return from an exception"),
    12: ("STKERR", "bus error at the entry of an exception"),
    13: ("LSPERR", "bus error while FPU registers were saved"),
    16: ("UNDEFINSTR", "undefined instruction"),
    17: ("INVSTATE", "branch to an address without the Thumb bit"),
    18: ("INVPC", "invalid return from an exception"),
    19: ("NOCP", "coprocessor or FPU that is off or absent"),
    20: ("STKOF", "stack overflow"),
    24: ("UNALIGNED", "unaligned access"),
    25: ("DIVBYZERO", "division by zero"),
}
_ADDRESS_VALID = {7: "MMARVALID", 15: "BFARVALID"}
_HFSR = {1: "VECTTBL", 30: "FORCED", 31: "DEBUGEVT"}
_EXCEPTION = 0x1FF
_NMI = 2
_FIRST_INTERRUPT = 16
_EXC_RETURN = 0xFFFFFF00
"""From here on LR is no address but tells an exception how to return (B1.5.8)."""


def fault_bits(fault: Fault) -> list[str]:
    """The names of the bits that are set in CFSR and HFSR; unknown ones as CFSR.n or HFSR.n."""
    cfsr = {bit: name for bit, (name, _) in _CFSR.items()} | _ADDRESS_VALID
    return [cfsr.get(bit, f"CFSR.{bit}") for bit in _set_bits(fault.status)] + [
        _HFSR.get(bit, f"HFSR.{bit}") for bit in _set_bits(fault.hard_status)
    ]


def describe_fault(fault: Fault) -> str:
    """What went wrong, where, and how to find the line of source: one line."""
    causes = [_CFSR[bit][1] for bit in _set_bits(fault.status) if bit in _CFSR]
    if fault.hard_status >> 1 & 1:
        causes.append("bus error at a read of the vector table")
    places = f"0x{fault.pc:08x}"
    if fault.lr < _EXC_RETURN:
        places += f" 0x{fault.lr:08x}"
    what = " and ".join(causes) or _unexplained(fault)
    if any(fault.status >> bit & 1 for bit in _ADDRESS_VALID):
        what += f" of 0x{fault.address:08x}"
    bits = " ".join(fault_bits(fault))
    verb = "hung" if fault.psr & _EXCEPTION == _NMI else "faulted"
    return (
        f"{verb} at 0x{fault.pc:08x}: {what}{f' ({bits})' if bits else ''}; "
        f"run arm-none-eabi-addr2line -f -e IMAGE {places}"
    )


def _unexplained(fault: Fault) -> str:
    exception = fault.psr & _EXCEPTION
    if exception == _NMI:
        return "the watchdog warned (NMI)"
    if exception >= _FIRST_INTERRUPT:
        number = exception - _FIRST_INTERRUPT
        return f"interrupt {number}, which is the watchdog's warning or not expected"
    return "hard fault, the processor does not say why"


def _set_bits(register: int) -> list[int]:
    return [bit for bit in range(32) if register >> bit & 1]

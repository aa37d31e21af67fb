"""The boards that images can be built for: firmware/boards/<name>/board.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.toml_lines import load_toml

Address = Annotated[int, Field(ge=0, lt=1 << 32)]
Bytes = Annotated[int, Field(ge=1, lt=1 << 32)]


class BoardInfo(BaseModel):
    """`board.toml`. CMake reads the same file, so it is flat: a key and a value a line.

    Sizes in bytes.

    Attributes:
        parts: folders of firmware/boards/common that the board is made of, separated by spaces.
        kernels: the fastest ones for its core (docs/compiler.md).
        flash_size: of the code, without provisioning block and boot journal.
        vectors_origin, vectors_size: where the vectors stand if not at the beginning of the code.
        dma_origin, dma_size: memory of the Ethernet controller if that is no part of the RAM.
        stack_size: part of `ram_size`.
        watchdog_ms: the main loop may hang that long before the board resets itself.
        provision_address: of the provisioning block, in an erasable page of its own.
        journal_address, journal_page_size: two erasable pages that keep the boot counter.
        serial_baud: what the firmware sets its serial line to.
        programmers: what vp-flash can put an image on it with.
        pyocd_target: the chip's name in pyOCD.
        uf2_family: the chip's family in a UF2 file.
        qemu_serial: which of QEMU's `-serial` options is the node's line.
        renode_uart, renode_ethernet: peripherals in the board's `board.repl`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=16)]
    core: str
    parts: str
    cpu_flags: str
    kernels: Literal["portable", "dsp", "mve"] = "portable"
    clock_hz: Annotated[int, Field(ge=1_000_000)]
    flash_origin: Address
    flash_size: Bytes
    vectors_origin: Address | None = None
    vectors_size: Bytes | None = None
    ram_origin: Address
    ram_size: Bytes
    dma_origin: Address | None = None
    dma_size: Bytes | None = None
    stack_size: Bytes
    watchdog_ms: Annotated[int, Field(ge=100)]
    provision_address: Address
    journal_address: Address | None = None
    journal_page_size: Bytes | None = None
    serial_baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115200
    transports: Annotated[list[Literal["serial", "udp"]], Field(min_length=1)]
    programmers: list[Literal["pyocd", "uf2", "stm32-uart"]] = []
    pyocd_target: str | None = None
    uf2_family: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None
    qemu_machine: str | None = None
    qemu_nic: str | None = None
    qemu_serial: Annotated[int, Field(ge=0, le=7)] = 0
    renode_uart: str | None = None
    renode_ethernet: str | None = None


def board_names() -> list[str]:
    """The boards there are, sorted."""
    return sorted(path.parent.name for path in (firmware_dir() / "boards").glob("*/board.toml"))


def load_board(name: str) -> BoardInfo:
    """The board called `name`; VpError names the known ones if there is none."""
    known = board_names()
    if name not in known:
        raise VpError(f"no board {name!r}: the boards are {', '.join(known)}")
    board, _ = load_toml(_file(name), BoardInfo)
    return board


def _file(name: str) -> Path:
    return firmware_dir() / "boards" / name / "board.toml"

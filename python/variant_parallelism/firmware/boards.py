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

    Sizes in bytes. `flash_size` ends before the provisioning block; `stack_size` is part of
    `ram_size`. `kernels`: the fastest ones for its core (docs/compiler.md). `watchdog_ms`: the main
    loop may hang that long before the board resets itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=16)]
    core: str
    core_family: str
    cpu_flags: str
    kernels: Literal["portable", "dsp", "mve"] = "portable"
    clock_hz: Annotated[int, Field(ge=1_000_000)]
    flash_origin: Address
    flash_size: Bytes
    ram_origin: Address
    ram_size: Bytes
    stack_size: Bytes
    watchdog_ms: Annotated[int, Field(ge=100)]
    provision_address: Address
    transports: Annotated[list[Literal["serial", "udp"]], Field(min_length=1)]
    qemu_machine: str | None = None
    qemu_nic: str | None = None


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

"""What `vp demo` and `vp emulate` do before boards boot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.console import Console

    from variant_parallelism.fleet import Fleet


def example_fleet(family: str) -> Path:
    """The fleet file of a family that comes with the repository."""
    root = Path(__file__).resolve().parents[3]
    for base in (Path.cwd(), root):
        path = base / "models" / family / "fleet.toml"
        if path.is_file():
            return path
    raise VpError(
        f"no models/{family}/fleet.toml here: run this in a checkout of the repository, "
        "or name a fleet file"
    )


def build_images(fleet: Fleet, console: Console) -> dict[int, Path]:
    """The ELF file of every emulated node by node id; builds what has changed.

    VpError if the emulator is missing, before anything is built.
    """
    from variant_parallelism.emulators import EMULATORS
    from variant_parallelism.firmware import build_fleet

    EMULATORS["qemu"].check()
    return {node: image.elf for node, image in build_fleet(fleet, console=console).items()}


def work_folder(fleet: str) -> Path:
    """Where the boards of a fleet keep their state between runs of `vp emulate`."""
    from variant_parallelism.gateway.state import default_state_dir

    return default_state_dir() / "emulated" / fleet

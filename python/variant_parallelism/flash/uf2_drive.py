"""Boards that are a drive until they get a UF2 file: the RP2040 with BOOTSEL held.

The drive cannot be read back. What is known: every transfer on USB has its checksum, the board
restarts by itself when it has had every block, and then the drive disappears. Whether the right
node came up is for its HELLO to say.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import string
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from variant_parallelism.firmware import BoardInfo
from variant_parallelism.firmware.boards import board_names, load_board
from variant_parallelism.flash.backend import (
    AccessError,
    Connection,
    DisconnectedError,
    FlashError,
    Job,
    NoTargetError,
    Progress,
    Target,
    WrongBoardError,
)
from variant_parallelism.flash.uf2 import safe_file

INFO = "INFO_UF2.TXT"
FILE = "VP.UF2"
RESTART_S = 15.0
"""How long a board may take from the last block until its drive is gone."""

AGAIN = "plug the board in with BOOTSEL held and flash it again; until then the node stays silent"

_INFO_LIMIT = 4096
# One turn of the progress bar: 8 sectors, half a second of the chip's time.
_AT_ONCE = 64 * 1024
_POLL_S = 0.1
# By the chip's family: what its boot ROM calls itself.
_BOARD_IDS = {0xE48BFF56: "RPI-RP2"}
_GONE = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ENOTDIR, errno.ESHUTDOWN}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Info:
    """What a drive says of itself in INFO_UF2.TXT."""

    model: str
    board_id: str


def read_info(drive: Path) -> Info | None:
    """None if this is no UF2 drive, or not any more."""
    try:
        with (drive / INFO).open("rb") as file:
            text = file.read(_INFO_LIMIT).decode("ascii", errors="replace")
    except OSError:
        return None
    lines = (line.partition(":") for line in text.splitlines())
    fields = {key.strip().lower(): value.strip() for key, _, value in lines}
    if "board-id" not in fields:
        return None
    return Info(fields.get("model", "UF2 bootloader"), fields["board-id"])


def drive_at(folder: Path) -> Target | None:
    """The drive that a folder is; None if it is none."""
    info = read_info(folder)
    if info is None:
        return None
    description = f"{info.model} ({info.board_id})"
    return Target(Uf2Backend.name, str(folder), description, _board_of(info))


class Uf2Backend:
    """Every mounted drive with an INFO_UF2.TXT."""

    name = "uf2"

    def __init__(
        self, drives: Callable[[], Sequence[Path]] | None = None, restart_s: float = RESTART_S
    ) -> None:
        """`drives` lists the folders to look at; by default those of the operating system."""
        self._drives = drives or mounted_drives
        self._restart_s = restart_s

    def check(self) -> None:
        """Nothing is needed."""

    def find(self) -> list[Target]:
        found = (drive_at(drive) for drive in sorted(self._drives()))
        return [target for target in found if target is not None]

    @contextmanager
    def open(self, target: Target, board: BoardInfo) -> Iterator[Uf2Connection]:
        drive = Path(target.id)
        info = read_info(drive)
        if info is None:
            raise NoTargetError(
                f"{drive} is no UF2 drive: hold BOOTSEL while plugging the board in, and let the "
                "system mount it"
            )
        wanted = None if board.uf2_family is None else _BOARD_IDS.get(board.uf2_family)
        if wanted is None:
            raise FlashError(f"board {board.name} has no UF2 bootloader that is known here")
        if info.board_id != wanted:
            raise WrongBoardError(
                f"{drive} is {info.model} ({info.board_id}), but board {board.name} is {wanted}: "
                "nothing was written"
            )
        yield Uf2Connection(drive, self._restart_s)


class Uf2Connection(Connection):
    """A drive that takes one file and is gone."""

    def __init__(self, drive: Path, restart_s: float) -> None:
        self._drive = drive
        self._device = _device_of(drive)
        self._restart_s = restart_s

    def read(self, address: int, size: int) -> bytes | None:
        return None

    def write(self, job: Job, progress: Progress) -> None:
        """Copy the file: each part is on the board before the next one begins.

        Once the last part is handed over the board may restart before the system is done with its
        file: the end of the drive is no failure then.
        """
        file = safe_file(job)
        copied = 0
        progress("erase", 0, 1)
        try:
            self._check_room(file.size)
            with (self._drive / FILE).open("wb", buffering=0) as out:
                copied += self._copy(out, file.guard)
                progress("erase", 1, 1)
                for at in range(0, len(file.body), _AT_ONCE):
                    copied += self._copy(out, file.body[at : at + _AT_ONCE])
                    progress("program", copied - len(file.guard), len(file.body))
                progress("provision", 0, 1)
                copied += self._hand_over(out, file.last)
                os.fsync(out.fileno())
        except OSError as error:
            if copied < file.size or not self._gone():
                raise self._explained(error, copied, file.size) from None
        self._await_restart()
        progress("provision", 1, 1)

    def reset(self) -> None:
        """The board has restarted by itself."""

    def _copy(self, out: FileIO, data: bytes) -> int:
        """Bring it all to the device."""
        done = self._hand_over(out, data)
        os.fsync(out.fileno())
        return done

    def _hand_over(self, out: FileIO, data: bytes) -> int:
        """Give it all to the system, which takes it even where the drive is gone."""
        if self._gone():
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        done = 0
        while done < len(data):
            done += out.write(data[done:])
        return done

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._drive).free
        if free < size:
            raise FlashError(
                f"{self._drive} has {free:,} bytes free, the file takes {size:,}: "
                "unplug the board and plug it in again with BOOTSEL held"
            )

    def _gone(self) -> bool:
        """A mount may outlive its device, as nobody took it away."""
        if self._device is not None and not self._device.exists():
            return True
        return read_info(self._drive) is None

    def _await_restart(self) -> None:
        deadline = time.monotonic() + self._restart_s
        while not self._gone():
            if time.monotonic() > deadline:
                raise FlashError(
                    f"{self._drive} took the file, but the board did not restart within "
                    f"{self._restart_s:g} s: {AGAIN}"
                )
            time.sleep(_POLL_S)

    def _explained(self, error: OSError, copied: int, size: int) -> FlashError:
        if error.errno in _GONE or self._gone():
            return DisconnectedError(
                f"{self._drive} went away after {copied:,} of {size:,} bytes: {AGAIN}"
            )
        if error.errno in _REFUSED:
            return AccessError(
                f"{self._drive} cannot be written ({error.strerror}): mount it writable for this "
                "user"
            )
        if error.errno == errno.ENOSPC:
            return FlashError(f"{self._drive} is full after {copied:,} of {size:,} bytes: {AGAIN}")
        return FlashError(f"{self._drive}: {error.strerror}: {AGAIN}")


def mounted_drives() -> list[Path]:
    """Folders where a UF2 drive may be mounted; no network drive is touched."""
    if sys.platform == "darwin":
        return [path for path in Path("/Volumes").glob("*") if path.is_dir()]
    if sys.platform == "win32":
        return [Path(f"{letter}:\\") for letter in string.ascii_uppercase]
    return [folder for _, folder, kind in _mounts() if kind in ("vfat", "msdos")]


def _mounts(table: Path = Path("/proc/mounts")) -> list[tuple[str, Path, str]]:
    """Device, folder and kind of each mount of a Linux system; none elsewhere."""
    try:
        lines = os.fsdecode(table.read_bytes()).splitlines()
    except OSError:
        return []
    fields = (line.split(" ") for line in lines)
    return [(_plain(f[0]), Path(_plain(f[1])), f[2]) for f in fields if len(f) > 2]


def _plain(field: str) -> str:
    """Blanks and the like stand as \\040 in the table of mounts."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _device_of(drive: Path) -> Path | None:
    """The device behind a drive, where the system names one."""
    for device, folder, _ in _mounts():
        if folder == drive and device.startswith("/dev/"):
            return Path(device)
    return None


def _board_of(info: Info) -> str | None:
    """The board that a drive is, where one alone has such a chip."""
    boards = (load_board(name) for name in board_names())
    names = [
        board.name
        for board in boards
        if board.uf2_family is not None and _BOARD_IDS.get(board.uf2_family) == info.board_id
    ]
    return names[0] if len(names) == 1 else None

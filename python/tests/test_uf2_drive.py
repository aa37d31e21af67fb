"""UF2 drives: folders that stand for boards; cut, full, read-only, foreign ones."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rp2040_rom import Rom, second_stage
from variant_parallelism.firmware import load_board
from variant_parallelism.flash import uf2_drive
from variant_parallelism.flash.backend import (
    AccessError,
    DisconnectedError,
    FlashError,
    Job,
    NoTargetError,
    Segment,
    Stage,
    WrongBoardError,
)
from variant_parallelism.flash.uf2 import safe_file
from variant_parallelism.flash.uf2_drive import FILE, INFO, Uf2Backend, read_info
from variant_parallelism.wire import Provision

PICO = load_board("pico")
IMAGE = (Segment(PICO.flash_origin, second_stage(b"code") + bytes(150_000)),)
JOB = Job(PICO, IMAGE, Provision(fleet=1, node=3, boot=7))
SIZE = safe_file(JOB).size
PICO_INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
OTHER_INFO = "UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n"


def quiet(stage: Stage, done: int, total: int) -> None:
    pass


def make_drive(folder: Path, info: str = PICO_INFO) -> Path:
    folder.mkdir()
    (folder / INFO).write_bytes(info.encode())
    return folder


def backend(*drives: Path, restart_s: float = 5.0) -> Uf2Backend:
    return Uf2Backend(lambda: drives, restart_s)


def write(drive: Path, progress: uf2_drive.Progress = quiet, restart_s: float = 5.0) -> None:
    found = backend(drive, restart_s=restart_s)
    (target,) = found.find()
    with found.open(target, PICO) as connection:
        connection.write(JOB, progress)
        connection.reset()


@contextmanager
def board_behind(drive: Path, rom: Rom) -> Iterator[None]:
    """Takes what is written to the drive as it comes, and is gone once it has had it all."""
    done = threading.Event()

    def watch() -> None:
        had = 0
        while not done.is_set():
            try:
                data = (drive / FILE).read_bytes()
            except OSError:
                data = b""
            rom.write(data[had : len(data) - len(data) % 512])
            had = len(data) - len(data) % 512
            if rom.restarts:
                shutil.rmtree(drive)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_board_takes_its_file_and_restarts(tmp_path: Path) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")
    rom, seen = Rom(), []
    with board_behind(drive, rom):
        write(drive, lambda stage, done, total: seen.append((stage, done, total)))
    assert rom.boots and rom.restarts == 1
    assert rom.at(PICO.flash_origin, len(IMAGE[0].data)) == IMAGE[0].data
    assert rom.at(PICO.provision_address, 128) == JOB.provision.pack()
    stages = [stage for stage, _, _ in seen]
    assert stages == sorted(stages, key=["erase", "program", "provision"].index)
    for stage in ("erase", "program", "provision"):
        steps = [(done, total) for name, done, total in seen if name == stage]
        assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert sum(stage == "program" for stage in stages) > 3


def test_drives_are_found_by_what_they_say(tmp_path: Path) -> None:
    pico = make_drive(tmp_path / "RPI RP2")
    other = make_drive(tmp_path / "RP2350", OTHER_INFO)
    nonsense = make_drive(tmp_path / "camera", "no colon here\n")
    bare = tmp_path / "photos"
    bare.mkdir()
    found = backend(pico, other, nonsense, bare, tmp_path / "missing").find()
    assert [(target.id, target.board) for target in found] == [
        (str(other), None),
        (str(pico), "pico"),
    ]
    assert found[1].description == "Raspberry Pi RP2 (RPI-RP2)"


def test_a_foreign_board_gets_nothing(tmp_path: Path) -> None:
    drive = make_drive(tmp_path / "RP2350", OTHER_INFO)
    with pytest.raises(WrongBoardError, match=r"RP2350.*nothing was written"):
        write(drive)
    assert not (drive / FILE).exists()


def test_a_drive_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    found = backend(make_drive(tmp_path / "RPI-RP2"))
    (target,) = found.find()
    shutil.rmtree(tmp_path / "RPI-RP2")
    with pytest.raises(NoTargetError, match="hold BOOTSEL"), found.open(target, PICO):
        pass


def test_a_board_without_uf2_is_named(tmp_path: Path) -> None:
    found = backend(make_drive(tmp_path / "RPI-RP2"))
    (target,) = found.find()
    with (
        pytest.raises(FlashError, match="mps2-an386 has no UF2"),
        found.open(target, load_board("mps2-an386")),
    ):
        pass


@pytest.mark.parametrize("stage", ["erase", "program", "provision"])
def test_a_pulled_cable_is_told(tmp_path: Path, stage: str) -> None:
    """At each stage before the last part is handed over; what the board then is, test_uf2 says."""
    drive = make_drive(tmp_path / "RPI-RP2")

    def pull(now: Stage, done: int, total: int) -> None:
        if now == stage and drive.exists():
            shutil.rmtree(drive)

    with pytest.raises(
        DisconnectedError, match=rf"went away after [\d,]+ of {SIZE:,} bytes"
    ) as cut:
        write(drive, pull)
    assert "flash it again" in str(cut.value) and "\n" not in str(cut.value)


def test_a_full_drive_is_told(tmp_path: Path) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")
    (drive / FILE).symlink_to("/dev/full")
    with pytest.raises(FlashError, match="is full after 0 of"):
        write(drive)


def test_too_little_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")
    usage = shutil.disk_usage(drive)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FlashError, match="has 1,000 bytes free"):
        write(drive)
    assert not (drive / FILE).exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_drive_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")
    real = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> object:
        if path.name == FILE:
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AccessError, match="mount it writable"):
        write(drive)


def test_a_device_that_fails_in_the_last_part_is_told_while_its_drive_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")
    left = [0]

    def failing(descriptor: int) -> None:
        left[0] += 1
        if os.fstat(descriptor).st_size == SIZE:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DisconnectedError):
        write(drive)
    assert left[0] > 3


def test_a_board_that_restarts_before_the_system_is_done_is_flashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(tmp_path / "RPI-RP2")

    def gone(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == SIZE:
            shutil.rmtree(drive)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", gone)
    write(drive)


def test_a_board_that_does_not_restart_is_told(tmp_path: Path) -> None:
    with pytest.raises(FlashError, match=r"did not restart within 0\.2 s"):
        write(make_drive(tmp_path / "RPI-RP2"), restart_s=0.2)


def test_a_mount_that_outlives_its_device_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an automounter the folder stays, with what the system remembers of it."""
    drive, device = make_drive(tmp_path / "RPI-RP2"), tmp_path / "sda1"
    device.touch()
    monkeypatch.setattr(uf2_drive, "_device_of", lambda folder: device)

    def pull(stage: Stage, done: int, total: int) -> None:
        if stage == "program":
            device.unlink(missing_ok=True)

    with pytest.raises(DisconnectedError):
        write(drive, pull)


def test_the_table_of_mounts_is_read_with_its_escapes(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "/dev/sda1 /media/a\\040b/RPI-RP2 vfat rw 0 0\nserver:/x /net nfs4 rw 0 0\nodd\n"
    )
    assert uf2_drive._mounts(table) == [
        ("/dev/sda1", Path("/media/a b/RPI-RP2"), "vfat"),
        ("server:/x", Path("/net"), "nfs4"),
    ]
    assert uf2_drive._mounts(tmp_path / "none") == []
    assert uf2_drive.mounted_drives() is not None


def test_an_endless_or_binary_description_does_not_matter(tmp_path: Path) -> None:
    drive = make_drive(tmp_path / "x")
    (drive / INFO).write_bytes(b"\xff\xfe" * 10 + b"\n" + PICO_INFO.encode() + b"y" * 100_000)
    info = read_info(drive)
    assert info is not None and info.board_id == "RPI-RP2"

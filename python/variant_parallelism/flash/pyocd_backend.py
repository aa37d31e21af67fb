"""Debug probes through pyOCD: CMSIS-DAP, ST-Link, J-Link."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.backend import (
    AccessError,
    BusyError,
    DisconnectedError,
    FlashError,
    Job,
    NoTargetError,
    PagedConnection,
    Progress,
    Segment,
    Stage,
    Target,
    WrongBoardError,
)
from variant_parallelism.flash.chip_id import chip_id
from variant_parallelism.flash.usb_access import PERMISSION_HINT
from variant_parallelism.usb_ports import port_of_usb_device

_OPTIONS: dict[str, Any] = {
    "hide_programming_progress": True,
    "chip_erase": "sector",
    "smart_flash": True,
    "keep_unwritten": False,
    # It would erase a read-protected chip without a question, also one that is somebody else's.
    "auto_unlock": False,
}
# Address and word. The RP2040's watchdog outlives a reset of the core and counts while pyOCD's
# algorithms run: CTRL, bit ENABLE, by the alias that clears. pyOCD's algorithm feeds the nRF52's.
_WATCHDOG_STOPS = {"rp2040": (0x4005B000, 1 << 30)}
# UICR.APPROTECT, HwDisabled: nRF52840 product specification, chapter "Debug and trace".
_NRF52_UICR_APPROTECT = 0x10001208
_NRF52_PORT_OPEN = 0x5A
_BLANK = 0xFFFFFFFF


class PyocdBackend:
    """Finds probes by USB and programs what they are connected to."""

    name = "pyocd"

    def check(self) -> None:
        _module("core.session")

    def find(self) -> list[Target]:
        return sorted(
            (
                Target(
                    self.name,
                    probe.unique_id,
                    _described(probe),
                    board=None,
                    port=port_of_usb_device(probe.unique_id),
                )
                for probe in _probes()
            ),
            key=lambda target: target.id,
        )

    @contextmanager
    def open(self, target: Target, board: BoardInfo) -> Iterator[PyocdConnection]:
        probe = next((probe for probe in _probes() if probe.unique_id == target.id), None)
        if probe is None:
            raise NoTargetError(f"probe {target.id} is not connected any more")
        if board.pyocd_target is None:
            raise FlashError(f"board {board.name} is not programmed with a debug probe")
        session = _opened(probe, board)
        try:
            connection = PyocdConnection(session, target.id)
            connection.check_chip(board)
            yield connection
        finally:
            with suppress(Exception):  # What went wrong before is told; this may be its echo.
                session.close()


class PyocdConnection(PagedConnection):
    """An open pyOCD session.

    When it is closed the core runs, without the debugger's traps. Only after a write that did not
    end does it stay halted: it must not run on what is there then.
    """

    def __init__(self, session: Any, probe: str) -> None:
        self._session = session
        self._probe = probe

    def check_chip(self, board: BoardInfo) -> None:
        """WrongBoardError if the chip does not have the id that the board's has."""
        expected = chip_id(str(board.pyocd_target))
        if expected is None:
            return
        fault = _module("core.exceptions").TransferFaultError
        with _translated(self._probe, "reading the chip's id"):
            try:
                found = expected.found(self._session.target.read32)
            except fault:
                found = "another chip"
        if found is not None:
            raise WrongBoardError(
                f"probe {self._probe} is connected to {found}, "
                f"but board {board.name} has {expected.name}: nothing was written"
            )

    def write(self, job: Job, progress: Progress) -> None:
        self._session.options.set("resume_on_disconnect", False)
        with _translated(self._probe, "halting the core"):
            # By a reset: the old firmware's watchdog would bite during an erase.
            self._session.target.reset_and_halt()
        self.stop_watchdog(job.board)
        self.keep_debug_port_open()
        super().write(job, progress)

    def stop_watchdog(self, board: BoardInfo) -> None:
        """Where the reset leaves the old firmware's running."""
        stop = _WATCHDOG_STOPS.get(str(board.pyocd_target))
        if stop is not None:
            with _translated(self._probe, "stopping the watchdog"):
                self._session.target.write32(*stop)

    def keep_debug_port_open(self) -> None:
        """nRF52 chips of the later revisions lock it at power-on unless UICR says otherwise.

        Only where UICR is blank; on earlier revisions that word would lock it.
        """
        target = self._session.target
        if getattr(target, "hardened_approtect", False):
            with _translated(self._probe, "keeping the debug port open"):
                if target.read32(_NRF52_UICR_APPROTECT) == _BLANK:
                    target.write_uicr(_NRF52_UICR_APPROTECT, _NRF52_PORT_OPEN)

    def read(self, address: int, size: int) -> bytes:
        with _translated(self._probe, f"reading at {address:#010x}"):
            return bytes(self._session.target.read_memory_block8(address, size))

    def erase(self, address: int, size: int) -> None:
        eraser = _module("flash.eraser").FlashEraser
        start = self._sector(address)
        with _translated(self._probe, f"erasing at {start:#010x}"):
            eraser(self._session, eraser.Mode.SECTOR).erase([(start, address + size)])

    def program(self, segments: Sequence[Segment], progress: Progress) -> None:
        total = sum(len(segment.data) for segment in segments)
        report = _Report(progress, total)
        event = _module("core.target").Target.Event.PRE_FLASH_PROGRAM
        self._session.subscribe(report.programming, event)
        with _translated(self._probe, "programming"):
            loader = _module("flash.loader").MemoryLoader(self._session, progress=report)
            for segment in segments:
                loader.add_data(segment.address, list(segment.data))
            loader.commit()

    def reset(self) -> None:
        with _translated(self._probe, "starting the firmware"):
            self._session.target.reset()
        self._session.options.set("resume_on_disconnect", True)

    def _sector(self, address: int) -> int:
        region = self._session.target.memory_map.get_region_for_address(address)
        if region is None or not region.is_flash:
            raise FlashError(f"pyOCD knows no flash at {address:#010x} of this chip")
        info = region.flash.get_sector_info(address)
        return int(info.base_addr)


class _Report:
    """Turns pyOCD's fractions into stages: it goes from 0 to 1 for erasing, then again."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._stage: Stage = "erase"

    def programming(self, notification: object) -> None:
        """pyOCD says so for each region. Versions that do not erase first say it at once."""
        self._stage = "program"

    def __call__(self, fraction: float) -> None:
        self._progress(self._stage, round(min(fraction, 1.0) * self._total), self._total)


def _opened(probe: Any, board: BoardInfo) -> Any:
    """A session with the chip; under reset if what runs on it keeps the debugger out."""
    try:
        return _connected(_session(probe, board))
    except FlashError as first:
        try:
            return _connected(_session(probe, board, connect_mode="under-reset"))
        except FlashError:
            raise _maybe_locked(first, probe, board) from None


def _maybe_locked(error: FlashError, probe: Any, board: BoardInfo) -> FlashError:
    target = str(board.pyocd_target)
    if not target.startswith("nrf52"):
        return error
    unlock = f"pyocd erase --mass -t {target} -u {probe.unique_id}"
    return type(error)(f"{error} If it is read-protected, `{unlock}` erases and unlocks it.")


def _connected(session: Any) -> Any:
    try:
        with _translated(session.probe.unique_id, "connecting"):
            session.open()
    except BaseException:
        with suppress(Exception):
            session.close()
        raise
    return session


def _session(probe: Any, board: BoardInfo, **more: str) -> Any:
    """A session that is not open yet; pyOCD must know the chip."""
    exceptions = _module("core.exceptions")
    options = {
        **_OPTIONS,
        "target_override": board.pyocd_target,
        "project_dir": os.getcwd(),
        **more,
    }
    try:
        with _quiet():
            return _module("core.session").Session(probe, options=options)
    except exceptions.TargetSupportError:
        raise FlashError(
            f"pyOCD does not know {board.pyocd_target} yet: run "
            f"`pyocd pack install {board.pyocd_target}` once"
        ) from None
    except exceptions.Error as error:
        raise FlashError(f"probe {probe.unique_id}: {_line(error)}") from None


def _probes() -> list[Any]:
    aggregator = _module("probe.aggregator").DebugProbeAggregator
    exceptions = _module("core.exceptions")
    try:
        with _quiet():
            return list(aggregator.get_all_connected_probes())
    except exceptions.Error as error:
        raise FlashError(f"cannot look for debug probes: {_line(error)}") from None


@contextmanager
def _translated(probe: str, doing: str) -> Iterator[None]:
    """pyOCD's exceptions as ours."""
    exceptions = _module("core.exceptions")
    try:
        with _quiet():
            yield
    except VpError:
        raise
    except exceptions.TransferFaultError as error:
        raise FlashError(f"probe {probe}: {doing}: {_line(error)}") from None
    except (exceptions.ProbeError, exceptions.TransferError, exceptions.TimeoutError) as error:
        raise _lost(probe, doing, error) from None
    except (exceptions.Error, ValueError) as error:
        raise FlashError(f"probe {probe}: {doing}: {_line(error)}") from None
    except Exception as error:
        # libusb, hidapi and pylink errors come through from below pyOCD as they are.
        raise _lost(probe, doing, error) from None


def _lost(probe: str, doing: str, error: Exception) -> FlashError:
    text = _line(error)
    lower = text.lower()
    if any(word in lower for word in ("access denied", "permission", "insufficient")):
        return AccessError(f"probe {probe}: {PERMISSION_HINT}")
    if "busy" in lower or "in use" in lower or "claim" in lower:
        return BusyError(f"probe {probe}: another program uses it; close it")
    if doing == "connecting":
        return FlashError(
            f"probe {probe}: no chip answers ({text}): is the board powered and connected?"
        )
    return DisconnectedError(
        f"probe {probe}: lost while {doing} ({text}): check the cable and run this again"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _described(probe: Any) -> str:
    info = None
    with suppress(Exception):  # A probe that another program holds does not tell its board.
        info = probe.associated_board_info
    return str(probe.description if info is None else f"{info.name} ({probe.description})")


@contextmanager
def _quiet() -> Iterator[None]:
    """pyOCD's log says what its exceptions say; only debugging wants both."""
    logger = logging.getLogger("pyocd")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    yield


def _module(name: str) -> Any:
    """A module of pyOCD, which the base installation does not have."""
    try:
        return importlib.import_module(f"pyocd.{name}")
    except ImportError:
        raise VpError(
            "pyOCD is not installed, which debug probes need: "
            "pip install 'variant-parallelism[flash]'"
        ) from None

"""Boards that run in Renode: the nodes of a fleet are machines of one Renode process."""

from __future__ import annotations

import contextlib
import threading
from itertools import count
from pathlib import Path
from weakref import WeakValueDictionary

from variant_parallelism._paths import firmware_dir
from variant_parallelism.emulators.board import (
    Board,
    BoardConfig,
    ConfiguredBoard,
    PortTakenError,
    Transport,
)
from variant_parallelism.emulators.network.attachment import DatagramPort
from variant_parallelism.emulators.renode_monitor import (
    RenodeError,
    RenodeMonitor,
    RenodePool,
    check_version,
    find_renode,
    quoted_path,
)
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.image import load_segments

PLATFORM = "board.repl"
_CLOCK = Path(__file__).with_name("renode_clock.repl")
# Stack, entry, and a branch to itself.
_CLOCK_PROGRAM = {0: 0x1000, 4: 0x9, 8: 0xE7FEE7FE}
_LINE_SOURCE = Path(__file__).with_name("renode_line.cs")
_CABLE_SOURCE = Path(__file__).with_name("renode_ethernet.cs")
# Bytes of a host reach a board, and the boards wait for each other, once per quantum.
QUANTUM_S = "0.002"
# Renode's log: errors and above.
_LOG_LEVEL = 3
_PORT_ERRORS = ("Address already in use", "AddressAlreadyInUse", "Only one usage of each socket")


class RenodeEmulator:
    """Runs every board whose board.toml names a UART or Ethernet MAC in its board.repl."""

    name = "renode"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._emulations: WeakValueDictionary[Path, Emulation] = WeakValueDictionary()
        self._pool = RenodePool()

    def check(self) -> None:
        check_version(find_renode())

    def supports(self, board: BoardInfo, transport: Transport) -> bool:
        return (board.renode_uart if transport == "serial" else board.renode_ethernet) is not None

    def close(self) -> None:
        """End the Renode that waits for the next fleet."""
        self._pool.close()

    def create(self, config: BoardConfig) -> Board:
        attachment = config.attachment
        if config.transport == "udp" and (
            attachment is None or not isinstance(attachment.port, DatagramPort)
        ):
            raise VpError(
                f"{config.name}: Renode has no network of its own: UDP nodes need a SwitchedNetwork"
            )
        with self._lock:
            emulation = self._emulations.get(config.workdir)
            if emulation is None:
                emulation = self._emulations[config.workdir] = Emulation(self._pool)
        return RenodeBoard(config, emulation)


class Emulation:
    """The Renode process that the boards of one work directory share.

    It runs while one of them is on. A machine is never removed, since Renode may crash when that
    happens to a running emulation: a board that is off is a halted machine without connections.
    """

    def __init__(self, pool: RenodePool) -> None:
        self._pool = pool
        self._lock = threading.RLock()
        self._monitor: RenodeMonitor | None = None
        self._machines: set[str] = set()
        self._on: set[str] = set()
        self._numbers = count(1)

    def running(self, name: str) -> bool:
        monitor = self._monitor
        return name in self._on and monitor is not None and monitor.running

    def log(self) -> str:
        return "" if self._monitor is None else self._monitor.log()

    def include(self, source: Path, name: str) -> None:
        """Compile a C# file into Renode, for a line of machine `name`."""
        monitor = self._monitor
        if monitor is not None:
            try:
                monitor.include(source)
            except RenodeError as error:
                raise VpError(f"{name}: Renode: {error}") from None

    def command(self, line: str, name: str) -> str:
        """A monitor command for machine `name`; every failure is a VpError that names it."""
        monitor = self._monitor
        if monitor is None or name not in self._on:
            raise VpError(f"{name} is not running")
        try:
            return monitor.command(line, name if name in self._machines else None)
        except RenodeError as error:
            kind = PortTakenError if any(mark in str(error) for mark in _PORT_ERRORS) else VpError
            raise kind(f"{name}: Renode: {error}") from None
        except VpError as error:
            raise VpError(f"{name} is not running: {error}") from None

    def switch_on(self, name: str, platform: Path) -> bool:
        """Count the board as running. True if its machine is new, and was made now."""
        with self._lock:
            if self._monitor is None or not self._monitor.running:
                self._end()
                self._monitor = self._pool.take()
                self._on.add(name)
                self.command(f"logLevel {_LOG_LEVEL}", name)
                self.command(f'emulation SetGlobalQuantum "{QUANTUM_S}"', name)
                self._make_clock(name)
            self._on.add(name)
            if name in self._machines:
                return False
            self.command(f'mach create "{name}"', name)
            self._machines.add(name)
            self.command(f"machine LoadPlatformDescription {quoted_path(platform)}", name)
            return True

    def _make_clock(self, name: str) -> None:
        self.command('mach create "clock"', name)
        self.command(f"machine LoadPlatformDescription {quoted_path(_CLOCK)}", name)
        for address, word in _CLOCK_PROGRAM.items():
            self.command(f"sysbus WriteDoubleWord {address:#x} {word:#x}", name)
        self.command("sysbus.cpu VectorTableOffset 0x0", name)

    def switch_off(self, name: str) -> None:
        """Count the board as off; the last one takes Renode with it."""
        with self._lock:
            self._on.discard(name)
            if not self._on:
                self._end()

    def new_name(self, name: str) -> str:
        """A name for a line of board `name` that nothing in this emulation has had yet."""
        return f"line_{next(self._numbers)}_of_{name.replace('-', '_')}"

    def _end(self) -> None:
        if self._monitor is not None:
            self._pool.give_back(self._monitor)
            self._monitor = None
        self._machines.clear()
        self._on.clear()


class RenodeBoard(ConfiguredBoard):
    """One machine. Power off is a halted processor, lines cut and, at the next start, empty RAM."""

    def __init__(self, config: BoardConfig, emulation: Emulation) -> None:
        super().__init__(config)
        self._emulation = emulation
        self._line: str | None = None

    @property
    def running(self) -> bool:
        return self._emulation.running(self.name)

    def start(self) -> None:
        if self.running:
            raise VpError(f"{self.name} is running already")
        platform = firmware_dir() / "boards" / self._config.board.name / PLATFORM
        if not platform.is_file():
            raise VpError(
                f"board {self._config.board.name} has no {PLATFORM}: Renode needs {platform}"
            )
        self._write_block()
        try:
            self._power_on(platform)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        if self.running:
            # A Renode that does not answer any more goes with the last board.
            with contextlib.suppress(VpError):
                self.monitor("sysbus.cpu IsHalted true")
                self._unplug()
        self._line = None
        self._emulation.switch_off(self.name)

    def pause(self) -> None:
        # Not `machine Pause`: virtual time would stop for the other machines, too.
        self.monitor("sysbus.cpu IsHalted true")

    def resume(self) -> None:
        self.monitor("sysbus.cpu IsHalted false")

    def reset(self) -> None:
        self.monitor("machine Reset")

    def write_memory(self, address: int, data: bytes) -> None:
        path = self._config.workdir / f"{self.name}.write.bin"
        path.write_bytes(data)
        try:
            self.monitor(f"sysbus LoadBinary {quoted_path(path)} {address:#x}")
        finally:
            path.unlink()

    def _power_on(self, platform: Path) -> None:
        config = self._config
        is_new = self._emulation.switch_on(self.name, platform)
        self._plug_in()
        vectors = config.board.flash_origin
        if config.board.vectors_origin is not None:
            vectors = config.board.vectors_origin
        # Not LoadELF: it would clear what start-up leaves alone, and thus the reset record.
        parts = [*self._image_parts(), (self._block, config.board.provision_address)]
        load = "; ".join(
            [f"sysbus LoadBinary {quoted_path(path)} {address:#x}" for path, address in parts]
            + [f"sysbus.cpu VectorTableOffset {vectors:#x}"]
        )
        if is_new:
            # Renode runs the macro of this name at each reset, whoever asks for that.
            self.monitor(f'macro reset "{load}"')
            self.monitor("runMacro $reset")
            # Starts the emulation with the first machine, later ones in it.
            self.monitor("start")
            return
        # Without power, RAM forgets.
        ram = f"<{config.board.ram_origin:#x} {config.board.ram_size:#x}>"
        self.monitor(f"sysbus ZeroRange {ram}")
        self.monitor("machine Reset")
        self.monitor("sysbus.cpu IsHalted false")

    def _image_parts(self) -> list[tuple[Path, int]]:
        """Files with what the image has for the flash, and where each belongs."""
        parts = []
        for number, segment in enumerate(load_segments(self._config.image)):
            path = self._config.workdir / f"{self.name}.image-{number}.bin"
            path.write_bytes(segment.data)
            parts.append((path, segment.address))
        return parts

    def _plug_in(self) -> None:
        config = self._config
        line = self._emulation.new_name(self.name)
        if config.attachment is None:
            self._emulation.include(_LINE_SOURCE, self.name)
            create = f'CreateSocketLine "{line}" {config.port}'
        else:
            self._emulation.include(_CABLE_SOURCE, self.name)
            port = config.attachment.port
            assert isinstance(port, DatagramPort)
            create = f'CreateDatagramCable "{line}" {port.board[1]} {port.switch[1]}'
        self.monitor(f"emulation {create}")
        self._line = line
        self.monitor(f"connector Connect {self._peripheral} {line}")

    def _unplug(self) -> None:
        if self._line is not None:
            self.monitor(f"connector Disconnect {self._peripheral} {self._line}")
            self.monitor(f"{self._line} Dispose")

    @property
    def _peripheral(self) -> str | None:
        board = self._config.board
        is_serial = self._config.transport == "serial"
        return board.renode_uart if is_serial else board.renode_ethernet

    def monitor(self, line: str) -> str:
        """A command of Renode's monitor with this machine selected; VpError if it is refused."""
        return self._emulation.command(line, self.name)

    def log(self) -> str:
        """What Renode has logged, for all boards."""
        return self._emulation.log()

"""Serial ports by USB serial number: what a name leads to, and boards that are plugged in anew."""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from serial.tools import list_ports

from fake_usb import usb_port
from fleet_factory import make_fleet, make_image, write_fleet_file
from loopback_nodes import nodes_of, run, tcp_url
from variant_parallelism import usb_ports
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.flash.backend import NoTargetError, Target
from variant_parallelism.flash.stm32_uart import Stm32UartBackend
from variant_parallelism.fleet import NodeTable, load_fleet
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.serial_link import open_port
from variant_parallelism.usb_ports import (
    NoSuchPortError,
    UsbName,
    device_of,
    same_port,
    serial_ports,
)


@pytest.fixture
def usb(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What is plugged in."""
    found: list[SimpleNamespace] = []
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    return found


def names() -> dict[str, str]:
    return {port.device: port.name for port in serial_ports()}


def test_a_serial_number_leads_to_its_port_whatever_the_order(usb: list[SimpleNamespace]) -> None:
    usb += [usb_port("/dev/ttyACM0", "066A"), usb_port("/dev/ttyACM1", "066B")]
    assert device_of("usb:066B") == device_of("USB:66b") == "/dev/ttyACM1"
    usb[:] = [usb_port("/dev/ttyACM0", "066B"), usb_port("/dev/ttyACM3", "066A")]
    assert (device_of("usb:066A"), device_of("usb:066B")) == ("/dev/ttyACM3", "/dev/ttyACM0")
    assert device_of("/dev/ttyS7") == "/dev/ttyS7"


def test_ports_of_one_device_are_counted_by_interface(usb: list[SimpleNamespace]) -> None:
    usb += [
        usb_port("/dev/ttyACM0", "683", location="1-2:1.10"),
        usb_port("/dev/ttyACM1", "683", location="1-2:1.2"),
        usb_port("/dev/ttyACM2", "684", location="1-3:1.0"),
    ]
    assert (device_of("usb:683:1"), device_of("usb:683:2")) == ("/dev/ttyACM1", "/dev/ttyACM0")
    assert device_of("usb:684") == device_of("usb:684:1") == "/dev/ttyACM2"
    with pytest.raises(NoSuchPortError, match=r"2 ports .* usb:683:2 \(/dev/ttyACM0\), usb:683:1"):
        device_of("usb:683")
    assert names()["/dev/ttyACM0"] == "usb:683:2"


def test_two_makers_may_use_one_serial_number(usb: list[SimpleNamespace]) -> None:
    usb += [
        usb_port("/dev/ttyUSB0", "0001", vid=0x10C4, pid=0xEA60),
        usb_port("/dev/ttyUSB1", "0001", vid=0x1A86, pid=0x55D4),
    ]
    with pytest.raises(NoSuchPortError, match=r"take one of usb:10c4:ea60:0001 .*, usb:1a86:55"):
        device_of("usb:0001")
    assert device_of("usb:1A86:55d4:0001") == "/dev/ttyUSB1"


def test_twins_are_told_apart_by_their_socket_alone(
    usb: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    usb += [usb_port("/dev/ttyUSB0", "0001"), usb_port("/dev/ttyUSB1", "0001")]
    monkeypatch.setattr(usb_ports, "_links", lambda: {"/dev/ttyUSB0": "/dev/serial/by-path/pci-1"})
    with pytest.raises(NoSuchPortError, match=r"take one of /dev/serial/by-path/pci-1 .*, /dev/t"):
        device_of("usb:0001")
    usb.pop()
    assert device_of("usb:0001") == "/dev/ttyUSB0"


def test_what_is_there_is_named_where_a_board_is_not(usb: list[SimpleNamespace]) -> None:
    with pytest.raises(ValueError, match=r"^not plugged in; no port is$"):
        open_port("usb:066A", 115200)
    usb += [usb_port("/dev/ttyACM0", "066B"), usb_port("/dev/ttyS0", None, vid=None)]
    with pytest.raises(ValueError, match=r"^not plugged in; there is usb:066B \(/dev/ttyACM0\)$"):
        open_port("usb:066A", 115200)


def test_a_device_that_vanishes_while_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished() -> list[SimpleNamespace]:
        raise TypeError("int() argument must be a string, not 'NoneType'")

    monkeypatch.setattr(list_ports, "comports", vanished)
    with pytest.raises(NoSuchPortError):
        device_of("usb:066A")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("usb:066A", ("066A", None, None)),
        ("usb:066A:2", ("066A", None, 2)),
        ("usb:0483:374b:066A", ("066A", (0x0483, 0x374B), None)),
        ("usb:0483:374b:066A:1", ("066A", (0x0483, 0x374B), 1)),
        ("usb:7C:DF:A1:E0:00:01", ("7C:DF:A1:E0:00:01", None, None)),
        ("usb:303A:1001:7C:DF:A1:E0:00:01", ("7C:DF:A1:E0:00:01", (0x303A, 0x1001), None)),
    ],
)
def test_the_parts_of_a_name(name: str, parts: tuple[object, ...]) -> None:
    assert UsbName.parse(name) == UsbName(*parts)  # type: ignore[arg-type]


SERIALS = st.sampled_from(["A1", "a1", "00A1", "B2", "7C:DF:A1:E0:00:01", "x:3", "", None])
PORTS = st.lists(
    st.tuples(SERIALS, st.sampled_from([0x0483, 0x10C4]), st.sampled_from(["1-1", "1-2", "1-10"])),
    max_size=6,
)


@given(PORTS)
def test_every_listed_name_leads_to_its_port(ports: list[tuple[str | None, int, str]]) -> None:
    listed = [
        usb_port(f"/dev/ttyACM{index}", number, vid, location=f"{place}:1.{2 * index}")
        for index, (number, vid, place) in enumerate(ports)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_ports, "comports", lambda: listed)
        for port in serial_ports():
            assert device_of(port.name) == port.device


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("usb:066A", "usb:66a", True),
        ("usb:066A", "usb:066A:2", True),
        ("usb:066A:1", "usb:066A:2", False),
        ("usb:066A", "usb:0483:374b:066A", True),
        ("usb:10c4:ea60:1", "usb:1a86:55d4:1", False),
        ("usb:066A", "usb:066B", False),
    ],
)
def test_two_nodes_on_one_usb_port(tmp_path: Path, first: str, second: str, both: bool) -> None:
    nodes: list[dict[str, object]] = [
        {"id": index, "variant": f"v{index}", "board": "mps2-an386", "serial": name}
        for index, name in enumerate([first, second])
    ]
    path = write_fleet_file(tmp_path, nodes)
    if not both:
        assert len(load_fleet(path).nodes) == 2
        return
    with pytest.raises(VpError, match=r"nodes.serial: node 1 and node 0 are both on usb:"):
        load_fleet(path)


@pytest.mark.parametrize("name", ["usb:", "usb::", "usb: "])
def test_a_name_without_a_serial_number(tmp_path: Path, name: str) -> None:
    node = {"id": 1, "variant": "v1", "board": "mps2-an386", "serial": name}
    with pytest.raises(VpError, match=r"nodes.serial: .* is not usb: and a USB serial number"):
        load_fleet(write_fleet_file(tmp_path, [node]))


def test_a_board_that_comes_back_under_another_name_is_found(
    usb: list[SimpleNamespace], tmp_path: Path
) -> None:
    async def test() -> None:
        open_ports = [pty.openpty() for _ in range(3)]
        devices = [os.ttyname(slave) for _, slave in open_ports]
        # Of the three ports here, the fleet names one: the others are nobody's to open.
        usb.extend(usb_port(name, number) for name, number in zip(devices, "XAY", strict=True))
        table = NodeTable(id=0, variant="v0", board="mps2-an386", serial="usb:A")
        fleet = make_fleet([table], deadline_ms=20_000)
        masters = [master for master, _ in open_ports]
        there = nodes_of(fleet, {0: masters[1]})
        async with there as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(1, 20) == 1
            nodes.unplug(0)
            usb.pop(1)
            os.close(masters[1])
            os.close(open_ports[1][1])
            while gateway.nodes()[0].state != "dead":
                await asyncio.sleep(0.01)
            while "not plugged in" not in gateway.nodes()[0].reason:
                await asyncio.sleep(0.01)
            assert "there is usb:X" in gateway.nodes()[0].reason
            again = pty.openpty()
            usb.insert(0, usb_port(os.ttyname(again[1]), "A"))
            nodes.start_pty(0, again[0], boot=2)
            assert await gateway.wait_for_nodes(1, 20) == 1
            assert (await gateway.classify(make_image(fleet))).missing == ()
        for master, slave in (open_ports[0], open_ports[2], again):
            os.set_blocking(master, False)
            if master != again[0]:
                with pytest.raises(BlockingIOError):
                    os.read(master, 1)
            os.close(master)
            os.close(slave)

    run(test)


def test_a_device_that_goes_away_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyserial lets the terminal's own error through then, which is no OSError."""
    opened = serial.serial_for_url
    failures = [termios.error(errno.EIO, "Input/output error"), OSError(errno.ENXIO, "gone")]

    def open_late(url: str, **options: object) -> object:
        if failures and "://" not in url:
            raise failures.pop(0)
        return opened(url, **options)

    async def test() -> None:
        master, slave = pty.openpty()
        table = NodeTable(id=0, variant="v0", board="mps2-an386", serial=os.ttyname(slave))
        other = NodeTable(id=1, variant="v1", board="mps2-an386", serial=tcp_url())
        fleet = make_fleet([table, other])
        monkeypatch.setattr(serial, "serial_for_url", open_late)
        async with nodes_of(fleet, {0: master}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(2, 20) == 2
        assert failures == []
        os.close(master)
        os.close(slave)

    run(test)


def test_a_bootloader_behind_a_usb_name(usb: list[SimpleNamespace]) -> None:
    backend, board = Stm32UartBackend(), load_board("nucleo-f446re")
    target = Target(backend.name, "usb:A5001", "system bootloader")
    with pytest.raises(NoTargetError, match=r"^usb:A5001: not plugged in; no port is$"):
        backend.open(target, board).__enter__()
    usb.append(usb_port("/dev/none", "A5001"))
    with pytest.raises(NoTargetError, match=r"there is no serial port usb:A5001"):
        backend.open(target, board).__enter__()


def test_two_names_of_one_port(usb: list[SimpleNamespace], tmp_path: Path) -> None:
    device, link = tmp_path / "ttyACM0", tmp_path / "by-id"
    device.touch()
    link.symlink_to(device)
    usb.append(usb_port(str(device), "A5001"))
    assert same_port("usb:A5001", str(link))
    assert not same_port("usb:A5001", "/dev/ttyACM1")
    assert not same_port("usb:B", str(link))

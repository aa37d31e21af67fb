"""What vp-flash writes into a node, the counters that it gives out, and whom it hears then."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from elf_file import write_elf
from fleet_factory import KEY, make_fleet
from free_ports import free_ports
from variant_parallelism import wire
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo, load_board
from variant_parallelism.flash import record
from variant_parallelism.flash.backend import (
    BusyError,
    Connection,
    FlashError,
    Job,
    Progress,
    Target,
    TooLargeError,
)
from variant_parallelism.flash.chip_id import chip_id
from variant_parallelism.flash.flasher import Flasher, Work, check_link
from variant_parallelism.flash.hello import HelloPost, await_hello
from variant_parallelism.flash.identity import identity, mac_of
from variant_parallelism.flash.image import read_image
from variant_parallelism.flash.record import BootRecord
from variant_parallelism.fleet import Fleet, GatewayTable, NetworkTable, NodeTable
from variant_parallelism.gateway.state import StateFile
from variant_parallelism.keys import node_key

BOARD = load_board("nucleo-f446re")


def node(number: int = 3, **fields: object) -> NodeTable:
    fields.setdefault("board", BOARD.name)
    if not {"serial", "udp", "emulated"} & set(fields):
        fields["serial"] = "/dev/ttyACM0"
    return NodeTable.model_validate({"id": number, "variant": "v0", **fields})


NETWORK = NetworkTable(gateway="192.168.1.10", multicast="239.77.80.1:47801")


def udp_fleet(udp: str = "192.168.1.23:5000", network: NetworkTable | None = NETWORK) -> Fleet:
    return make_fleet([node(udp=udp)], **({"network": network} if network else {}))


def test_a_udp_node_gets_its_addresses_and_keys() -> None:
    fleet = udp_fleet()
    block = wire.Provision.unpack(identity(fleet, fleet.nodes[0], 9).pack())
    assert (block.fleet, block.node, block.boot, block.hello_ms) == (7, 3, 9, 1000)
    assert block.node_key == node_key(KEY, 7, 3)
    assert (block.address, block.port) == (IPv4Address("192.168.1.23"), 5000)
    assert (block.gateway, block.gateway_port) == (IPv4Address("192.168.1.10"), 47800)
    assert (block.netmask, block.router) == (IPv4Address("255.255.255.0"), IPv4Address(0))
    assert (block.group, block.group_port) == (IPv4Address("239.77.80.1"), 47801)
    assert block.mac == bytes([0x02, 0x56, 0x50, 7, 0, 3])
    assert mac_of(fleet, node(mac="02:00:00:00:00:07"))[-1] == 7


def test_a_serial_node_has_no_address() -> None:
    fleet = make_fleet([node()], key=None)
    block = identity(fleet, fleet.nodes[0], 1)
    assert (block.address, block.node_key, block.mac) == (IPv4Address(0), None, bytes(6))


@pytest.mark.parametrize(
    ("udp", "network", "says"),
    [
        ("192.168.1.23:5000", None, r"add \[network\] with gateway = "),
        ("board3.lan:5000", NETWORK, "must begin with an IPv4 address"),
        ("10.0.0.23:5000", NETWORK, "are not on one subnet .* add router"),
        (
            "10.0.0.23:5000",
            NETWORK.model_copy(update={"router": "10.1.0.1"}),
            "router 10.1.0.1 is not on its subnet",
        ),
    ],
)
def test_what_the_fleet_file_lacks_for_a_udp_node(
    udp: str, network: NetworkTable | None, says: str
) -> None:
    fleet = udp_fleet(udp, network)
    with pytest.raises(VpError, match=says):
        identity(fleet, fleet.nodes[0], 1)


def test_a_link_that_the_board_does_not_have() -> None:
    with pytest.raises(VpError, match="board nucleo-f446re has no Ethernet: give it serial"):
        check_link(node(udp="192.168.1.23:5000"), BOARD)
    with pytest.raises(VpError, match="baud = 9600, but the firmware of nucleo-f446re speaks"):
        check_link(node(baud=9600), BOARD)
    check_link(node(), BOARD)


# Boot counters.


def test_boot_counters_rise_above_everything_that_was_used(tmp_path: Path) -> None:
    fleet = make_fleet([node()])
    assert BootRecord(fleet, tmp_path).next(3, used=0) == 1
    assert BootRecord(fleet, tmp_path).next(3, used=0) == 2
    assert BootRecord(fleet, tmp_path).next(3, used=40) == 41
    state = StateFile.load(tmp_path, fleet.table.name, fleet.key)
    state.highest[3] = 99 << wire.SEQUENCE_BITS | 5
    state.save()
    assert BootRecord(fleet, tmp_path).next(3, used=0) == 100
    assert BootRecord(fleet, tmp_path).next(4, used=0) == 1
    rekeyed = replace(fleet, key=bytes(32))
    assert BootRecord(rekeyed, tmp_path).next(3, used=0) == 1
    assert BootRecord(fleet, tmp_path).next(3, used=0) == 101
    assert BootRecord(rekeyed, tmp_path).next(3, used=0) == 2


def test_boot_counters_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    fleet = make_fleet([node()])
    counters = BootRecord(fleet, tmp_path)
    path = tmp_path / "flash" / "simulated.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"key": counters._key_id(), "boots": {"3": 7}}))
    assert BootRecord(replace(fleet, key=bytes(32)), tmp_path).next(3, used=0) == 1
    assert counters.next(3, used=0) == 8


def test_boot_counters_are_given_once_to_many_threads(tmp_path: Path) -> None:
    counters = BootRecord(make_fleet([node()]), tmp_path)
    given: list[int] = []
    threads = [threading.Thread(target=lambda: given.append(counters.next(3, 0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 9))


def test_boot_counters_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = make_fleet([node()])
    with pytest.raises(VpError, match="used up its boot counters"):
        BootRecord(fleet, tmp_path).next(3, used=(1 << 24) - 1)
    (tmp_path / "flash" / "simulated.json").write_text("{]")
    with pytest.raises(VpError, match="is damaged: remove it"):
        BootRecord(fleet, tmp_path).next(3, used=0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "flash" / "simulated.json").unlink()
    monkeypatch.setattr(record.os, "replace", full)
    with pytest.raises(VpError, match="No space left on device"):
        BootRecord(fleet, tmp_path).next(3, used=0)


# Images.


def test_images_that_do_not_belong_on_the_board(tmp_path: Path) -> None:
    fleet = make_fleet([node()])
    variant = fleet.manifest.variant("v0")
    assert BOARD.vectors_origin is not None
    code = BOARD.name.encode() + b"\0" + bytes.fromhex(variant.hash)
    vectors = (BOARD.vectors_origin, bytes(64))
    path = write_elf(tmp_path / "a.elf", (BOARD.flash_origin, code), vectors)
    first, second = read_image(path, BOARD, variant)
    assert (first.address, second.data) == (BOARD.vectors_origin, code)

    whole = code + bytes(BOARD.flash_size + 1 - len(code))
    path = write_elf(tmp_path / "b.elf", vectors, (BOARD.flash_origin, whole))
    with pytest.raises(TooLargeError, match=f"needs {BOARD.flash_size + 1:,} bytes of flash"):
        read_image(path, BOARD, variant)
    path = write_elf(tmp_path / "c.elf", (BOARD.provision_address, code))
    with pytest.raises(FlashError, match="was it built for another board"):
        read_image(path, BOARD, variant)
    path = write_elf(tmp_path / "d.elf", (BOARD.flash_origin, code[len(BOARD.name) :]))
    with pytest.raises(FlashError, match="was not built for board nucleo-f446re"):
        read_image(path, BOARD, variant)
    path = write_elf(tmp_path / "e.elf", (BOARD.flash_origin, code[:-1]))
    with pytest.raises(FlashError, match="does not hold variant v0"):
        read_image(path, BOARD, variant)
    with pytest.raises(FlashError, match="not for a 32-bit Arm core"):
        read_image(write_elf(tmp_path / "f.elf", vectors, machine=62), BOARD, variant)
    (tmp_path / "g.elf").write_text("no")
    with pytest.raises(VpError, match="is not an ELF file"):
        read_image(tmp_path / "g.elf", BOARD, variant)
    with pytest.raises(VpError, match=r"cannot read image .*No such file"):
        read_image(tmp_path / "h.elf", BOARD, variant)


def test_an_image_that_is_cut_short(tmp_path: Path) -> None:
    """Name and hash may stand before the cut, and what is read back would be what was written."""
    variant = make_fleet([node()]).manifest.variant("v0")
    code = BOARD.name.encode() + b"\0" + bytes.fromhex(variant.hash) + bytes(4096)
    whole = write_elf(tmp_path / "a.elf", (BOARD.flash_origin, code)).read_bytes()
    path = tmp_path / "cut.elf"
    path.write_bytes(whole)
    assert read_image(path, BOARD, variant)[0].data == code
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(
            VpError, match=r"cut\.elf is (cut short at .*: build it|not an ELF file)"
        ):
            read_image(path, BOARD, variant)
    path.write_bytes(whole[:-1])
    with pytest.raises(FlashError, match=rf"is cut short at {len(whole) - 1:,} bytes: build it"):
        read_image(path, BOARD, variant)


def test_chips_are_told_apart() -> None:
    f446 = chip_id("stm32f446retx")
    nrf = chip_id("nrf52840")
    assert f446 is not None
    assert nrf is not None
    assert f446.found({0xE0042000: 0x10006421}.__getitem__) is None
    assert f446.found({0xE0042000: 0x10016413}.__getitem__) == "STM32F405/407"
    assert nrf.found({0x10000100: 0x52840}.__getitem__) is None
    assert nrf.found({0x10000100: 0x52833}.__getitem__) == "nRF52833"
    assert chip_id("lpc1768") is None
    f407 = chip_id("stm32f407vgtx")
    assert f407 is not None
    revision_a = {0xE0042000: 0x20006411}
    assert f407.found((revision_a | {0xE000ED00: 0x410FC241}).__getitem__) is None
    assert f407.found((revision_a | {0xE000ED00: 0x412FC230}).__getitem__) is not None


# HELLOs.


def hello(fleet: Fleet, number: int = 3, boot: int = 5, key: bytes | None = None) -> bytes:
    body = wire.Hello(
        "00" * 8, 10, 32, 32, 1, 4096, (0, 1, 0), wire.ResetCause.POWER, 0, 0, 0, BOARD.name
    )
    key = key or node_key(KEY, fleet.table.id, number)
    counter = boot << wire.SEQUENCE_BITS
    return wire.encode(body, fleet=fleet.table.id, node=number, counter=counter, key=key)


@contextmanager
def serial_board(says: bytes) -> Iterator[str]:
    """A serial line on which something is said again and again."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            host, _ = server.accept()
            with host:
                try:
                    while True:
                        host.sendall(says)
                        threading.Event().wait(0.02)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"


def hear(fleet: Fleet, boot: int = 5, timeout_s: float = 3.0) -> int:
    with HelloPost(fleet) as post:
        listener = post.listen(fleet.nodes[0])
        try:
            listener.clear()
            return await_hello(listener, boot, timeout_s).boot
        finally:
            listener.close()


def test_a_hello_on_the_serial_line() -> None:
    with serial_board(b"noise\0" + wire.frame(hello(make_fleet()))) as url:
        fleet = make_fleet([node(serial=url)])
        assert hear(fleet, boot=5) == 5


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (lambda fleet: wire.frame(hello(fleet, boot=4)), "in 1 s: check its wiring"),
        (lambda fleet: wire.frame(hello(fleet, number=4)), ": node 4 of fleet 7 is heard there"),
        (lambda fleet: wire.frame(hello(fleet, key=bytes(32))), ": its HELLO is sealed with anoth"),
        (lambda _: b"\0vp: this image does not fit its model\0", ": it says 'vp: this image does"),
    ],
)
def test_what_comes_instead_of_a_hello(message: Callable[[Fleet], bytes], says: str) -> None:
    with (
        serial_board(message(make_fleet())) as url,
        pytest.raises(FlashError, match=says),
    ):
        hear(make_fleet([node(serial=url)]), timeout_s=1)


class Programmed(Connection):
    """A board that takes everything at once."""

    def read(self, address: int, size: int) -> bytes | None:
        return None

    def write(self, job: Job, progress: Progress) -> None:
        progress("provision", 1, 1)

    def reset(self) -> None:
        pass


class OneBoard:
    name = "pyocd"

    @contextmanager
    def open(self, target: Target, board: BoardInfo) -> Iterator[Connection]:
        yield Programmed()


def test_waiting_for_a_hello_can_be_stopped(tmp_path: Path) -> None:
    with serial_board(b"silence") as url:
        fleet = make_fleet([node(serial=url)])
        work = Work(fleet.nodes[0], BOARD, OneBoard(), Target("pyocd", "A", ""), ())
        with HelloPost(fleet) as post:
            flasher = Flasher(fleet, post, state_dir=tmp_path, timeout_s=60)
            said: list[str] = []

            def say(text: str) -> None:
                said.append(text)
                flasher.stop()

            outcome = flasher.try_flash(work, lambda stage, done, total: None, say)
            assert outcome.error == (
                "interrupted before its HELLO: the board is programmed, verified and started"
            )
            assert said and outcome.seconds < 30
            outcome = flasher.try_flash(work, lambda stage, done, total: None, say)
            assert outcome.error == "interrupted before it was begun"


def test_hellos_by_udp_go_to_the_node_that_waits() -> None:
    listen, one, other = free_ports(socket.SOCK_DGRAM, 3)
    nodes = [node(3, udp=f"127.0.0.1:{one}"), node(4, udp=f"127.0.0.1:{other}")]
    fleet = make_fleet(nodes, gateway=GatewayTable(listen=f"127.0.0.1:{listen}"))
    with HelloPost(fleet) as post, socket.socket(type=socket.SOCK_DGRAM) as board:
        first, second = (post.listen(entry) for entry in fleet.nodes)
        board.sendto(hello(fleet, 4, boot=8), ("127.0.0.1", listen))
        board.sendto(hello(fleet, 3, boot=9), ("127.0.0.1", listen))
        assert await_hello(first, 1, 2.0).boot == 9
        assert await_hello(second, 1, 2.0).boot == 8
        with (
            HelloPost(fleet) as another,
            pytest.raises(BusyError, match="does another program use it"),
        ):
            another.listen(fleet.nodes[0])


def test_a_port_that_another_program_holds() -> None:
    master, slave = os.openpty()
    fleet = make_fleet([node(serial=os.ttyname(slave))])
    try:
        with HelloPost(fleet) as post:
            holder = post.listen(fleet.nodes[0])
            with pytest.raises(BusyError, match="another program uses this port"):
                HelloPost(fleet).listen(fleet.nodes[0])
            holder.close()
    finally:
        os.close(master)
        os.close(slave)

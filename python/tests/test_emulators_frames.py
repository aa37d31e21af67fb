"""Ethernet frames of the emulated LAN, and recordings of them."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variant_parallelism.emulators.network.frames import (
    ARP_REQUEST,
    BROADCAST,
    MAX_UDP_PAYLOAD,
    MIN_FRAME,
    Arp,
    Datagram,
    FrameError,
    multicast_mac,
    read_frame,
    write_arp,
    write_datagram,
)
from variant_parallelism.emulators.network.lan import GATEWAY, GATEWAY_MAC
from variant_parallelism.emulators.network.pcapng import Captured, Recorder, read_recording

NODE = IPv4Address("10.77.0.11")
NODE_MAC = bytes.fromhex("525400010001")
NODE_PORT = 5000


def from_node(payload: bytes, port: int) -> bytes:
    datagram = Datagram(NODE, NODE_PORT, GATEWAY, port, payload)
    return write_datagram(GATEWAY_MAC, NODE_MAC, datagram, 1)


# Laid out by hand from RFC 791 and RFC 768; tshark finds both checksums good.
DATAGRAM_FRAME = bytes.fromhex(
    "025650000001 525400010001 0800"
    "4500001f 00014000 40112628 0a4d000b 0a4d0001"
    "1388bab8 000b588f 616263"
    "000000000000000000000000000000"
)


def test_datagram_is_laid_out_as_the_rfcs_say() -> None:
    assert from_node(b"abc", 47800) == DATAGRAM_FRAME


@given(
    st.binary(max_size=MAX_UDP_PAYLOAD),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(1, 2**16 - 1),
)
def test_datagram_comes_back(payload: bytes, address: int, identification: int, port: int) -> None:
    datagram = Datagram(IPv4Address(address), port, NODE, NODE_PORT, payload)
    frame = write_datagram(NODE_MAC, GATEWAY_MAC, datagram, identification)
    assert MIN_FRAME <= len(frame) <= 1514
    assert read_frame(frame) == datagram


def test_every_flipped_bit_of_a_packet_is_noticed() -> None:
    frame = from_node(b"seven67", 47800)
    for bit in range(8 * 14, 8 * (42 + 7)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            read_frame(bytes(damaged))
    for size in range(42 + 7):
        with pytest.raises(FrameError):
            read_frame(frame[:size])


def test_arp_comes_back_and_other_frames_are_none_of_ours() -> None:
    arp = Arp(ARP_REQUEST, NODE_MAC, NODE, bytes(6), GATEWAY)
    assert read_frame(write_arp(BROADCAST, arp)) == arp
    assert read_frame(BROADCAST + NODE_MAC + b"\x86\xdd" + bytes(60)) is None
    assert multicast_mac(IPv4Address("239.205.80.1")).hex(":") == "01:00:5e:4d:50:01"
    with pytest.raises(ValueError, match="1473 bytes do not fit one frame"):
        from_node(bytes(MAX_UDP_PAYLOAD + 1), 1)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_001)
    with Recorder(tmp_path / "lan.pcapng", ticks.__next__) as recorder:
        yield recorder


def test_recording_comes_back_with_remarks_and_directions(recorder: Recorder) -> None:
    frames = [from_node(bytes(size), 1) for size in (0, 1, 30, 31)]
    for number, frame in enumerate(frames):
        recorder.record(f"port {number % 2}", number < 2, frame, f"remark {number}" * (number > 0))
    recorder.close()
    assert read_recording(recorder.path) == [
        Captured(
            f"port {number % 2}",
            number < 2,
            1_700_000_000_000_000_000 + number * 1_000_001,
            f"remark {number}" * (number > 0),
            frame,
        )
        for number, frame in enumerate(frames)
    ]
    cut = recorder.path.read_bytes()[:-1]
    recorder.path.write_bytes(cut)
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_recording(recorder.path)


def test_recording_is_laid_out_as_the_draft_says(recorder: Recorder) -> None:
    frame = b"\xff" * 14
    recorder.record("a", True, frame, "b")
    recorder.close()
    now = 1_700_000_000_000_000_000
    name, resolution = struct.pack("<HH4s", 2, 1, b"a"), struct.pack("<HH4s", 9, 1, b"\x09")
    comment, flags = struct.pack("<HH4s", 1, 1, b"b"), struct.pack("<HHI", 2, 4, 1)
    end = bytes(4)
    times = now >> 32, now & 0xFFFFFFFF
    assert recorder.path.read_bytes() == b"".join((
        struct.pack("<3I2HqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28),
        struct.pack("<2I2HI", 1, 40, 1, 0, 0), name, resolution, end, struct.pack("<I", 40),
        struct.pack("<7I", 6, 68, 0, *times, 14, 14), frame, bytes(2), comment, flags, end,
        struct.pack("<I", 68),
    ))  # fmt: skip


@pytest.mark.skipif(shutil.which("tshark") is None, reason="install Debian package tshark")
def test_wireshark_reads_the_recording(recorder: Recorder) -> None:
    good = from_node(b"good", 47800)
    bad = bytearray(good)
    bad[44] ^= 1
    recorder.record("node-1", True, good)
    recorder.record("gateway", False, bytes(bad), "corrupt: bytes 44^0x01")
    recorder.close()
    fields = ("interface_name", "packet_flags_direction", "comment", "time_epoch")
    columns = [f"-eframe.{field}" for field in fields]
    columns += ["-eip.checksum.status", "-eudp.checksum.status"]
    checks = ["-oip.check_checksum:TRUE", "-oudp.check_checksum:TRUE"]
    shown = subprocess.run(
        ["tshark", "-r", recorder.path, *checks, "-Tfields", "-Eseparator=|", *columns],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown == [
        "node-1|0x00000001||1700000000.000000000|1|1",
        "gateway|0x00000002|corrupt: bytes 44^0x01|1700000000.001000001|1|0",
    ]

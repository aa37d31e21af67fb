"""Ethernet frames: ARP (RFC 826) and UDP in IPv4 (RFC 768, 791), written and read.

Only what the gateway's machine says and hears: four fixed headers. Scapy takes 1.2 ms to write a
frame, a hundred times as long, in the loop that the gateway runs in; dpkt does not notice damage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

MIN_FRAME = 60
"""Bytes of the shortest frame that Ethernet carries, without FCS; shorter ones are padded."""
MAX_UDP_PAYLOAD = 1472
"""Bytes of the longest UDP payload that fits one frame."""
BROADCAST = b"\xff" * 6

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_PSEUDO = struct.Struct("!4s4sBBH")
_TYPE_IPV4 = 0x0800
_TYPE_ARP = 0x0806
_ARP_ETHERNET_IPV4 = (1, _TYPE_IPV4, 6, 4)
_PROTOCOL_UDP = 17
_TTL = 64
_MORE_OR_OFFSET = 0x3FFF
_DO_NOT_FRAGMENT = 0x4000

ARP_REQUEST = 1
ARP_REPLY = 2


class FrameError(ValueError):
    """A length or a checksum in a frame is wrong."""


@dataclass(frozen=True)
class Arp:
    """`operation` is ARP_REQUEST or ARP_REPLY; who asks or answers, and whom it is about."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    target: IPv4Address


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram and where it goes from and to."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    payload: bytes


def is_group(mac: bytes) -> bool:
    """Whether a MAC is broadcast or multicast."""
    return bool(mac[0] & 1)


def multicast_mac(group: IPv4Address) -> bytes:
    """The MAC of a multicast group: its low 23 bits (RFC 1112, section 6.4)."""
    return (0x01005E000000 | int(group) & 0x7FFFFF).to_bytes(6, "big")


def read_frame(frame: bytes) -> Arp | Datagram | None:
    """What a frame carries; None if it is neither, or a fragment. FrameError if it is damaged."""
    if len(frame) < _ETHERNET.size:
        raise FrameError(f"{len(frame)} bytes are no Ethernet frame")
    (kind,) = struct.unpack_from("!H", frame, 12)
    packet = frame[_ETHERNET.size :]
    if kind == _TYPE_ARP:
        return _read_arp(packet)
    return _read_ipv4(packet) if kind == _TYPE_IPV4 else None


def write_arp(destination: bytes, arp: Arp) -> bytes:
    """The frame that carries `arp` to a MAC."""
    packet = _ARP.pack(
        *_ARP_ETHERNET_IPV4,
        arp.operation,
        arp.sender_mac,
        arp.sender.packed,
        arp.target_mac,
        arp.target.packed,
    )
    return _write_frame(destination, arp.sender_mac, _TYPE_ARP, packet)


def write_datagram(
    destination: bytes, source: bytes, datagram: Datagram, identification: int
) -> bytes:
    """The frame between two MACs that carries `datagram`; ValueError if it is too long for one."""
    size = _UDP.size + len(datagram.payload)
    if len(datagram.payload) > MAX_UDP_PAYLOAD:
        raise ValueError(f"{len(datagram.payload)} bytes do not fit one frame")
    ports = (datagram.source_port, datagram.destination_port)
    addresses = datagram.source.packed, datagram.destination.packed
    pseudo = _PSEUDO.pack(*addresses, 0, _PROTOCOL_UDP, size)
    udp = _UDP.pack(*ports, size, 0) + datagram.payload
    udp = _UDP.pack(*ports, size, _checksum(pseudo + udp)) + datagram.payload
    fields = (0x45, 0, _IPV4.size + size, identification & 0xFFFF, _DO_NOT_FRAGMENT)
    header = _IPV4.pack(*fields, _TTL, _PROTOCOL_UDP, 0, *addresses)
    header = _IPV4.pack(*fields, _TTL, _PROTOCOL_UDP, _checksum(header), *addresses)
    return _write_frame(destination, source, _TYPE_IPV4, header + udp)


def _write_frame(destination: bytes, source: bytes, kind: int, packet: bytes) -> bytes:
    return (_ETHERNET.pack(destination, source, kind) + packet).ljust(MIN_FRAME, b"\0")


def _read_arp(packet: bytes) -> Arp | None:
    if len(packet) < _ARP.size:
        raise FrameError("ARP packet cut short")
    *kind, operation, sender_mac, sender, target_mac, target = _ARP.unpack_from(packet)
    if tuple(kind) != _ARP_ETHERNET_IPV4:
        raise FrameError("ARP for something else than IPv4 on Ethernet")
    return Arp(operation, sender_mac, IPv4Address(sender), target_mac, IPv4Address(target))


def _read_ipv4(packet: bytes) -> Datagram | None:
    if len(packet) < _IPV4.size:
        raise FrameError("IPv4 header cut short")
    first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    size = 4 * (first & 15)
    if first >> 4 != 4 or not _IPV4.size <= size <= total <= len(packet):
        raise FrameError("IPv4 lengths do not fit")
    if _sum(packet[:size]) != 0:
        raise FrameError("IPv4 checksum")
    if protocol != _PROTOCOL_UDP or fragment & _MORE_OR_OFFSET:
        return None
    udp = packet[size:total]
    if len(udp) < _UDP.size:
        raise FrameError("UDP header cut short")
    source_port, destination_port, length, checksum = _UDP.unpack_from(udp)
    if not _UDP.size <= length <= len(udp):
        raise FrameError("UDP length does not fit")
    udp = udp[:length]
    if checksum != 0 and _sum(_PSEUDO.pack(source, destination, 0, protocol, length) + udp) != 0:
        raise FrameError("UDP checksum")
    return Datagram(
        IPv4Address(source),
        source_port,
        IPv4Address(destination),
        destination_port,
        udp[_UDP.size :],
    )


def _sum(data: bytes) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071) is a remainder; 0 stands for 0xFFFF."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def _checksum(data: bytes) -> int:
    """1 to 0xFFFF: never the 0 that means "none" in UDP."""
    return 0xFFFF - _sum(data)

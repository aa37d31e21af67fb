"""Nodes that were reset by a fault: told once, in one line that says what happened and where."""

from __future__ import annotations

import json

import pytest

from fleet_factory import make_fleet
from simulated_fleet import World, ready
from variant_parallelism import wire
from variant_parallelism.gateway import Faulted
from variant_parallelism.gateway.faults import describe_fault, fault_bits
from variant_parallelism.gateway.report import event_json, node_json

FAULT = wire.Fault(0x08012345, 0x08000123, 0x81000000, 1 << 16, 1 << 30, 0)
OTHER = wire.Fault(0x08012345, 0xFFFFFFF9, 0x81000000, 0x8200, 1 << 30, 0xE0001004)


def faults(world: World) -> list[Faulted]:
    return [event for event in world.events if isinstance(event, Faulted)]


def fault_messages(world: World) -> int:
    return sum(wire.peek(message).type is wire.MessageType.FAULT for _, message in world.heard)


@pytest.mark.parametrize(
    ("fault", "line", "bits"),
    [
        (
            FAULT,
            "faulted at 0x08012345: undefined instruction (UNDEFINSTR FORCED); "
            "run arm-none-eabi-addr2line -f -e IMAGE 0x08012345 0x08000123",
            ["UNDEFINSTR", "FORCED"],
        ),
        (
            OTHER,
            "faulted at 0x08012345: bus error at a data access of 0xe0001004 "
            "(PRECISERR BFARVALID FORCED); run arm-none-eabi-addr2line -f -e IMAGE 0x08012345",
            ["PRECISERR", "BFARVALID", "FORCED"],
        ),
        (
            wire.Fault(0x100, 0xFFFFFFFF, 0, 0, 0, 0),
            "faulted at 0x00000100: hard fault, the processor does not say why; "
            "run arm-none-eabi-addr2line -f -e IMAGE 0x00000100",
            [],
        ),
        (
            wire.Fault(0x100, 0x83, 0x61000002, 0, 0, 0),
            "hung at 0x00000100: the watchdog warned (NMI); "
            "run arm-none-eabi-addr2line -f -e IMAGE 0x00000100 0x00000083",
            [],
        ),
        (
            wire.Fault(0x100, 0xFFFFFFFF, 0x61000020, 0, 0, 0),
            "faulted at 0x00000100: interrupt 16, which is the watchdog's warning or not expected; "
            "run arm-none-eabi-addr2line -f -e IMAGE 0x00000100",
            [],
        ),
        (
            wire.Fault(0x100, 0xFFFFFFFF, 0, 1 << 25 | 1 << 24, 1 << 5, 0),
            "faulted at 0x00000100: unaligned access and division by zero "
            "(UNALIGNED DIVBYZERO HFSR.5); run arm-none-eabi-addr2line -f -e IMAGE 0x00000100",
            ["UNALIGNED", "DIVBYZERO", "HFSR.5"],
        ),
        (
            wire.Fault(0, 0xFFFFFFFF, 0, 1 << 31, 1 << 1, 0),
            "faulted at 0x00000000: bus error at a read of the vector table (CFSR.31 VECTTBL); "
            "run arm-none-eabi-addr2line -f -e IMAGE 0x00000000",
            ["CFSR.31", "VECTTBL"],
        ),
    ],
)
def test_registers_in_words(fault: wire.Fault, line: str, bits: list[str]) -> None:
    assert describe_fault(fault) == line
    assert fault_bits(fault) == bits


def test_a_fault_is_told_once_however_often_the_node_repeats_it() -> None:
    world = ready(World(make_fleet()))
    world.run(2)
    world.nodes[1].reboot(FAULT)
    world.run(2)
    for _ in range(3):
        world.core.nodes[1].unannounced = True
        world.core.link_up(world.now, 1)
        world.run(2)
    assert fault_messages(world) > 2
    (told,) = faults(world)
    assert told == Faulted(1, "mps2-an386", FAULT)
    assert told.text.startswith("node 1 (mps2-an386) faulted at 0x08012345: undefined instruction")


def test_each_reset_by_a_fault_is_told_and_a_clean_one_clears_the_status() -> None:
    world = ready(World(make_fleet()))
    for fault in (FAULT, FAULT, OTHER):
        world.run(2.5)
        world.nodes[1].reboot(fault)
    world.run(2.5)
    assert [event.fault for event in faults(world)] == [FAULT, FAULT, OTHER]
    assert world.core.nodes[1].status().fault == OTHER
    assert world.core.nodes[0].status().fault is None
    world.nodes[1].reboot()
    world.run(2.5)
    assert world.core.nodes[1].status().fault is None
    assert len(faults(world)) == 3


def test_a_fault_before_its_hello_is_asked_for_again() -> None:
    """On UDP the HELLO may be lost while ARP looks for the gateway: the FAULT replaces it."""
    world = ready(World(make_fleet()))
    world.run(2.5)
    lost = iter([True])
    world.tap = lambda node, message: (
        None
        if node == 1 and wire.peek(message).type is wire.MessageType.HELLO and next(lost, False)
        else message
    )
    world.nodes[1].reboot(FAULT)
    world.run(0.5)
    assert [event.fault for event in faults(world)] == [FAULT]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_fault_that_is_lost_is_asked_for(lost: int) -> None:
    world = ready(World(make_fleet()))
    world.run(2.5)
    left = [None] * lost
    world.tap = lambda node, message: (
        left.pop() if left and wire.peek(message).type is wire.MessageType.FAULT else message
    )
    world.nodes[1].reboot(FAULT)
    world.run(5)
    assert [event.fault for event in faults(world)] == [FAULT]


def test_a_node_that_forgot_its_fault_is_not_asked_for_ever() -> None:
    world = ready(World(make_fleet()))
    world.run(2.5)
    world.tap = lambda node, message: (
        None if wire.peek(message).type is wire.MessageType.FAULT else message
    )
    world.nodes[1].reboot(FAULT)
    world.run(60)
    assert 2 <= fault_messages(world) <= 5
    assert faults(world) == []


def test_a_fault_says_nothing_about_being_listened_to() -> None:
    """Only answers to an input show that a node does not take us for a replay (recovery)."""
    world = ready(World(make_fleet()))
    node = world.core.nodes[1]
    before = (node.answered_at, node.rejected_before)
    world.nodes[1].send(FAULT)
    world.run(0.1)
    assert (node.answered_at, node.rejected_before) == before


def test_a_fault_as_json() -> None:
    world = ready(World(make_fleet()))
    world.run(2.5)
    world.nodes[1].reboot(OTHER)
    world.run(1)
    (event,) = faults(world)
    shown = event_json(event, {1: "v1"})
    expected = {
        "pc": "0x08012345",
        "lr": "0xfffffff9",
        "psr": "0x81000000",
        "cfsr": "0x00008200",
        "hfsr": "0x40000000",
        "address": "0xe0001004",
        "bits": ["PRECISERR", "BFARVALID", "FORCED"],
    }
    assert shown == {
        "event": "fault", "node": 1, "variant": "v1", "fault": expected, "text": event.text,
    }  # fmt: skip
    assert node_json(world.core.nodes[1].status())["fault"] == expected
    assert json.loads(json.dumps(shown)) == shown

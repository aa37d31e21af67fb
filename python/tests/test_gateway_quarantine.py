"""Nodes that the operator leaves out, on sockets of this machine and over restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet_factory import make_image
from loopback_nodes import loopback_fleet, nodes_of, run
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import Event, Gateway, NodeChanged


def states(gateway: Gateway) -> dict[int, tuple[str, str]]:
    return {node.id: (node.state, node.reason) for node in gateway.nodes()}


def test_a_node_left_out_by_the_operator_stays_out_over_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        events: list[Event] = []
        async with nodes_of(fleet, {}):
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                await gateway.wait_for_nodes(2, 20)
                gateway.on_event(events.append)
                gateway.quarantine(1, True, "its camera\n\x1b[2J")
                assert states(gateway)[1] == (
                    "quarantined",
                    "its camera \N{REPLACEMENT CHARACTER}[2J",
                )
                assert states(gateway)[0][0] == "up"
            assert events == [
                NodeChanged(1, "quarantined", "its camera \N{REPLACEMENT CHARACTER}[2J")
            ]
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                await gateway.wait_until_settled(20)
                assert states(gateway)[1] == (
                    "quarantined",
                    "its camera \N{REPLACEMENT CHARACTER}[2J",
                )
                answer = await gateway.classify(make_image(fleet))
                assert 0 in [vote.node for vote in answer.votes]
                gateway.on_event(events.append)
                gateway.quarantine(1, False)
                assert states(gateway)[1][0] == "up"
            assert NodeChanged(1, "up", "taken back by the operator") in events
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                assert await gateway.wait_for_nodes(2, 20) == 2

    run(test)


def test_what_cannot_be_left_out_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with nodes_of(fleet, {}):
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                await gateway.wait_for_nodes(1, 20)
                with pytest.raises(VpError, match="the fleet has no node 9"):
                    gateway.quarantine(9, True)
                gateway.quarantine(0, False)
                assert states(gateway)[0][0] == "up"
            with pytest.raises(VpError, match="closed"):
                gateway.quarantine(0, True)

    run(test)


def test_a_node_that_is_away_is_left_out_when_it_comes(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            gateway.quarantine(1, True)
            assert states(gateway)[1][0] != "quarantined"
            async with nodes_of(fleet, {}):
                await gateway.wait_until_settled(20)
                assert states(gateway)[1] == ("quarantined", "left out by the operator")

    run(test)


@pytest.mark.parametrize("kept", ['"x"', '{"a": 1}', "[1]"])
def test_a_state_file_with_something_else_in_it_is_started_without(
    tmp_path: Path, kept: str
) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        text = json.dumps({"boot": 1, "keys": {}}).replace("{}", f'{{}}, "quarantined": {kept}')
        (tmp_path / "simulated.json").write_text(text)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(1, 20) == 1

    run(test)

"""What a gateway keeps between its runs, on files and sockets of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from fleet_factory import KEY, make_image
from loopback_nodes import loopback_fleet, nodes_of, run, tcp_url
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway, service
from variant_parallelism.gateway.keeping import StateKeeper
from variant_parallelism.gateway.state import StateFile, minutes_since_2024


def test_the_boot_counter_rises_at_every_start(tmp_path: Path) -> None:
    async def boots(fleet: Fleet) -> int:
        async with Gateway(fleet, state_dir=tmp_path):
            pass
        return int(json.loads((tmp_path / "simulated.json").read_text())["boot"])

    fleet = loopback_fleet([], udp=1)
    first = run(lambda: boots(fleet))
    assert first >= minutes_since_2024() - 1
    assert run(lambda: boots(fleet)) > first


def test_a_lost_state_folder_costs_no_answer_and_the_higher_counter_is_kept(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([tcp_url()], udp=1)
        async with nodes_of(fleet, {}) as nodes:
            for node in nodes.nodes.values():
                node.gateway_boot = minutes_since_2024() + 2000
                node.replay.accept(node.gateway_boot << 16)
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                await gateway.wait_for_nodes(2, 20)
                answer = await gateway.classify(make_image(fleet))
                assert (answer.missing, answer.errors) == ((), {})
        kept = StateFile.load(tmp_path, "simulated", KEY).boot
        assert minutes_since_2024() + 2000 < kept < minutes_since_2024() + 5000

    run(test)


def test_counters_of_nodes_are_kept_under_their_key_only(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            # So far ahead that the node's next life, which counts from the start, stays behind.
            nodes.nodes[0].counter += 0x8000
            await gateway.wait_for_nodes(1, 20)
            while gateway._core.highest_counters().get(0, 0) & 0xFFFF < 0x8000:
                nodes.nodes[0].send(nodes.nodes[0].hello())
                await asyncio.sleep(0.01)
        kept = StateFile.load(tmp_path, "simulated", KEY)
        assert kept.highest[0] >> 16 == 1
        assert StateFile.load(tmp_path, "simulated", bytes(32)).highest == {}
        assert StateFile.load(tmp_path, "simulated", None).highest == {}
        assert StateFile.load(tmp_path, "simulated", bytes(32)).boot == kept.boot
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            while gateway.counters.replayed == 0:
                await asyncio.sleep(0.01)
            assert await gateway.wait_for_nodes(1, 0.2) == 0

    run(test)


def test_counters_of_several_keys_stay_apart(tmp_path: Path) -> None:
    """Two fleets of one name take turns, or an old key comes back."""
    for turn in (1, 2):
        for number, key in enumerate((KEY, bytes(32), None)):
            state = StateFile.load(tmp_path, "fleet", key)
            assert state.highest == ({} if key is None or turn == 1 else {5: 1000 * number + 1})
            state.highest[5] = 1000 * number + turn
            state.save()
    assert StateFile.load(tmp_path, "fleet", KEY).highest == {5: 2}


def test_the_state_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    state = StateFile.load(tmp_path, "fleet", KEY)
    kept = {"boot": 9, "key": state.key_id, "highest": {"5": 77}}
    state.path.write_text(json.dumps(kept))
    other = StateFile.load(tmp_path, "fleet", bytes(32))
    assert (other.boot, other.highest) == (9, {})
    other.save()
    assert StateFile.load(tmp_path, "fleet", KEY).highest == {5: 77}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"boot": -1, "highest": {}, "key": ""}',
        '{"boot": 1}',
        '{"boot": 1, "keys": {"a": {"5": -1}}}',
        "\xff",
    ],
)
def test_a_damaged_state_file_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(text, encoding="latin-1")
    state = StateFile.load(tmp_path, "fleet", None)
    assert "is not a gateway's state" in caplog.text
    boot = state.next_boot()
    state.save()
    assert StateFile.load(tmp_path, "fleet", None).boot == boot


def test_a_disk_that_hangs_costs_no_answer_and_the_newest_state_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, works = threading.Event(), threading.Event()

    def fsync(file: int) -> None:
        hangs.set()
        assert works.wait(60)

    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            monkeypatch.setattr(os, "fsync", fsync)
            gateway.quarantine(0, True, "first")
            assert await asyncio.to_thread(hangs.wait, 20)
            gateway.quarantine(0, True, "second")
            gateway.quarantine(0, True, "third")
            assert len((await gateway.classify(make_image(fleet))).votes) == 2
            works.set()

    try:
        run(test)
    finally:
        works.set()
    assert StateFile.load(tmp_path, "simulated", KEY).quarantined == {0: "third"}


def test_the_end_does_not_wait_for_a_disk_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    works = threading.Event()

    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with Gateway(fleet, state_dir=tmp_path):
            monkeypatch.setattr(service, "_SAVE_LIMIT_S", 0.05)
            monkeypatch.setattr(os, "fsync", lambda _: works.wait(60))
        assert "simulated.json is not written after 0.05 s" in caplog.text
        # The write that hangs must not undo what another gateway writes.
        with pytest.raises(VpError, match="already runs here"):
            async with Gateway(fleet, state_dir=tmp_path):
                pass

    try:
        run(test)
    finally:
        works.set()


def test_state_that_cannot_be_kept_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        blocked = tmp_path / "file"
        blocked.write_text("in the way")
        fleet = loopback_fleet([], udp=1)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=blocked / "state") as gateway:
            await gateway.wait_for_nodes(1, 20)
            assert len((await gateway.classify(make_image(fleet))).votes) == 1

    with caplog.at_level(logging.WARNING):
        run(test)
    written = [text for text in caplog.messages if text.startswith("cannot write")]
    assert len(written) == 1


def test_all_is_written_when_the_newest_state_is(tmp_path: Path) -> None:
    """What is saved while another is being written is waited for, too."""
    state, counters = StateFile.load(tmp_path, "slow", KEY), {1: 1}
    write, first, may_write = state.write, threading.Event(), threading.Event()

    def slow(text: str) -> None:
        first.set()
        assert may_write.wait(20)
        write(text)

    state.write = slow  # type: ignore[method-assign]

    async def test() -> None:
        keeper = StateKeeper(state, lambda: dict(counters))
        keeper.save()
        await asyncio.to_thread(first.wait, 20)
        counters[1] = 2
        keeper.save()
        may_write.set()
        assert await keeper.written(20)
        assert StateFile.load(tmp_path, "slow", KEY).highest == {1: 2}

    run(test)

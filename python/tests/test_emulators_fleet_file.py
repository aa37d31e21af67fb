"""The fleet file of `vp emulate`: what it may replace, what it leaves, the ports in it."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from test_emulators import make_fleet
from variant_parallelism.cli import emulated
from variant_parallelism.cli.emulate import command
from variant_parallelism.emulators.fleet_file import (
    MARK,
    check_replaceable,
    fleet_toml,
    keep_changes,
    key_file_of,
    temporary_fleet,
)
from variant_parallelism.emulators.launch import _gateway
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, GatewayTable, load_fleet, read_token

KEY = bytes(range(32))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A fleet whose file and model exist, with a key of its own."""
    made = make_fleet(tmp_path / "fam", [dict(id=1, board="mps2-an386", emulated="serial")])
    made.path.write_text(fleet_toml(made.table))
    (tmp_path / "fam" / "v1.tflite").write_bytes(b"model")
    return replace(made, key=KEY)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("fam/fleet.toml", r"fleet\.toml belongs to fleet toy: name another"),
        ("fam/../fam/fleet.toml", "belongs to"),
        ("fam/manifest.json", "belongs to"),
        ("fam/v1.tflite", r"v1\.tflite exists and vp emulate did not write it: name another"),
        ("notes", "exists and vp emulate did not write it"),
        ("link", "exists and vp emulate did not write it"),
        ("fam", "it is a folder"),
        ("none/run.toml", "no folder"),
    ],
)
def test_out_that_is_somebody_elses_file_is_refused_before_anything_is_built(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    (tmp_path / "notes.key").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(emulated, "build_images", lambda *_: pytest.fail("images were built"))
    before = contents(tmp_path)
    with pytest.raises(VpError, match=message):
        command(fleet.path, tmp_path / out, tmp_path / "work")
    assert contents(tmp_path) == before


def test_file_of_an_earlier_run_is_replaced_but_never_the_sources_key(
    fleet: Fleet, tmp_path: Path
) -> None:
    out = tmp_path / "run.toml"
    check_replaceable(out, fleet)
    out.write_text(f"{MARK}\nname = 1\n")
    key_file_of(out).write_text("left from then")
    check_replaceable(out, fleet)
    table = fleet.table.model_copy(update={"key_file": "../run.toml.key"})
    with pytest.raises(VpError, match=r"run\.toml\.key belongs to"):
        check_replaceable(out, replace(fleet, table=table))
    out.write_text(f"# mine\n{MARK}\n")
    with pytest.raises(VpError, match="did not write it"):
        check_replaceable(out, fleet)


def test_what_was_written_loads_and_is_gone_at_the_end(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "run.toml"
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt), temporary_fleet(fleet, out):
        loaded = load_fleet(out)
        assert loaded.key == KEY and loaded.nodes == fleet.nodes
        assert loaded.manifest == fleet.manifest
        assert out.read_text().startswith(MARK + "\n")
        assert stat.S_IMODE(key_file_of(out).stat().st_mode) == 0o600
        check_replaceable(out, fleet)
        raise KeyboardInterrupt
    assert contents(tmp_path) == before


def test_what_somebody_added_is_kept_beside_the_next_file(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "run.toml"
    with temporary_fleet(fleet, out):
        assert keep_changes(out) is None
        changed = out.read_text() + "\n[sinks.sqlite]\n"
        out.write_text(changed)
    assert keep_changes(out) == tmp_path / "run.toml.old"
    assert (tmp_path / "run.toml.old").read_text() == changed and not out.exists()
    assert keep_changes(out) is None
    out.write_text("mine")
    assert keep_changes(out) is None and out.read_text() == "mine"


def test_the_gateways_token_and_limits_are_kept(fleet: Fleet, tmp_path: Path) -> None:
    token = tmp_path / "fam" / "token"
    token.write_text("a-token-of-this-test")
    token.chmod(0o600)
    fleet = fleet.with_nodes(fleet.nodes, GatewayTable(token_file="token", max_in_flight=7))
    gateway, _ = _gateway(fleet, PortPool(), local_only=True, keep_ports=True)
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "elsewhere" / "run.toml"
    with temporary_fleet(fleet.with_nodes(fleet.nodes, gateway), out):
        loaded = load_fleet(out)
        assert read_token(loaded) == "a-token-of-this-test"
        assert loaded.table.gateway.max_in_flight == 7


def test_file_that_another_run_has_replaced_stays(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "run.toml"
    other = replace(fleet, key=bytes(32))
    with ExitStack() as later:
        with temporary_fleet(fleet, out):
            later.enter_context(temporary_fleet(other, out))
        assert load_fleet(out).key == bytes(32)
    assert not out.exists() and not key_file_of(out).exists()


def test_key_is_removed_if_the_fleet_file_cannot_be_written(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "run.toml"
    out.mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(VpError, match=r"cannot write .*run\.toml"), temporary_fleet(fleet, out):
        pytest.fail("it was written")
    assert sorted(os.listdir(tmp_path)) == before


def test_ports_of_the_fleet_are_kept_where_they_are_free(fleet: Fleet) -> None:
    wanted, http = PortPool().take(), PortPool().take()
    table = GatewayTable(listen=f"0.0.0.0:{wanted}", http=f"127.0.0.2:{http}")
    fleet = fleet.with_nodes(fleet.nodes, table)
    kept, port = _gateway(fleet, PortPool(), local_only=True, keep_ports=True)
    assert (kept.listen, kept.http, port) == (f"{LOOPBACK}:{wanted}", table.http, wanted)
    assert _gateway(fleet, PortPool(), local_only=False, keep_ports=True)[0] == table
    with socket.socket() as other:
        other.bind((LOOPBACK, http))
        moved, _ = _gateway(fleet, PortPool(), local_only=True, keep_ports=True)
        assert moved.listen == kept.listen and moved.http != kept.http
    free, port = _gateway(fleet, PortPool(), local_only=True, keep_ports=False)
    assert port != wanted and free.http.startswith(f"{LOOPBACK}:") and free.http != table.http
    pool = PortPool()
    assert pool.keep(wanted) == wanted and pool.keep(wanted) != wanted and pool.keep(0) != 0

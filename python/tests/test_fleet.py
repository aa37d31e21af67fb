"""fleet.toml: what is read from it, and the line that every mistake is reported with."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_factory import make_manifest
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import GatewayTable, load_fleet, parse_endpoint
from variant_parallelism.manifest import save_manifest

GOOD = """\
name = "kitchen"
id = 3
manifest = "manifest.json"
k = 2
deadline_ms = 500

[gateway]
listen = "0.0.0.0:47801"

[[nodes]]
id = 1
variant = "v0"
board = "mps2-an386"
serial = "/dev/ttyUSB0"

[[nodes]]
id = 2
variant = "v1"
board = "mps2-an386"
udp = "192.168.7.12:5000"

[[nodes]]
id = 3
variant = "v1"
board = "mps2-an386"
emulated = "udp"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_manifest(make_manifest(), tmp_path / "manifest.json")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file(folder: Path) -> None:
    fleet = load_fleet(write(folder, GOOD))
    assert (fleet.table.name, fleet.table.id, fleet.table.k) == ("kitchen", 3, 2)
    assert (fleet.table.deadline_ms, fleet.table.hello_ms) == (500, 1000)
    assert [node.port for node in fleet.nodes] == ["/dev/ttyUSB0", "192.168.7.12:5000", None]
    assert fleet.nodes[0].baud == 115200
    assert [fleet.variant_of(node).name for node in fleet.nodes] == ["v0", "v1", "v1"]
    assert fleet.table.gateway == GatewayTable(listen="0.0.0.0:47801", http="127.0.0.1:8470")
    assert (fleet.aggregation, fleet.key) == ("vp", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("k = 2", "k = 2\nkk = 3", r"fleet.toml:5: kk: unknown key"),
        ("k = 2", "k = 17", r"fleet.toml:4: k: .*less than or equal to 16"),
        ("k = 2", "k = 11", r"fleet.toml:4: k: 11 exceeds the 10 classes"),
        ("k = 2", 'k = "two"', r"fleet.toml:4: k: .*valid integer"),
        ("k = 2", "k = ", r"fleet.toml: Invalid value"),
        ("id = 3\nmanifest", "id = 256\nmanifest", r"fleet.toml:2: id: .*255"),
        ('"kitchen"', '"../kitchen"', r"fleet.toml:1: name: "),
        ("deadline_ms = 500", "deadline_ms = 0", r"fleet.toml:5: deadline_ms: "),
        ('listen = "0', 'lisen = "0', r"fleet.toml:8: gateway.lisen: unknown key"),
        ("0.0.0.0:47801", "0.0.0.0", r"fleet.toml:7: gateway: '0.0.0.0' is not host:port"),
        ('serial = "/dev/ttyUSB0"', 'seriel = "x"', r"fleet.toml:14: nodes.seriel: unknown key"),
        ('serial = "/dev/ttyUSB0"\n', "", r"fleet.toml:10: nodes: node 1 needs exactly one"),
        (
            'udp = "192.168.7.12:5000"',
            'udp = "192.168.7.12:5000"\nserial = "/dev/ttyUSB1"',
            r"fleet.toml:16: nodes: node 2 needs exactly one of .*not serial and udp",
        ),
        ("192.168.7.12:5000", "192.168.7.12:70000", r"fleet.toml:16: nodes: .* is not host:port"),
        ("id = 2", "id = 1", r"fleet.toml:17: nodes.id: two nodes have id 1"),
        ("id = 2", "id = 65535", r"fleet.toml:17: nodes.id: "),
        (
            '"v1"\nboard = "mps2-an386"\nudp',
            '"v9"\nboard = "mps2-an386"\nudp',
            r":18: .*'v9' is not",
        ),
        (
            'udp = "192.168.7.12:5000"',
            'serial = "/dev/ttyUSB0"',
            r"fleet.toml:20: nodes.serial: node 2 and node 1 are both on /dev/ttyUSB0",
        ),
        ('"manifest.json"', '"none.json"', r"cannot read manifest .*none.json: No such file"),
        ('name = "kitchen"', "", r"fleet.toml: name: this key is missing"),
        ("k = 2", 'key_file = "fleet.key"', r"cannot read key file .*fleet.key: No such file"),
    ],
)
def test_a_mistake_names_its_line(folder: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(VpError, match=message) as error:
        load_fleet(write(folder, GOOD.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"cannot read .*none\.toml: No such file"):
        load_fleet(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("00" * 32, 0o600, None),
        ("AB" * 32 + "\n", 0o400, None),
        ("00" * 32, 0o644, "can be read by others: run chmod 600"),
        ("00" * 31, 0o600, "is not 64 hexadecimal digits: make one with `openssl rand -hex 32`"),
        ("zz" * 32, 0o600, "is not 64 hexadecimal digits"),
    ],
)
def test_keys(folder: Path, text: str, mode: int, message: str | None) -> None:
    key = folder / "fleet.key"
    key.write_text(text, encoding="ascii")
    key.chmod(mode)
    path = write(folder, GOOD.replace("k = 2", 'key_file = "fleet.key"', 1))
    if message is None:
        assert load_fleet(path).key == bytes.fromhex(text.strip())
    else:
        with pytest.raises(VpError, match=message):
            load_fleet(path)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:8470", ("::1", 8470)),
        ("node-1.local:5000", ("node-1.local", 5000)),
    ],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:port", "a b:1", "h:65536"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port"):
        parse_endpoint(text)

"""fleet.toml: what is read from it, and the line that every mistake is reported with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet_factory import make_manifest
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import GatewayTable, load_fleet, parse_endpoint, read_key
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
        ("0.0.0.0:47801", "0.0.0.0", r"fleet.toml:8: gateway.listen: '0.0.0.0' is not"),
        (
            "0.0.0.0:47801",
            "0.0.0.0:0",
            r"toml:8: gateway.listen: .* port 0: give one of 1 to 65535",
        ),
        ("listen = ", 'http = "localhost:0"\nlisten = ', r"toml:8: gateway.http: .* has port 0"),
        ('serial = "/dev/ttyUSB0"', 'seriel = "x"', r"fleet.toml:14: nodes.seriel: unknown key"),
        ('serial = "/dev/ttyUSB0"\n', "", r"fleet.toml:10: nodes: node 1 needs exactly one"),
        (
            'udp = "192.168.7.12:5000"',
            'udp = "192.168.7.12:5000"\nserial = "/dev/ttyUSB1"',
            r"fleet.toml:16: nodes: node 2 needs exactly one of .*not serial and udp",
        ),
        ("192.168.7.12:5000", "192.168.7.12:70000", r"toml:20: nodes.udp: .* is not host:port"),
        ("192.168.7.12:5000", "192.168.7.12:0", r"toml:20: nodes.udp: .* has port 0"),
        ("/dev/ttyUSB0", "", r"toml:14: nodes.serial: '' is neither a device nor a URL"),
        ("/dev/ttyUSB0", "/dev/\\u0000", r"toml:14: nodes.serial: '/dev/.x00' is neither a device"),
        ("/dev/ttyUSB0", "socket://h", r"toml:14: nodes.serial: .* is not socket://host:port: 'h'"),
        ("/dev/ttyUSB0", "socket://h:99999", r":14: nodes.serial: .* is not socket://host:port"),
        ("/dev/ttyUSB0", "SOCKET://:1", r":14: nodes.serial: .* is not socket://host:port"),
        ("/dev/ttyUSB0", "socket:h:1", r":14: nodes.serial: .* is not socket://host:port"),
        ("/dev/ttyUSB0", "socket://[::1:1", r":14: nodes.serial: .* is not socket://host:port"),
        ("/dev/ttyUSB0", "rfc2217://h:0", r":14: nodes.serial: .* is not rfc2217://host:port"),
        ("id = 3", "id = true", r"toml:2: id: Input should be a valid integer"),
        ("id = 3", 'id = "3"', r"toml:2: id: Input should be a valid integer"),
        ("id = 3", "id = 3.0", r"toml:2: id: Input should be a valid integer"),
        ("id = 2", "id = true", r"toml:17: nodes.id: Input should be a valid integer"),
        ("k = 2", "k = inf", r"toml:4: k: Input should be a valid integer"),
        ("k = 2", "k = " + "9" * 5000, r"fleet.toml: Exceeds the limit"),
        ("k = 2", "k = " + "[" * 5000 + "]" * 5000, r"fleet.toml: its arrays or tables are nested"),
        ("k = 2", '"a\\nb" = 2', r"toml: 'a.nb': unknown key"),
        ('"manifest.json"', '"a\\u0000b"', r"toml:3: manifest: 'a.x00b' is no path of a file"),
        ('"manifest.json"', '""', r"toml:3: manifest: '' is no path of a file"),
        ("k = 2", 'key_file = "a\\u0000b"', r"toml:4: key_file: 'a.x00b' is no path of a file"),
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


NETWORK = """\
name = "kitchen"
id = 3
manifest = "manifest.json"
[network]
gateway = "192.168.1.10"
netmask = "255.255.255.0"
router = "192.168.1.1"
[[nodes]]
id = 1
variant = "v0"
board = "nucleo-f746zg"
udp = "192.168.1.23:5000"
mac = "02:00:00:00:00:01"
probe = "066A"
[[nodes]]
id = 2
variant = "v1"
board = "nucleo-f746zg"
udp = "192.168.1.24:5000"
mac = "02:00:00:00:00:02"
probe = "066B"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        *[
            ('mask = "255.255.255.0', f'mask = "{mask}', rf"toml:6: .*mask: '{mask}' is no netmask")
            for mask in ("0.0.0.255", "0.0.0.0", "255.0.255.0", "255.255.255.254")
        ],
        ('"192.168.1.10"', '"0.0.0.0"', r"toml:5: network.gateway: '0.0.0.0' is not the address"),
        ('"192.168.1.10"', '"224.0.0.1"', r"toml:5: network.gateway: .* of a single machine"),
        ('"192.168.1.10"', '"192.168.1.255"', r":5: network.gateway: .* subnet 192.168.1.0/24"),
        ('"192.168.1.1"', '"192.168.1.0"', r":7: network.router: 192.168.1.0 is not the address"),
        ("1.24:5", "1.255:5", r"toml:19: nodes.udp: node 2: .* is the broadcast address of its"),
        ("1.24:5", "1.0:5", r"toml:19: nodes.udp: .* is the subnet 192.168.1.0/24 itself"),
        ("1.24:5", "1.10:5", r"toml:19: nodes.udp: .* is the gateway's address"),
        ("1.24:5", "1.1:5", r"toml:19: nodes.udp: .* is the router's address"),
        ("192.168.1.24:5", "0.0.0.0:5", r"toml:19: nodes.udp: .* not the address of a single mach"),
        ("192.168.1.24:5", "239.0.0.1:5", r"toml:19: nodes.udp: .* not the address of a single ma"),
        ("1.24:5000", "1.23:5001", r"toml:19: nodes.udp: .*23 is node 1's address already"),
        (":00:02", ":00:01", r":20: nodes.mac: node 2 and node 1 both have mac 02:00:00:00:00:01"),
        ("066B", "066a", r"toml:21: nodes.probe: node 2 and node 1 both have probe 066a: leave"),
    ],
)
def test_a_network_that_cannot_work(folder: Path, old: str, new: str, message: str) -> None:
    assert old in NETWORK
    with pytest.raises(VpError, match=message) as error:
        load_fleet(write(folder, NETWORK.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def test_networks_that_work(folder: Path) -> None:
    """The second is what emulated boards leave in a file: nodes on this machine."""
    local = NETWORK.replace("192.168.1.24:5000", "127.0.0.1:5001")
    local = local.replace("192.168.1.23", "127.0.0.1").replace("192.168.1.10", "127.0.0.1")
    for text in (NETWORK, local, NETWORK.replace("192.168.1.23", "board.local")):
        fleet = load_fleet(write(folder, text))
        assert fleet.table.network is not None
        assert fleet.table.network.netmask == "255.255.255.0"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"cannot read .*none\.toml: No such file"):
        load_fleet(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"fleet\.toml is empty"),
        (b" \n", r"fleet\.toml is empty"),
        (b"\x7fELF\x01\xff\xfe", r"fleet\.toml is not UTF-8 text"),
        (bytes(64), r"fleet\.toml: Invalid"),
    ],
    ids=["empty", "blank", "binary", "zeros"],
)
def test_what_is_no_fleet_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(content)
    with pytest.raises(VpError, match=message):
        load_fleet(path)


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    path = write(folder, GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_fleet(path).table.name == "kitchen"


def test_a_path_that_no_system_takes_is_an_error(tmp_path: Path) -> None:
    for read in (load_fleet, read_key):
        with pytest.raises(VpError, match=r"cannot read .*null byte") as error:
            read(tmp_path / "a\0b")
        assert str(error.value).isprintable()


def two_nodes(key: str, first: str, second: str) -> str:
    node = '[[nodes]]\nid = {}\nvariant = "v0"\nboard = "b"\n{} = "{}"\n'
    head = 'name = "kitchen"\nid = 3\nmanifest = "manifest.json"\n'
    return head + node.format(1, key, first) + node.format(2, key, second)


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("udp", "127.0.0.1:5000", "localhost:5000"),
        ("udp", "LocalHost:5000", "localhost:05000"),
        ("udp", "[::1]:5000", "[0:0:0:0:0:0:0:1]:5000"),
        ("udp", "Board.local:1", "board.LOCAL:1"),
        ("serial", "socket://localhost:5000", "SOCKET://127.0.0.1:5000"),
        ("serial", "socket://h:1", "socket://h:1?logging=debug"),
        ("serial", "socket://h:1", "rfc2217://h:1"),
        ("serial", "/dev/ttyUSB0", "/dev/../dev//ttyUSB0"),
        ("serial", "spy:///dev/null", "spy:///dev/null"),
    ],
)
def test_one_port_in_two_spellings(folder: Path, key: str, first: str, second: str) -> None:
    message = rf"toml:13: nodes\.{key}: node 2 and node 1 are both on {re.escape(second)}"
    with pytest.raises(VpError, match=message) as error:
        load_fleet(write(folder, two_nodes(key, first, second)))
    assert first in str(error.value)


def test_two_links_to_one_device(folder: Path) -> None:
    device = folder / "ttyUSB0"
    device.touch()
    for name in ("by-id", "by-path"):
        (folder / name).symlink_to(device)
    text = two_nodes("serial", str(folder / "by-id"), str(folder / "by-path"))
    with pytest.raises(VpError, match="node 2 and node 1 are both on"):
        load_fleet(write(folder, text))


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("udp", "127.0.0.1:5000", "127.0.0.1:5001"),
        ("udp", "127.0.0.1:5000", "127.0.0.2:5000"),
        ("serial", "socket://h:1", "socket://h:2"),
        ("serial", "/dev/ttyUSB0", "/dev/ttyusb0"),
        ("serial", "socket://[::1]:1", "socket://127.0.0.1:1"),
    ],
)
def test_two_ports(folder: Path, key: str, first: str, second: str) -> None:
    fleet = load_fleet(write(folder, two_nodes(key, first, second)))
    assert [node.port for node in fleet.nodes] == [first, second]


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
        ("my_board:65535", ("my_board", 65535)),
        ("[::ffff:10.0.0.1]:1", ("::ffff:10.0.0.1", 1)),
    ],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        *["", "host", "host:", ":80", "host:port", "a b:1", "h:65536", "h:-1", "h:1\n"],
        *["a..b:1", ".a:1", "a.:1", "-a:1", "a-:1", "a" * 64 + ":1"],
        *["1.2.3:1", "1.2.3.256:1", "[:::]:1", "[1.2.3.4]:1", "::1:80"],
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port"):
        parse_endpoint(text)

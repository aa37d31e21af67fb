"""Renders wire.json as the C tables that test_wire.c includes.

`python wire_header.py wire.json wire_vectors.h`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

STRUCTS = {
    1: "vp_hello",
    3: "vp_input",
    4: "vp_sack",
    5: "vp_prediction",
    6: "vp_error",
    7: "vp_fault",
    8: "vp_trigger",
}

HEAD = """\
/* Written by wire_header.py: the vectors of wire.json as C tables. */
#ifndef VP_VECTORS_WIRE_H
#define VP_VECTORS_WIRE_H

#include "vp/provision.h"
#include "vp/wire.h"

typedef struct bytes {
    size_t size;
    const uint8_t *at;
} bytes;
typedef struct crc_vector { bytes data; uint32_t crc; } crc_vector;
typedef struct tag_vector { bytes key, data, tag; } tag_vector;
typedef struct cobs_vector { bytes data, frame; } cobs_vector;
typedef struct message_vector {
    const char *name;
    vp_wire_header header;
    const uint8_t *key;
    uint16_t classes;
    const void *fields;
    bytes payload, message, frame;
} message_vector;
typedef struct bad_message_vector {
    const char *name;
    bytes message;
    const uint8_t *key;
    int error;
} bad_message_vector;
typedef struct bad_payload_vector {
    const char *name;
    uint8_t type;
    bytes payload;
    uint16_t classes;
    int error;
} bad_payload_vector;
typedef struct stream_vector {
    const char *name;
    bytes stream;
    size_t frame_count;
    const bytes *frames;
    int overlong;
} stream_vector;
typedef struct replay_vector { uint64_t counter; int accepted; } replay_vector;
typedef struct provision_vector {
    const char *name;
    vp_provision fields;
    bytes block;
} provision_vector;
typedef struct bad_block_vector { const char *name; bytes block; int error; } bad_block_vector;

"""


def array(data: bytes) -> str:
    return "{" + ",".join(map(str, data)) + "}"


class Pool:
    """Byte strings as named arrays, each written once (C99 has no anonymous empty array)."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, str] = {}

    def name(self, hex_data: str) -> str:
        if hex_data not in self.names:
            name = f"bytes_{len(self.names)}"
            data = bytes.fromhex(hex_data)
            self.lines.append(f"static const uint8_t {name}[] = {array(data or bytes(1))};")
            self.names[hex_data] = name
        return self.names[hex_data]

    def bytes(self, hex_data: str) -> str:
        return f"{{{len(hex_data) // 2}, {self.name(hex_data)}}}"

    def key(self, hex_data: str | None) -> str:
        return self.name(hex_data) if hex_data else "NULL"


def text(value: str) -> str:
    return '"' + value + '"'


def fields_initializer(kind: int, f: dict[str, Any]) -> str:
    parts = {
        k: v
        for k, v in f.items()
        if k not in ("model_hash", "firmware", "board", "data", "ranges", "entries")
    }
    out = [f".{name} = {value}" + ("u" if value > 2**31 else "") for name, value in parts.items()]
    if kind == 1:
        out.append(f".model_hash = {array(bytes.fromhex(f['model_hash']))}")
        out.append(f".firmware = {array(bytes(f['firmware']))}")
        out.append(f".board = {array(f['board'].encode())}")
    if kind == 3:
        data = bytes.fromhex(f["data"])
        out.append(f".data_size = {len(data)}")
        out.append(f".data = {array(data or bytes(1))}")
    if kind == 4:
        pairs = ",".join(f"{{{a},{b}}}" for a, b in f["ranges"]) or "{0,0}"
        out.append(f".range_count = {len(f['ranges'])}, .ranges = {{{pairs}}}")
    if kind == 5:
        pairs = ",".join(f"{{{a},{b}}}" for a, b in f["entries"])
        out.append(f".k = {len(f['entries'])}, .entries = {{{pairs}}}")
    return "{" + ", ".join(out) + "}"


def provision_initializer(f: dict[str, Any]) -> str:
    out = []
    for name, value in f.items():
        if name in ("node_key", "group_key", "mac"):
            value = array(bytes.fromhex(value))
        elif name in ("address", "netmask", "router", "gateway", "group"):
            value = array(bytes(int(part) for part in value.split(".")))
        out.append(f".{name} = {value}")
    return "{" + ", ".join(out) + "}"


def table(kind: str, name: str, rows: list[str]) -> str:
    body = "".join(f"    {{{row}}},\n" for row in rows)
    return f"static const {kind} {name}[] = {{\n{body}}};\n"


def render(v: dict[str, Any]) -> str:
    pool = Pool()
    b = pool.bytes
    tables = [
        table("crc_vector", "crc_vectors", [f"{b(x['data'])}, {x['crc']}u" for x in v["crc32c"]]),
        table(
            "tag_vector",
            "tag_vectors",
            [f"{b(x['key'])}, {b(x['data'])}, {b(x['tag'])}" for x in v["blake2s"]],
        ),
        table(
            "cobs_vector", "cobs_vectors", [f"{b(x['data'])}, {b(x['frame'])}" for x in v["cobs"]]
        ),
        table("bytes", "bad_frames", [f"{len(x) // 2}, {pool.name(x)}" for x in v["bad_frames"]]),
    ]
    rows = []
    for number, m in enumerate(v["messages"]):
        fields = "NULL"
        if m["type"] in STRUCTS:
            fields = f"&fields_{number}"
            initializer = fields_initializer(m["type"], m["fields"])
            pool.lines.append(f"static const {STRUCTS[m['type']]} fields_{number} = {initializer};")
        header = (
            f"{{.type = {m['type']}, .authenticated = {int(m['key'] is not None)}, "
            f".fleet = {m['fleet']}, .node = {m['node']}, .counter = {m['counter']}u}}"
        )
        rows.append(
            f"{text(m['name'])}, {header}, {pool.key(m['key'])}, {m['classes']}, {fields}, "
            f"{b(m['payload'])}, {b(m['message'])}, {b(m['frame'])}"
        )
    tables.append(table("message_vector", "message_vectors", rows))
    rows = [
        f"{text(x['name'])}, {b(x['message'])}, {pool.key(x['key'])}, VP_WIRE_{x['error']}"
        for x in v["bad_messages"]
    ]
    tables.append(table("bad_message_vector", "bad_message_vectors", rows))
    rows = [
        f"{text(x['name'])}, {x['type']}, {b(x['payload'])}, {x['classes']}, VP_WIRE_{x['error']}"
        for x in v["bad_payloads"]
    ]
    tables.append(table("bad_payload_vector", "bad_payload_vectors", rows))
    rows = []
    for number, x in enumerate(v["streams"]):
        frames = [f"{len(f) // 2}, {pool.name(f)}" for f in x["frames"]]
        pool.lines.append(table("bytes", f"frames_{number}", frames))
        rows.append(
            f"{text(x['name'])}, {b(x['stream'])}, {len(frames)}, frames_{number}, {x['overlong']}"
        )
    tables.append(table("stream_vector", "stream_vectors", rows))
    rows = [f"{x['counter']}u, {int(x['accepted'])}" for x in v["replay"]]
    tables.append(table("replay_vector", "replay_vectors", rows))
    rows = [
        f"{text(x['name'])}, {provision_initializer(x['fields'])}, {b(x['block'])}"
        for x in v["provision"]
    ]
    tables.append(table("provision_vector", "provision_vectors", rows))
    rows = [f"{text(x['name'])}, {b(x['block'])}, VP_WIRE_{x['error']}" for x in v["bad_blocks"]]
    tables.append(table("bad_block_vector", "bad_block_vectors", rows))
    return HEAD + "\n".join([*pool.lines, "", *tables]) + "\n#endif\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(render(json.loads(source.read_text())))

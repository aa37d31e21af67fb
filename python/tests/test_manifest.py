"""What a manifest may hold, and what is said about one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet_factory import make_manifest
from variant_parallelism.errors import VpError
from variant_parallelism.manifest import Manifest, load_manifest, save_manifest
from variant_parallelism.preprocess import MAX_SIDE


def edited(path: Path, where: str, value: Any) -> Path:
    """The manifest of `make_manifest` with one value replaced; `where` is a dotted path."""
    content = json.loads(make_manifest().model_dump_json(by_alias=True))
    *parents, last = [int(part) if part.isdecimal() else part for part in where.split(".")]
    target = content
    for parent in parents:
        target = target[parent]
    target[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


def test_a_manifest_is_read_as_it_was_written(path: Path) -> None:
    save_manifest(make_manifest(), path)
    assert load_manifest(path) == make_manifest()
    assert [entry.name for entry in path.parent.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "where", ["variants.0.weight", "variants.0.width", "aggregation.alpha", "ensemble.int8_top1_k2"]
)
def test_a_whole_number_is_a_number(path: Path, where: str) -> None:
    load_manifest(edited(path, where, 1))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert Manifest.model_validate(content) == load_manifest(path)


@pytest.mark.parametrize("name", ["digits", "cifar10-tiny", "digits-144x192", "a.b_c"])
def test_names(path: Path, name: str) -> None:
    assert load_manifest(edited(path, "name", name)).name == name


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("name", "../up", "name: String should match pattern"),
        ("name", "/tmp/x", "name: String should match pattern"),
        ("name", "", "name: String should match pattern"),
        ("name", "x" * 64, "name: String should have at most 63 characters"),
        ("variants.0.file", "../v0.tflite", "variants.0.file: String should match pattern"),
        ("variants.0.file", "/v0.tflite", "variants.0.file: String should match pattern"),
        ("variants.0.file", "a\\b", "variants.0.file: String should match pattern"),
        ("variants.0.file", "a\0b", "variants.0.file: String should match pattern"),
        ("variants.0.file", "..", "variants.0.file: String should match pattern"),
        ("variants.0.file", "", "variants.0.file: String should match pattern"),
        ("variants.0.resolution", True, "variants.0.resolution: Input should be a valid integer"),
        ("variants.0.resolution", "32", "variants.0.resolution: Input should be a valid integer"),
        ("variants.0.resolution", 32.0, "variants.0.resolution: Input should be a valid integer"),
        ("variants.0.weight", True, "variants.0.weight: Input should be a valid number"),
        ("variants.0.weight", "1", "variants.0.weight: Input should be a valid number"),
        ("variants.0.weight", float("inf"), "variants.0.weight: Input should be a finite number"),
        ("variants.0.weight", float("nan"), "variants.0.weight: Input should be a finite number"),
        ("variants.0.width", float("inf"), "variants.0.width: Input should be a finite number"),
        ("aggregation.alpha", float("-inf"), "aggregation.alpha: Input should be a finite number"),
        ("classes", [0, 1], "classes.0: Input should be a valid string"),
        ("classes", "ab", "classes: Input should be a valid"),
        ("schema", 2, "schema: Input should be 1"),
        ("schema", "1", "schema: Input should be 1"),
        ("input.height", MAX_SIDE + 1, "input.height: .*less than or equal to 4096"),
        ("variants.0.margin", MAX_SIDE - 31, "variants.0: resolution and margin must not exceed 4"),
        ("variants.0.crop_top", 1, "variants.0: crop_top and crop_left must not exceed margin"),
        ("odd\nkey", 1, "'odd.nkey': Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named(path: Path, where: str, value: Any, message: str) -> None:
    with pytest.raises(VpError, match=rf"^manifest .*manifest\.json: {message}") as error:
        load_manifest(edited(path, where, value))
    assert "\n" not in str(error.value)


def test_the_largest_resize(path: Path) -> None:
    edited(path, "variants.0.margin", MAX_SIDE - 32)
    variant = load_manifest(path).variants[0]
    assert variant.resolution + variant.margin == MAX_SIDE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"manifest\.json is empty"),
        (b"\xff\xfe\0\0", r"manifest\.json is not UTF-8 text"),
        (bytes(16), r"manifest\.json: top level: Invalid JSON"),
        (b"[]", r"manifest\.json: top level: Input should be an object"),
        (
            b'{"recipe":' + b"[" * 100_000,
            r"manifest\.json: top level: Invalid JSON: recursion limit",
        ),
    ],
    ids=["empty", "binary", "zeros", "list", "deep"],
)
def test_what_is_no_manifest_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(VpError, match=message) as error:
        load_manifest(path)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_mistake(path: Path) -> None:
    save_manifest(make_manifest(), path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_manifest(path) == make_manifest()


def test_a_path_that_no_system_takes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"cannot read manifest .*null byte") as error:
        load_manifest(tmp_path / "a\0b")
    assert str(error.value).isprintable()

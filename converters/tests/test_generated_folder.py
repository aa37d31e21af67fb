"""The folder that a user lifts into another project."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exactness import graph_bytes
from tflite_builder import ModelBuilder
from vp_converters import ConversionError, compile_model, load_model
from vp_converters.names import check_identifier, identifier_from

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
ALLOWED_SYMBOLS = {"memcpy", "memset"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, compiled."""
    root = tmp_path_factory.mktemp("generated")
    path = root / "My Net-1.tflite"
    path.write_bytes(graph_bytes("graph", "graph-3"))
    compile_model(path, root / "out")
    return root / "out"


def _sources(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.c"))]


def test_it_builds_alone_with_all_warnings(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    for compiler in ("cc", "arm-none-eabi-gcc"):
        if shutil.which(compiler) is None:
            continue
        command = [compiler, *STRICT, "-O2", "-I.", "-c", *_sources(folder)]
        subprocess.run(command, cwd=tmp_path / "elsewhere", check=True)


def test_it_needs_no_heap_no_libm_and_no_variables(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    sources = _sources(folder)
    subprocess.run(
        ["cc", "-std=c99", "-Os", "-I.", "-c", *sources], cwd=tmp_path / "out", check=True
    )
    objects = sorted(str(path) for path in (tmp_path / "out").glob("*.o"))
    table = subprocess.run(
        ["nm", "-P", *objects], capture_output=True, text=True, check=True
    ).stdout
    entries = [line.split()[:2] for line in table.splitlines() if len(line.split()) >= 2]
    defined = {name for name, kind in entries if kind in "TDRBVdrb"}
    missing = {name for name, kind in entries if kind == "U"} - defined
    assert missing <= ALLOWED_SYMBOLS | {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert not [name for name, kind in entries if kind in "BbCcGgSs"]


def test_it_is_a_cmake_project(folder: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake: apt install cmake")
    subprocess.run(
        ["cmake", "-S", folder, "-B", tmp_path / "build"], check=True, capture_output=True
    )
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
    assert (tmp_path / "build" / "libmy_net_1.a").is_file()


def test_the_header_works_in_c_and_cpp(folder: Path, tmp_path: Path) -> None:
    program = """#include <string.h>
#include "my_net_1.h"
#ifdef __cplusplus
extern "C"
#endif
int main(void);
int main(void)
{
    static vp_arena_t arena[VP_ARENA_WORDS(MY_NET_1_ARENA_SIZE)];
    const int8_t dims[] = MY_NET_1_OUTPUT_DIMS;
    (void)dims;
    static int8_t input[MY_NET_1_INPUT_SIZE];
    memset(input, MY_NET_1_INPUT_ZERO_POINT, sizeof input);
    vp_model_invoke(&my_net_1, arena, input);
    return vp_model_output(&my_net_1, arena) == NULL || sizeof arena < MY_NET_1_ARENA_SIZE ||
           my_net_1.output.scale != MY_NET_1_OUTPUT_SCALE;
}
"""
    (tmp_path / "main.c").write_text(program)
    subprocess.run(
        ["cc", *STRICT, f"-I{folder}", "-o", tmp_path / "main", tmp_path / "main.c"]
        + [str(folder / name) for name in _sources(folder)],
        check=True,
    )
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0
    if shutil.which("c++") is not None:
        command = ["c++", "-x", "c++", "-Wall", "-Werror", "-fsyntax-only", f"-I{folder}"]
        subprocess.run([*command, tmp_path / "main.c"], check=True)


def test_only_the_kernels_that_the_model_needs(tmp_path: Path) -> None:
    path = tmp_path / "pool.tflite"
    path.write_bytes(graph_bytes("reduce_max", "1"))
    compile_model(path, tmp_path / "out")
    sources = sorted(p.name for p in (tmp_path / "out" / "nn").glob("*.c"))
    assert sources in (["global_max_pool.c", "model.c"], ["model.c", "reduce_max.c"])


def test_plan_json_describes_it(folder: Path) -> None:
    report = json.loads((folder / "plan.json").read_text())
    assert report["name"] == "my_net_1"
    assert f"MY_NET_1_ARENA_SIZE {report['arena_bytes']}u" in (folder / "my_net_1.h").read_text()
    assert report["steps"] and report["buffers"]


def test_writing_again_touches_only_what_changed(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder.parent / "My Net-1.tflite")
    out = model.write(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (out / "my_net_1.h").write_text("damaged")
    model.write(out)
    changed = [p.name for p, time in before.items() if p.stat().st_mtime_ns != time]
    assert changed == ["my_net_1.h"]
    assert not list(out.glob(".vp-*"))


def test_an_output_folder_that_cannot_be(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match="file"):
        compile_model(folder.parent / "My Net-1.tflite", tmp_path / "file")
    with pytest.raises(ConversionError, match="out"):
        compile_model(folder.parent / "My Net-1.tflite", tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("resnet8", "resnet8"),
        ("V1-96 final", "v1_96_final"),
        ("1st", "model_1st"),
        ("", "model"),
        ("äöü", "model"),
        ("int", "int_model"),
        ("log", "log_model"),
        ("main", "main_model"),
        ("vp_model", "model_vp_model"),
        ("size_t", "size_t_model"),
        ("x" * 300, "x" * 48),
    ],
)
def test_names_from_files(stem: str, name: str) -> None:
    assert identifier_from(stem) == name
    assert check_identifier(name) == name


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "int", "vp_x", "exit", "_a", "a" * 64, "é", "a;"]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConversionError, match="--name"):
        check_identifier(name)


@pytest.mark.parametrize("stem", ["exp", "while", "vp_model", "errno", "2", "yn", "step", "memory"])
def test_any_file_name_gives_c_that_compiles(stem: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.tflite"
    path.write_bytes(graph_bytes("conv_2d", "2"))
    model = compile_model(path, tmp_path / "out")
    command = ["cc", *STRICT, "-I.", "-fsyntax-only", f"{model.name}.c"]
    subprocess.run(command, cwd=tmp_path / "out", check=True)


def test_scales_survive_the_header(tmp_path: Path) -> None:
    for scale in (2.0**-30, 0.00390625, 1.0, 3.4e38, 1e-45, 0.1):
        model = ModelBuilder()
        exact = float(np.float32(scale))
        source, output = model.activation((1, 4), exact, 0), model.activation((1, 4), exact, 0)
        model.op("RESHAPE", [source, model.constant([1, 4], "int32")], [output])
        path = tmp_path / "scale.tflite"
        path.write_bytes(model.build([source], [output]))
        text = load_model(path).files()["scale.h"]
        literal = text.split("SCALE_INPUT_SCALE ")[1].split()[0]
        assert literal.endswith("f")
        assert float(np.float32(literal[:-1])) == exact

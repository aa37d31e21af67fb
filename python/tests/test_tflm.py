"""The tflm runtime without a checkout at hand: what is asked of one, and what is generated."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.firmware.tflm_checkout import (
    TflmCheckout,
    TflmMethod,
    check_cxx,
    open_checkout,
    target_arch,
)
from variant_parallelism.firmware.tflm_model import read_tflm_model
from variant_parallelism.manifest import load_manifest

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits"
M4 = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
MICRO = "tensorflow/lite/micro"
DOWNLOADS = f"{MICRO}/tools/make/downloads"

RESOLVER = """\
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
  TfLiteStatus AddCustom(const char* name, const TFLMRegistration* registration) {
    return kTfLiteOk;
  }

  TfLiteStatus AddAdd(const TFLMRegistration& registration = Register_ADD()) {
    return AddBuiltin(BuiltinOperator_ADD, registration, ParseAdd);
  }

  TfLiteStatus AddConv2D(
      const TFLMRegistration& registration = Register_CONV_2D()) {
    return AddBuiltin(BuiltinOperator_CONV_2D, registration, ParseConv2D);
  }

  TfLiteStatus AddDelay() {
    return AddCustom("SignalDelay", tflite::tflm_signal::Register_DELAY());
  }

  TfLiteStatus AddReduceMax() {
    return AddBuiltin(BuiltinOperator_REDUCE_MAX, Register_REDUCE_MAX(),
                      ParseReducer);
  }
 private:
  TfLiteStatus AddBuiltin(tflite::BuiltinOperator op,
                          const TFLMRegistration& registration) {
    return kTfLiteOk;
  }
};
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that are looked for, of a checkout with its downloads."""
    root = tmp_path / "tflite-micro"
    for name, text in (
        (f"{MICRO}/micro_interpreter.h", ""),
        (f"{MICRO}/micro_mutable_op_resolver.h", RESOLVER),
        (f"{MICRO}/kernels/conv.h", "TFLMRegistration Register_CONV_2D_INT8();\n"),
        (f"{MICRO}/tools/make/Makefile", ""),
        (f"{DOWNLOADS}/flatbuffers/include/flatbuffers/flatbuffers.h", ""),
        (f"{DOWNLOADS}/gemmlowp/README", ""),
        (f"{DOWNLOADS}/ruy/README", ""),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def add_library(root: Path, folder: str) -> Path:
    path = root / "gen" / folder / "lib" / "libtensorflow-microlite.a"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    return path


def message(path: Path | None) -> str:
    with pytest.raises(VpError) as error:
        open_checkout(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_checkout_says_where_to_get_one() -> None:
    text = message(None)
    assert "git clone https://github.com/tensorflow/tflite-micro" in text
    assert "third_party_downloads" in text


def test_another_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        text = message(path)
        assert str(path) in text and "git clone" in text


@pytest.mark.parametrize("name", ["flatbuffers", "gemmlowp", "ruy"])
def test_a_missing_download_is_named(checkout: Path, name: str) -> None:
    (checkout / DOWNLOADS / name).rename(checkout / "elsewhere")
    text = message(checkout)
    assert f"download {name}" in text and "third_party_downloads" in text


def test_operators_are_those_of_the_checkout(checkout: Path) -> None:
    assert open_checkout(checkout).operators == {
        "ADD": TflmMethod("AddAdd"),
        "CONV_2D": TflmMethod("AddConv2D", "tflite::Register_CONV_2D_INT8()"),
        "CUSTOM SignalDelay": TflmMethod("AddDelay"),
        "REDUCE_MAX": TflmMethod("AddReduceMax"),
    }


def test_a_missing_library_says_how_to_make_it(checkout: Path) -> None:
    add_library(checkout, "cortex_m_generic_cortex-m7+fp_default_gcc")
    with pytest.raises(VpError, match=r"cortex_m_generic/README\.md") as error:
        open_checkout(checkout).library(M4)
    assert "TARGET_ARCH=cortex-m4+fp" in str(error.value) and "\n" not in str(error.value)


def test_the_library_with_the_best_kernels_and_checks_is_taken(checkout: Path) -> None:
    arch = "cortex_m_generic_cortex-m4+fp"
    wanted: list[tuple[str, str, tuple[str, ...]]] = [
        (f"{arch}_release_gcc", "reference", ("NDEBUG", "TF_LITE_STRIP_ERROR_STRINGS")),
        (f"{arch}_default_gcc", "reference", ()),
        (f"{arch}_release_cmsis_nn_gcc", "CMSIS-NN",
         ("NDEBUG", "TF_LITE_STRIP_ERROR_STRINGS", "CMSIS_NN")),
        (f"{arch}_default_cmsis_nn_gcc", "CMSIS-NN", ("CMSIS_NN",)),
        (f"{arch}_release_with_logs_cmsis_nn_gcc", "CMSIS-NN", ("NDEBUG", "CMSIS_NN")),
    ]  # fmt: skip
    for folder, kernels, definitions in wanted:
        path = add_library(checkout, folder)
        library = open_checkout(checkout).library(M4)
        assert (library.path, library.kernels) == (path, kernels)
        assert library.definitions == ("TF_LITE_STATIC_MEMORY", *definitions)


@pytest.mark.parametrize(
    ("flags", "arch"),
    [
        (M4, "cortex-m4+fp"),
        ("-mcpu=cortex-m4 -mthumb -mfloat-abi=soft", "cortex-m4"),
        ("-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16", "cortex-m7+fp"),
        ("-mcpu=cortex-m55 -mthumb -mfloat-abi=hard", "cortex-m55"),
        ("-mcpu=cortex-m0plus -mthumb", "cortex-m0plus"),
    ],
)
def test_processors_by_the_makefiles_names(flags: str, arch: str) -> None:
    assert target_arch(flags) == arch


def test_other_processors_are_refused() -> None:
    with pytest.raises(VpError, match="riscv"):
        target_arch("-march=riscv32")


def test_every_board_has_a_name_for_the_makefile() -> None:
    assert target_arch(load_board("mps2-an386").cpu_flags) == "cortex-m4+fp"


def test_a_missing_compiler_or_library_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VpError, match="package gcc-arm-none-eabi"):
        check_cxx()
    compiler = tmp_path / "arm-none-eabi-g++"
    compiler.write_text("#!/bin/sh\necho libstdc++.a\n")
    compiler.chmod(0o755)
    with pytest.raises(VpError, match="package libstdc\\+\\+-arm-none-eabi-newlib"):
        check_cxx()


def test_a_model_is_read_as_the_compiler_reads_it() -> None:
    from vp_converters import load_model

    for variant in load_manifest(DIGITS / "manifest.json").variants:
        model = read_tflm_model(DIGITS / variant.file, "model_x")
        compiled = load_model(DIGITS / variant.file)
        assert model.hash == compiled.hash
        assert (model.input.shape, model.output.shape) == (
            compiled.input_shape,
            compiled.output_shape,
        )
        assert sum(operator.macs for operator in model.operators) == compiled.macs
        assert set(model.kinds) == {operator.kind for operator in model.operators}
        before = model.before_softmax()
        assert before is not None
        assert before.operators == model.operators[:-1]
        assert before.output.index == model.operators[-1].input


def test_operators_that_the_checkout_lacks_are_named(checkout: Path, tmp_path: Path) -> None:
    model = read_tflm_model(DIGITS / "d8.tflite", "model_x")
    with pytest.raises(VpError, match="no operator DEPTHWISE_CONV_2D and no FULLY_CONNECTED"):
        model.write(tmp_path / "model", TflmCheckout(checkout), 1000)
    assert not (tmp_path / "model").exists()


def test_the_resolver_gets_the_models_operators_and_no_others(
    checkout: Path, tmp_path: Path
) -> None:
    header = checkout / MICRO / "micro_mutable_op_resolver.h"
    added = [("DEPTHWISE_CONV_2D", "AddDepth"), ("FULLY_CONNECTED", "AddFull"), ("TANH", "AddTanh")]
    methods = [
        f"  TfLiteStatus {method}() {{\n    return AddBuiltin(BuiltinOperator_{kind});\n  }}\n"
        for kind, method in [*added, ("SOFTMAX", "AddSoftmax")]
    ]
    header.write_text(RESOLVER + "".join(methods))
    read_tflm_model(DIGITS / "d8.tflite", "model_x").write(tmp_path, open_checkout(checkout), 1000)
    text = (tmp_path / "operators.cc").read_text()
    called = [line.split("->")[1].split("(")[0] for line in text.splitlines() if "->" in line]
    assert called == [
        "AddAdd", "AddConv2D", "AddDepth", "AddFull", "AddReduceMax", "AddSoftmax",
    ]  # fmt: skip
    assert "MicroMutableOpResolver<6>" in text
    assert "AddConv2D(tflite::Register_CONV_2D_INT8())" in text and "AddAdd()" in text
    assert (tmp_path / "model.tflite").read_bytes() == (DIGITS / "d8.tflite").read_bytes()


@pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "ninja", "arm-none-eabi-gcc"))),
    reason="no cmake, ninja or ARM compiler",
)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-DVP_RUNTIME=another"], "VP_RUNTIME is 'another', not compiled or tflm"),
        (["-DVP_RUNTIME=tflm"], "git clone https://github.com/tensorflow/tflite-micro"),
        (["-DVP_RUNTIME=tflm", "-DVP_TFLM_PATH={checkout}"], "cortex_m_generic/README.md"),
    ],
)
def test_cmake_says_what_it_misses(
    arguments: list[str], complaint: str, checkout: Path, tmp_path: Path
) -> None:
    firmware = firmware_dir()
    command = [
        *("cmake", "-S", str(firmware), "-B", str(tmp_path / "build"), "-G", "Ninja"),
        f"-DCMAKE_TOOLCHAIN_FILE={firmware / 'cmake' / 'arm-none-eabi.cmake'}",
        *("-DVP_BOARD=mps2-an386", f"-DVP_VARIANTS_DIR={tmp_path}"),
        *(text.format(checkout=checkout) for text in arguments),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert complaint in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", ["build", "bench"])
def test_commands_without_a_checkout_end_in_one_line(command: str) -> None:
    from variant_parallelism.cli import app

    source = "manifest.json" if command == "build" else "d8.tflite"
    for options in (["--runtime", "tflm"], ["--tflm-path", "."]):
        result = CliRunner().invoke(app, [command, str(DIGITS / source), *options])
        assert result.exit_code != 0
        text = str(result.exception)
        assert "--tflm-path" in text and "\n" not in text


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes((DIGITS / "d8.tflite").read_bytes()[:400])
    with pytest.raises(VpError, match=r"broken\.tflite"):
        read_tflm_model(path, "model_x")

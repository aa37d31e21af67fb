"""Images whose model runs on TensorFlow Lite Micro, from the user's own checkout of it.

For a model with an operator that the compiler does not support, and for comparing the two runtimes.

    checkout = open_checkout(Path("~/tflite-micro"))
    build_images(manifest, ["d16"], "mps2-an386", tflm=checkout)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.firmware.boards import BoardInfo
from variant_parallelism.firmware.tflm_checkout import TflmCheckout, check_cxx
from variant_parallelism.firmware.tflm_model import quantization, read_tflm_model
from variant_parallelism.firmware.tflm_program import TflmProgram
from variant_parallelism.firmware.variant_source import ModelSource

_SOURCES = ("tflm.py", "tflm_checkout.py", "tflm_model.py", "tflm_program.py", "variant_source.py")


@dataclass(frozen=True)
class TflmRuntime:
    """The Runtime of variant_source.py on a checkout, for one board.

    The arena's size is measured: the model runs once on an emulated core of the board's kind.
    """

    checkout: TflmCheckout
    board: BoardInfo

    def digest(self) -> str:
        """Of the checkout's library and of what generates the model's folder."""
        library = self.checkout.library(self.board.cpu_flags)
        status = library.path.stat()
        digest = hashlib.blake2s(f"{library} {status.st_mtime_ns} {status.st_size}".encode())
        sources = [Path(__file__).with_name(name) for name in _SOURCES]
        sources += sorted(firmware_dir().joinpath("tflm").iterdir())
        for path in sources:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def write_model(self, tflite: Path, folder: Path, name: str) -> ModelSource:
        """Write the model with the arena that it was seen to need."""
        check_cxx()
        model = read_tflm_model(tflite, name)
        program = TflmProgram(model, self.checkout, self.board.cpu_flags)
        try:
            arena = program.measure_arena()
        except VpError as error:
            raise VpError(f"{tflite}: {error}") from None
        model.write(folder, self.checkout, arena)
        largest = max(model.operators, key=lambda operator: operator.macs)
        return ModelSource(
            name=name,
            input_shape=model.input.shape,
            output_shape=model.output.shape,
            input=quantization(model.input),
            output=quantization(model.output),
            arena=arena,
            step=f"{largest.kind} {largest.index}",
            step_macs=largest.macs,
        )

    def cmake_arguments(self) -> list[str]:
        """The checkout, its library and how the library was made."""
        library = self.checkout.library(self.board.cpu_flags)
        return [
            "-DVP_RUNTIME=tflm",
            f"-DVP_TFLM_PATH={self.checkout.root}",
            f"-DVP_TFLM_LIBRARY={library.path}",
            f"-DVP_TFLM_DEFINITIONS={';'.join(library.definitions)}",
            f"-DVP_TFLM_INCLUDES={';'.join(map(str, self.checkout.include_dirs))}",
        ]

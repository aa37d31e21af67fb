"""Compiler for int8 .tflite models: graph, passes, memory plan, C99.

`compile_model("variant.tflite", "build/variant")` writes the C and says what it needs of a board.
"""

from __future__ import annotations

from vp_converters.compiler import CompiledModel, StepInfo, compile_model, load_model
from vp_converters.errors import ConversionError

__all__ = ["CompiledModel", "ConversionError", "StepInfo", "compile_model", "load_model"]

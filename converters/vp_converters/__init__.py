"""Compiler for int8 .tflite models: graph, passes, memory plan, C99.

    from vp_converters import compile_model
    model = compile_model("variant.tflite", "build/variant")
    print(model.arena_size, model.weight_bytes)
"""

from __future__ import annotations

from vp_converters.compiler import CompiledModel, StepInfo, compile_model, load_model
from vp_converters.errors import ConversionError

__all__ = ["CompiledModel", "ConversionError", "StepInfo", "compile_model", "load_model"]

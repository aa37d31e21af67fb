"""Keras variants -> full-int8 .tflite files, measured on the whole test split."""

from variant_parallelism.quantize.family import QuantizedFamily, quantize_family

__all__ = ["QuantizedFamily", "quantize_family"]

"""Variant Parallelism for microcontrollers: tiny complete networks that answer together."""

__version__ = "0.1.0"

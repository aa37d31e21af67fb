"""Kernels for one instruction set: a backend rewrites the steps of a portable program.

A backend is a module with ``apply(program) -> program``: it replaces kernels, packs their constants
in the order in which they read them, and chooses the row layouts of the tensors between them. What
it does not speed up stays portable.
"""

from __future__ import annotations

from importlib import import_module

from vp_converters.errors import ConversionError
from vp_converters.lowering.step import Program

KERNELS = ("portable", "dsp", "mve")
"""C99, Armv7E-M with DSP (Cortex-M4, M7, M33), Armv8.1-M with MVE (Cortex-M55)."""


def for_kernels(program: Program, kernels: str) -> Program:
    """``program`` on the kernels that ``kernels`` names.

    Raises:
        ConversionError: there are no such kernels.
    """
    if kernels not in KERNELS:
        raise ConversionError(f"kernels {kernels!r} are not one of {', '.join(KERNELS)}")
    if kernels == "portable":
        return program
    rewritten: Program = import_module(f"vp_converters.backends.{kernels}").apply(program)
    return rewritten

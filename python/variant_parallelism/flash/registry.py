"""The backends, by the names that board.toml's `programmers` uses."""

from __future__ import annotations

import importlib

from variant_parallelism.flash.backend import Backend

_CLASSES = {
    "pyocd": ("pyocd_backend", "PyocdBackend"),
    "uf2": ("uf2_drive", "Uf2Backend"),
    "stm32-uart": ("stm32_uart", "Stm32UartBackend"),
}

NAMES = tuple(_CLASSES)


def backend(name: str) -> Backend:
    """A backend by its name; its module is loaded only now."""
    module, class_name = _CLASSES[name]
    found = importlib.import_module(f"variant_parallelism.flash.{module}")
    made: Backend = getattr(found, class_name)()
    return made

"""The one exception that this package raises for a model or a request it cannot serve."""

from __future__ import annotations

from variant_parallelism.errors import VpError


class ConversionError(VpError, ValueError):
    """A model that cannot be compiled, or a host that lacks a tool for it.

    The text is one line that names the thing (file, operator with its index and tensors) and the
    reason.
    """

"""Building firmware where the compiler's libraries are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import variant_source
from variant_parallelism.firmware.variant_source import Compiled


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "vp_converters":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tflite", None)
    variant_source._generator_digest.cache_clear()


@pytest.mark.usefixtures("bare")
def test_the_way_out_is_named() -> None:
    way_out = r"the compiler needs tflite: pip install 'variant-parallelism\[convert\]'"
    with pytest.raises(VpError, match=way_out):
        Compiled().digest()
    with pytest.raises(VpError, match=way_out):
        Compiled().write_model(Path("no.tflite"), Path(), "v")

"""A gateway whose network interface goes away and comes back, in a namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _why_not() -> str | None:
    """Why no network can be made here."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip are not installed"
    made = ["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
    done = subprocess.run(["unshare", "-rn", *made], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip() or "no veth interface"


@pytest.mark.parametrize("listen", ["0.0.0.0:47800", "10.9.0.1:47800"])
def test_a_network_that_goes_and_comes_back(tmp_path: Path, listen: str) -> None:
    why_not = _why_not()
    if why_not is not None:
        pytest.skip(f"no network namespace: {why_not}")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, str(HERE / "lost_network.py"), listen, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    # A request asked while all are away waits for whoever comes back before its deadline.
    assert all(votes >= 1 for votes in seen["answered"])
    assert seen["answered"][0::2] == [2, 2]
    assert seen["lost"] == 0
    assert any("multicast to 239.77.80.1:47801" in line for line in seen["logged"])

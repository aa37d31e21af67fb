"""A network namespace of one's own: interfaces that no other program sees and that end with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

from variant_parallelism.errors import VpError

_OUTER = "VP_OUTER_NETWORK"
_TUN = "/dev/net/tun"
_PROBE = ("ip", "link", "add", "probe", "type", "bridge")


def in_private_namespace() -> bool:
    """Whether `run_privately` started this process."""
    here = _namespace()
    return os.environ.get(_OUTER, here) != here


def run_privately(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `command` in a new namespace, its output and errors captured together.

    The namespace and its interfaces are gone when the last process in it ends. VpError if this
    machine or user may not make one, subprocess.TimeoutExpired if it takes too long.
    """
    return subprocess.run(
        [*_prefix(), *command],
        env=os.environ | {_OUTER: _namespace()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )


def _namespace() -> str:
    return os.readlink("/proc/self/ns/net")


@cache
def _prefix() -> tuple[str, ...]:
    """What makes a namespace: root may, and others where the kernel lets users be root in one."""
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            raise VpError(f"{program} is not installed: install Debian package {package}")
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise VpError(f"no access to {_TUN}: run modprobe tun, or as root")
    prefix = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
    probe = subprocess.run([*prefix, *_PROBE], capture_output=True, text=True)
    if probe.returncode != 0:
        lines = probe.stderr.strip().splitlines() or [f"status {probe.returncode}"]
        raise VpError(f"no network namespace with a bridge without more rights: {lines[-1]}")
    return prefix

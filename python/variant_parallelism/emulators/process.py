"""Child processes that never outlive this one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

# The kernel sends the parent-death signal when the *thread* that started the child ends, so all
# children are started by one thread that lives as long as the interpreter.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="vp-spawn")


@cache
def _death_signal() -> tuple[str, ...]:
    """Command prefix that has Linux kill the child when this process ends, however it ends."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL") if setpriv else ()


def spawn(
    command: Sequence[str], *, log: Path, pass_fds: Sequence[int] = (), silent_input: bool = False
) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `log` and no terminal; it is killed when Python ends.

    With `silent_input`, its standard input does not end, but nothing comes.
    """

    def start() -> subprocess.Popen[bytes]:
        with open(log, "wb") as output:
            return subprocess.Popen(
                [*_death_signal(), *command],
                stdin=subprocess.PIPE if silent_input else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    return _spawner.submit(start).result()


def last_line(log: Path) -> str:
    """The last line that is not empty, or '' if there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

"""Virtual nodes in a process of their own, so that the gateway's core stays the gateway's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.virtual.faults import NodeFaults
from variant_parallelism.virtual.nodes import NodeCounts


class VirtualProcess:
    """Runs `python -m variant_parallelism.virtual`; a context manager.

    The methods may be called from any thread.
    """

    def __init__(
        self,
        fleet: Path,
        *,
        nodes: list[int] | None = None,
        table: Path | None = None,
        answer_ms: float = 0.0,
        seed: int = 1,
        cpu: int | None = None,
        sent: Path | None = None,
    ) -> None:
        """`cpu`: the one processor that it may use. `sent`: a file of 65536 numbers of 8 bytes, for
        `sent_ns` of `VirtualNodes`. The rest is as there."""
        self._asking = threading.Lock()
        options: dict[str, Any] = {
            "--nodes": None if nodes is None else ",".join(map(str, nodes)),
            "--table": table,
            "--answer-ms": answer_ms,
            "--seed": seed,
            "--cpu": cpu,
            "--sent": sent,
        }
        given = [
            text
            for name, value in options.items()
            if value is not None
            for text in (name, str(value))
        ]
        self._command = [sys.executable, "-m", "variant_parallelism.virtual", str(fleet), *given]

    def __enter__(self) -> VirtualProcess:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for whoever started it: this one ends with its stdin.
            start_new_session=True,
        )
        try:
            self.ids: list[int] = self._read()["ready"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _end(self) -> None:
        process = self._process
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self) -> dict[str, Any]:
        process = self._process
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        if not line:
            lines = process.stderr.read().strip().splitlines()
            why = lines[-1].removeprefix("error: ") if lines else "no word"
            raise VpError(f"the virtual nodes ended: {why}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _do(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._asking:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
            return self._read()

    def die(self, node: int) -> None:
        """No power: it hears and says nothing."""
        self._do(do="die", node=node)

    def revive(self, node: int) -> None:
        """Power again: it boots and says HELLO."""
        self._do(do="revive", node=node)

    def fault(self, node: int, faults: NodeFaults) -> None:
        """From now on it does this wrong, and nothing else."""
        self._do(do="fault", node=node, faults=faults.model_dump())

    def counts(self) -> dict[int, NodeCounts]:
        """What each node did since the start, by id."""
        counts = self._do(do="counts")["counts"]
        return {int(node): NodeCounts(**count) for node, count in counts.items()}

    def total(self) -> NodeCounts:
        """What all of them did."""
        return sum(self.counts().values(), NodeCounts())

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used."""
        return float(self._do(do="counts")["cpu_s"])

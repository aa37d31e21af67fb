#!/usr/bin/env python3
"""Measures every model and writes the tables of docs/benchmarks.md anew.

Usage: .venv/bin/python tools/benchmarks.py [--inputs N] [--jobs N]

The models compared with other runtimes are in $VP_MODELS or ../shared/models; without that folder
their table stays as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vp_converters.bench import BenchResult, bench_model
from vp_converters.errors import ConversionError
from vp_converters.target import BOARDS

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"
M4F, M7, M55 = BOARDS


@dataclass(frozen=True)
class Peers:
    """Figures of other runtimes by board, "RAM" and "flash", as precise as they are known.

    docs/benchmarks.md says where they are from.
    """

    tflm: dict[str, str]
    tinyengine: dict[str, str] = field(default_factory=dict)


PEERS = {
    "v_32": Peers({M4F: "5,451,640", "RAM": "73,956", "flash": "524 K"}),
    "v1_96": Peers(
        {M4F: "42,481,920", M7: "42,485,800", M55: "11,926,000"}
        | {"RAM": "196,948", "flash": "523,928"},
        {M4F: "33.7 M", "RAM": "134,892", "flash": "349 K"},
    ),
    "resnet8": Peers(
        {M4F: "29,856,720", M7: "30,007,920", M55: "4,911,000"}
        | {"RAM": "55,364", "flash": "145,700"},
    ),
    "v3_160": Peers({M4F: "117.9 M", M55: "33.5 M", "RAM": "443,540", "flash": "544 K"}),
}
_UNITS = {"K": 1e3, "M": 1e6}

Results = dict[tuple[Path, str], BenchResult]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of docs/benchmarks.md anew.")
    parser.add_argument("--inputs", type=int, default=30, help="random inputs for each model")
    parser.add_argument("--jobs", type=int, default=2, help="models measured at a time")
    options = parser.parse_args()
    shared = shared_models()
    own = sorted(
        (REPOSITORY / "models").glob("*/*.tflite"),
        key=lambda path: (path.parent.name, len(path.stem), path.stem),
    )
    try:
        results = measure([*shared, *own], options.inputs, options.jobs)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = DOCUMENT.read_text(encoding="utf-8")
    if shared:
        text = with_block(text, "peers", peer_table(shared, results))
    else:
        print("no models to compare with others: set VP_MODELS; that table stays as it is")
    text = with_block(text, "own", own_table(own, results))
    text = with_block(text, "tools", tools_text(results))
    DOCUMENT.write_text(text, encoding="utf-8")
    wrong = [result for result in results.values() if result.mismatches]
    for result in wrong:
        print(f"{result.model} on {result.board}: {result.difference}", file=sys.stderr)
    return 1 if wrong else 0


def shared_models() -> list[Path]:
    """The models of PEERS that are there."""
    folder = Path(os.environ.get("VP_MODELS", REPOSITORY.parent / "shared" / "models"))
    return [path for name in PEERS if (path := folder / f"{name}.tflite").is_file()]


def measure(paths: Sequence[Path], inputs: int, jobs: int) -> Results:
    """Every model on every board."""
    cases = [(path, board) for path in paths for board in BOARDS]

    def run(case: tuple[Path, str]) -> BenchResult:
        result = bench_model(*case, inputs=inputs)
        print(f"{case[0].name} {case[1]}: {result.instructions:,} instructions", flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(cases, pool.map(run, cases), strict=True))


def with_block(text: str, name: str, block: str) -> str:
    """``text`` with another block between the comments that name it.

    Raises:
        ValueError: the comments are not there.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"no block {name!r}")
    return f"{head}{begin}{block}{end}{tail}"


def peer_table(paths: Iterable[Path], results: Results) -> str:
    """One row a figure, beside those of other runtimes; "times less" compares with the first."""
    heads = ["model", "figure", "TFLM + CMSIS-NN", "TinyEngine", "`vp`", "times less"]
    rows = []
    for path in paths:
        name = f"**{path.stem}**"
        on_m4f = results[path, M4F]
        figures = {
            board: (f"instructions, {results[path, board].core}", results[path, board].instructions)
            for board in BOARDS
        } | {
            "RAM": ("RAM, Cortex-M4F", on_m4f.ram_bytes),
            "flash": ("flash, Cortex-M4F", on_m4f.footprint.flash),
        }
        for key, (figure, ours) in figures.items():
            tflm = PEERS[path.stem].tflm.get(key, "")
            tinyengine = PEERS[path.stem].tinyengine.get(key, "")
            factor = f"{_value(tflm) / ours:.2f}" if tflm else ""
            rows.append([name, figure, tflm, tinyengine, f"{ours:,}", factor])
            name = ""
    return _markdown(heads, rows, left=2)


def _value(text: str) -> float:
    """The number in "42,481,920" or "33.7 M"."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * _UNITS.get(unit, 1)


def own_table(paths: Iterable[Path], results: Results) -> str:
    """One row a model of this repository."""
    heads = ["model", "input", "MACs", *(BOARDS[board].core for board in BOARDS)]
    heads += ["per MAC, M4F", "RAM", "stack", "flash"]
    rows = []
    for path in paths:
        each = [results[path, board] for board in BOARDS]
        first = each[0]
        rows.append(
            [
                f"{path.parent.name}/{path.stem}",
                f"{first.input_bytes:,}",
                f"{first.macs:,}",
                *(f"{result.instructions:,}" for result in each),
                f"{first.instructions / first.macs:.2f}",
                f"{first.ram_bytes:,}",
                f"{first.stack_bytes:,}",
                f"{first.footprint.flash:,}",
            ]
        )
    return _markdown(heads, rows, left=1)


def tools_text(results: Results) -> str:
    """What measured it, and how much was compared."""
    lines = []
    for board in BOARDS:
        chosen = [result for (_, name), result in results.items() if name == board]
        kernels = ", ".join(sorted({result.kernels for result in chosen}))
        one = chosen[0]
        lines.append(f"- {board}, {one.core}: {kernels} kernels, `{one.flags}`")
    any_one = next(iter(results.values()))
    checked = sum(result.inputs_checked for result in results.values())
    wrong = sum(result.mismatches for result in results.values())
    lines.append(f"- {any_one.compiler}; {any_one.emulator}")
    lines.append(f"- {checked:,} inputs compared with `tflite_micro`, {wrong:,} mismatches")
    return "\n".join(lines) + "\n"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    rule = ["---" if number < left else "---:" for number in range(len(heads))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rule, *rows))


if __name__ == "__main__":
    sys.exit(main())

"""The `vp` program: one thin module per command.

A command's module imports what it needs inside its function, so that `vp classify` does not load
TensorFlow and `vp --help` loads nothing.
"""

from __future__ import annotations

import importlib
import io
import sys

import typer

from variant_parallelism import __version__
from variant_parallelism.errors import VpError

COMMANDS = {
    "train": "Train the variants of a family.",
    "quantize": "Turn trained variants into int8 models and measure them.",
    "compile": "Compile an int8 .tflite model into plain C.",
    "bench": "Measure a model on an emulated board.",
    "bench-gateway": "Measure the gateway with virtual nodes.",
    "build": "Build the firmware images of a fleet.",
    "emulate": "Boot a fleet's emulated boards and keep them running.",
    "flash": "Program boards and wait until their nodes answer.",
    "gateway": "Run the gateway of a fleet.",
    "aggregate": "Combine the votes of several gateways, through a broker.",
    "classify": "Send images to a fleet and print its answers.",
    "trigger": "Have a fleet's boards capture, and print their answers.",
    "top": "Watch a running gateway's fleet in a terminal.",
    "demo": "Boot a fleet of emulated boards, stream images, kill boards.",
}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for _name, _help in COMMANDS.items():
    _module = importlib.import_module(f"variant_parallelism.cli.{_name.replace('-', '_')}")
    app.command(name=_name, help=_help)(_module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vp {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Variant Parallelism: several microcontrollers answer together."""


def main() -> None:
    """Entry point of `vp`."""
    run(app)


def run(program: typer.Typer) -> None:
    """Run a program; turns every VpError into one line on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A path may hold what the terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        program()
    except VpError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(1)

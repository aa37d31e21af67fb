"""The `vp` program: one thin module per command, imported only when the command runs."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup

from variant_parallelism import __version__
from variant_parallelism.errors import VpError

COMMANDS = {
    "train": "Train the variants of a family.",
    "quantize": "Turn trained variants into int8 models and measure them.",
    "compile": "Compile an int8 .tflite model into plain C.",
    "build": "Build the firmware images of a fleet.",
    "emulate": "Boot a fleet's emulated boards and keep them running.",
    "gateway": "Run the aggregator of a fleet.",
    "classify": "Send images to a fleet and print its answers.",
    "demo": "Boot a fleet of emulated boards, stream images, kill boards.",
}


class _LazyGroup(TyperGroup):
    """Lists every command but imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> Any:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"variant_parallelism.cli.{name}")
        app = typer.Typer(add_completion=False)
        app.command(name=name, help=COMMANDS[name])(module.command)
        return typer.main.get_command(app)


app = typer.Typer(cls=_LazyGroup, add_completion=False, no_args_is_help=True)


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
    """Entry point: turns every VpError into one line on stderr and exit status 1."""
    try:
        app()
    except VpError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

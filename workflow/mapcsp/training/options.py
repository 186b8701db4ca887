"""Options and limits that the training commands share, and how they end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from mapcsp.errors import UserError

FOLDER, FILE = click.Path(path_type=Path, file_okay=False), click.Path(path_type=Path, dir_okay=False)


def tables_option(name: str, help: str) -> Callable:
    """A required, repeatable option that names structure tables."""
    return click.option(name, multiple=True, required=True, type=FILE, help=help)


def folder_option(name: str, help: str) -> Callable:
    """A required option that names a folder."""
    return click.option(name, required=True, type=FOLDER, help=help)


def time_limit(minutes: float | None) -> Callable[[], bool] | None:
    """A question whether to go on that turns false after some minutes; None without a limit."""
    if minutes is None:
        return None
    end = time.monotonic() + 60 * minutes
    return lambda: time.monotonic() < end


def run_command(command: Callable[[], None]) -> None:
    """Run a command; a user's mistake or the end of the time given ends with one line and status 2."""
    try:
        command()
    except UserError as error:
        click.echo(f"mapcsp: error: {error}", err=True)
        sys.exit(2)

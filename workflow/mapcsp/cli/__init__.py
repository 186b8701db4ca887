"""The command `mapcsp`: one verb a task of the user, `mapcsp stage …` for the stages of the workflow, training, tools.

Nothing heavy is imported before a subcommand runs.
"""

from __future__ import annotations

import sys

import click

# Importing a module of commands registers them.
from mapcsp.cli import benchmark, stages, tools, training, user  # noqa: F401
from mapcsp.cli.root import THREAD_VARIABLES, cli
from mapcsp.errors import UserError

__all__ = ["THREAD_VARIABLES", "cli", "main"]

USERS_MISTAKE, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line: status 0 is fine; 2 a user's mistake, one line; 1 a bug, with its traceback."""
    try:
        cli(prog_name="mapcsp", standalone_mode=False)
    except UserError as error:
        _stop(str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "mapcsp"
        _stop(f"{error.format_message().rstrip('.')}; see `{command} --help`")
    except click.ClickException as error:
        _stop(error.format_message())
    except click.Abort:
        # What click makes of Ctrl-C.
        click.echo("mapcsp: stopped", err=True)
        sys.exit(INTERRUPTED)


def _stop(message: str) -> None:
    click.echo(f"mapcsp: error: {' '.join(message.split())}", err=True)
    sys.exit(USERS_MISTAKE)

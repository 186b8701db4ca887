"""The command `mapcsp` itself: its options, and its subcommands in sections."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

import mapcsp
from mapcsp.errors import UserError
from mapcsp.places import COMPILED, name_writable_places

# Libraries read these once, at import.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

PREDICTION, STAGES, TRAINING, TOOLS = SECTIONS = "Prediction", "Stages of the workflow", "Training", "Tools"


class InOrder(click.Group):
    """A group that lists its commands in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(self.commands)


class InSections(InOrder):
    """The top group, which lists its commands under the headings of `SECTIONS`."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.sections: dict[str, list[str]] = {section: [] for section in SECTIONS}

    def add(self, section: str, **keywords: Any) -> Callable[[Callable[..., Any]], Any]:
        """Decorator: like `click.Group.command`, under a heading."""

        def register(function: Callable[..., Any]) -> click.Command:
            command = self.command(**keywords)(function)
            self.sections[section].append(str(command.name))
            return command

        return register

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, section by section."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One table of commands a section."""
        width = max(map(len, self.commands))
        for section, names in filter(lambda item: item[1], self.sections.items()):
            with formatter.section(section):
                rows = [(name.ljust(width), self.commands[name].get_short_help_str(90)) for name in names]
                formatter.write_dl(rows)


@click.group(
    cls=InSections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(mapcsp.__version__)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Most threads of a numerical library.",
)
def cli(threads: int) -> None:
    """Crystal structures from formulas alone."""
    if not name_writable_places():
        raise UserError(
            f"compiled code can be kept nowhere: {COMPILED} is not set, and neither the home, nor the repository, nor "
            f"the run's folder, nor that of temporary files can be written; set {COMPILED} or TMPDIR to a folder that can"
        )
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))

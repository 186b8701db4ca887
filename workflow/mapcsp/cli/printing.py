"""Tables on a terminal and as CSV files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mapcsp.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def print_table(table: pd.DataFrame) -> None:
    """Numbers with as many digits as mean something, columns side by side."""
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    print_columns([_heading(name) for name in table.columns], rows)


# Names of columns say units; a heading on a terminal is shorter.
HEADINGS: dict[str, str] = {
    "space_group_symbol": "group",
    "formation_energy_ev_per_atom": "formation eV/atom",
    "energy_above_best_ev_per_atom": "above best eV/atom",
    "energy_ev_per_atom": "energy eV/atom",
    "volume_ang3_per_atom": "Å³/atom",
    "space_group_before": "group before",
    "space_group": "group",
    "max_force_ev_per_ang": "force eV/Å",
}


def _heading(column: str) -> str:
    name = HEADINGS.get(column, column)
    for ending, unit in (("_ang", " Å"), ("_deg", " °")):
        if name.endswith(ending):
            name = name.removesuffix(ending) + unit
    return name.replace("_", " ")


def _cell(value: object) -> str:
    import pandas as pd

    if pd.isna(value):  # type: ignore[call-overload]
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def print_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print text in columns: numbers to the right, words to the left."""
    columns = list(zip(headings, *rows))
    widths = [max(map(len, column)) for column in columns]
    left = [all(not _is_number(cell) for cell in column[1:]) for column in columns]
    align: list[Callable[[str, int], str]] = [str.ljust if text else str.rjust for text in left]
    for line in [headings, *rows]:
        cells = [put(cell, width) for put, cell, width in zip(align, line, widths)]
        click.echo("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip(" *"))
    except ValueError:
        return cell == "-"
    return True


def write_csv_file(table: pd.DataFrame, path: Path | None) -> None:
    """Write a table as CSV, if a path is given, and say so."""
    from mapcsp.store import write_csv

    if path is not None:
        rows = table.astype(object).where(table.notna(), None).itertuples(index=False)
        with writing(path):
            write_csv(path, list(table.columns), rows)
        click.echo(f"Written to {near(path)}", err=True)


def say(note: str) -> None:
    """Tell the user, beside the output, how something was understood."""
    click.echo(f"note: {note}", err=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about an output that cannot be written into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); give another --out") from None


def near(path: Path) -> str:
    """A path as the user would write it from where they are."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)

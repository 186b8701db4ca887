"""Formulas and settings given by hand: checked as strictly as those of a list and of a config file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mapcsp.errors import UserError
from mapcsp.formulas.columns import COLUMNS
from mapcsp.formulas.entries import EntryBuilder
from mapcsp.formulas.intake import CheckedList, check_formula_list
from mapcsp.formulas.rows import Row
from mapcsp.formulas.wording import RowError
from mapcsp.records import FormulaEntry
from mapcsp.settings import IntakeSettings, Settings, parse_settings

SettingsLike = Settings | Mapping[str, Any] | None


def as_settings(settings: SettingsLike) -> Settings:
    """Settings of a call: the defaults, with changes such as `{"ranking": {"top_k": 10}}`.

    Raises UserError for an unknown key or a value out of bounds.
    """
    return settings if isinstance(settings, Settings) else parse_settings(dict(settings or {}))


def formula_entries(
    formulas: str | Iterable[str],
    z: int | None = None,
    space_group: int | str | None = None,
    settings: IntakeSettings | None = None,
    content: bool | None = None,
) -> list[FormulaEntry]:
    """Check formulas given by hand.

    formulas: one or several, such as `SrTiO3`, or `Ti2O4` as the content of a primitive cell. z, space_group, content: for
    all of them, z as formula units in the primitive cell, the space group by number or symbol, content whether they are
    contents of cells (None: as usual). Raises UserError, naming the formula, for the first that cannot be used.
    """
    builder = EntryBuilder(settings or IntakeSettings())
    entries = []
    for row in formula_rows(formulas, z, space_group, content):
        try:
            entries.append(builder.build(row))
        except RowError as error:
            raise UserError(f"formula {row.line}: {_by_hand(str(error))}") from None
    if not entries:
        raise UserError("no formula was given; give at least one, such as NaCl")
    return entries


def formula_rows(
    formulas: str | Iterable[str], z: int | None, space_group: int | str | None, content: bool | None
) -> list[Row]:
    """Formulas given by hand as rows of a list, one a formula."""
    several = [formulas] if isinstance(formulas, str) else list(formulas)
    says = "" if content is None else "true" if content else "false"
    return [
        Row(number, formula, formula, z=_text(z), space_group=_text(space_group), content=says)
        for number, formula in enumerate(several, start=1)
    ]


def list_entries(
    path: Path,
    z: int | None,
    space_group: int | str | None,
    settings: IntakeSettings,
    content: bool | None = None,
) -> CheckedList:
    """Read a list of formulas, which has its own columns z, space_group and content.

    Raises UserError if no row can be used, or if one of these columns is given.
    """
    if z is not None or space_group is not None or content is not None:
        raise UserError(
            "z, space group and content go with formulas given by hand; in a list they are columns"
        )
    checked = check_formula_list(path, settings)
    if not checked.accepted:
        first = checked.rejected[0]
        raise UserError(f"{path}: no row can be used; line {first.line}: {first.reason}")
    return checked


def list_text(rows: Iterable[Row]) -> str:
    """Write rows as the CSV list that the workflow reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return text.getvalue()


# Advice for a list speaks of its rows.
_WORDS = {
    "fix the row or delete it": "correct it or leave it out",
    "fill it in or delete the row": "leave it out",
    "delete the row": "leave it out",
    "asks for the same as line": "asks for the same as formula",
    "fix it or leave it empty": "correct it or leave it out",
    "delete one of them": "leave one of them out",
    "the column z says": "z is given as",
    "make them agree or empty one of them": "make them agree or give only one of them",
}


def _by_hand(reason: str) -> str:
    for in_list, by_hand in _WORDS.items():
        reason = reason.replace(in_list, by_hand)
    return reason


def _text(number: int | str | None) -> str:
    return "" if number is None else str(number)

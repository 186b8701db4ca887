"""Formulas and settings given by hand: checked as strictly as those of a list and of a config file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mapcsp.errors import UserError
from mapcsp.formulas.entries import EntryBuilder
from mapcsp.formulas.intake import read_formula_list
from mapcsp.formulas.parse import RowError
from mapcsp.formulas.rows import COLUMNS, Row
from mapcsp.records import FormulaEntry, RejectedRow
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
    space_group: int | None = None,
    settings: IntakeSettings | None = None,
) -> list[FormulaEntry]:
    """Check formulas given by hand.

    formulas: one or several, such as `SrTiO3`, or `Ti2O4` as the content of a primitive cell. z, space_group: for all of
    them, z as formula units in the primitive cell. Raises UserError, naming the formula, for the first that cannot be used.
    """
    builder = EntryBuilder(settings or IntakeSettings())
    entries = []
    for number, formula in enumerate(_several(formulas), start=1):
        row = Row(number, formula, formula, z=_text(z), space_group=_text(space_group))
        try:
            entries.append(builder.build(row))
        except RowError as error:
            raise UserError(f"formula {number}: {_by_hand(str(error))}") from None
    if not entries:
        raise UserError("no formula was given; give at least one, such as NaCl")
    return entries


def list_entries(
    path: Path, z: int | None, space_group: int | None, settings: IntakeSettings
) -> tuple[list[FormulaEntry], list[RejectedRow]]:
    """Read a list of formulas, which has its own columns z and space_group.

    Returns accepted entries and rejected rows. Raises UserError if no row can be used, or if z or space_group is given.
    """
    if z is not None or space_group is not None:
        raise UserError("z and space group go with formulas given by hand; in a list they are columns")
    accepted, rejected = read_formula_list(path, settings)
    if not accepted:
        first = rejected[0]
        raise UserError(f"{path}: no row can be used; line {first.line}: {first.reason}")
    return accepted, rejected


def formula_list_text(
    formulas: str | Iterable[str], z: int | None = None, space_group: int | None = None
) -> str:
    """Write formulas given by hand as the CSV list that the workflow reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([formula, "", _text(z), _text(space_group)] for formula in _several(formulas))
    return text.getvalue()


# Advice for a list speaks of its rows.
_WORDS = {
    "fix the row or delete it": "correct it or leave it out",
    "fill it in or delete the row": "leave it out",
    "delete the row": "leave it out",
    "asks for the same as line": "asks for the same as formula",
    "delete one of them": "leave one of them out",
    "the column z says": "z is given as",
    "make them agree or empty one of them": "make them agree or give only one of them",
}


def _by_hand(reason: str) -> str:
    for in_list, by_hand in _WORDS.items():
        reason = reason.replace(in_list, by_hand)
    return reason


def _several(formulas: str | Iterable[str]) -> list[str]:
    return [formulas] if isinstance(formulas, str) else list(formulas)


def _text(number: int | None) -> str:
    return "" if number is None else str(number)

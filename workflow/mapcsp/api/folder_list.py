"""The list of a run's folder: what earlier calls asked for stays in it when another formula is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapcsp.api.formulas import list_text
from mapcsp.errors import UserError
from mapcsp.formulas.columns import COLUMNS
from mapcsp.formulas.entries import EntryBuilder, request_of
from mapcsp.formulas.rows import Row, decode_list, read_rows
from mapcsp.formulas.wording import RowError, shown
from mapcsp.records import FormulaEntry
from mapcsp.settings import IntakeSettings
from mapcsp.store import read_csv


@dataclass(frozen=True)
class FolderList:
    """The list that a run's folder gets. asked: ids that this call asked for; kept: those of earlier calls beside them."""

    text: str
    asked: tuple[str, ...]
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def folder_list(
    folder: Path, list_name: str, given: Path | Sequence[Row], settings: IntakeSettings, fresh: bool
) -> FolderList:
    """Add formulas to the list of a folder.

    list_name: the list in it, which need not exist. given: a list, or rows made of formulas given by hand; both were
    checked before. A row of the same id, or that asks for the same, takes the place of an earlier one. fresh: forget the
    earlier ones. Raises UserError if the settings reject an earlier formula, whose results would be lost.
    """
    path = folder / list_name
    new = _rows(given) if isinstance(given, Path) else list(given)
    old = _rows(path) if path.is_file() and not fresh else []
    _require_all(folder, old, settings)
    merged, notes = _merge(folder, old, new, settings)
    entries = _accepted(merged, settings)
    asked = tuple(entry.id for place, entry in entries.items() if merged[place] in new)
    kept = tuple(entry.id for place, entry in entries.items() if merged[place] not in new)
    if not kept:
        text = decode_list(given.read_bytes()) if isinstance(given, Path) else list_text(new)
        return FolderList(text, asked, notes=notes)
    same = list_text(merged) == list_text(old)
    return FolderList(path.read_text(encoding="utf-8") if same else list_text(merged), asked, kept, notes)


def _merge(
    folder: Path, old: list[Row], new: list[Row], settings: IntakeSettings
) -> tuple[list[Row], tuple[str, ...]]:
    """Rows of both: new ones in the place of earlier ones of the same id or request, else behind them."""
    of_new = _accepted(new, settings)
    # An id that the intake makes gives way to another; one that the author gave does not.
    by_id = {entry.id.lower(): place for place, entry in of_new.items() if new[place].id}
    by_request = {request_of(entry): place for place, entry in of_new.items()}
    merged: list[Row] = []
    notes: list[str] = []
    placed: set[int] = set()
    for place, entry in _accepted(old, settings).items():
        same_id, same_request = by_id.get(entry.id.lower()), by_request.get(request_of(entry))
        if same_id is not None and same_id != same_request:
            notes.append(
                f"{folder}: {shown(entry.id)} was {entry.formula} and is {of_new[same_id].formula} from now on"
            )
        for successor in (same_request, same_id):
            if successor is not None and successor not in placed:
                placed.add(successor)
                merged.append(new[successor])
        if same_id is None and same_request is None:
            merged.append(old[place])
    return [*merged, *(row for place, row in enumerate(new) if place not in placed)], tuple(notes)


def _require_all(folder: Path, old: list[Row], settings: IntakeSettings) -> None:
    """Raise UserError for a formula with results in the folder that the settings do not allow any more."""
    accepted = folder / "results/intake/accepted.csv"
    had_results = {row["as_given"] for row in read_csv(accepted)} if accepted.is_file() else set()
    builder = EntryBuilder(settings)
    for row in old:
        try:
            builder.build(row)
        except RowError as error:
            if row.formula in had_results:
                raise UserError(
                    f"{folder} holds {shown(row.formula)} of an earlier call, which these settings reject ({error}), so "
                    "that its results would be lost; repeat its settings, give another --out, or --replace to start anew"
                ) from None


def _accepted(rows: Sequence[Row], settings: IntakeSettings) -> dict[int, FormulaEntry]:
    """Entries of the rows that can be used, by their place; the intake says of the others why they cannot."""
    builder = EntryBuilder(settings)
    found = {}
    for place, row in enumerate(rows):
        try:
            found[place] = builder.build(row)
        except RowError:
            continue
    return found


def _rows(path: Path) -> list[Row]:
    """Rows of a list that are rows at all, by their columns alone."""
    rows = [row for row in read_rows(path).rows if isinstance(row, Row)]
    return [
        Row(number, "", **{c: getattr(row, c) for c in COLUMNS}) for number, row in enumerate(rows, start=1)
    ]

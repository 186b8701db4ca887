"""The intake: a formula list in; one file for each accepted formula, and rejected rows with reasons, out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

from mapcsp.errors import UserError
from mapcsp.formulas.cell_limits import of_conventional
from mapcsp.formulas.entries import EntryBuilder
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.rows import read_rows
from mapcsp.formulas.wording import RowError, printable
from mapcsp.provenance import value_hash, versions
from mapcsp.records import FormulaEntry, RejectedRow
from mapcsp.settings import IntakeSettings, read_section
from mapcsp.store import read_csv, shard, write_json, write_records, write_text


@dataclass(frozen=True)
class CheckedList:
    """A formula list after the intake. notes: sentences on columns that are not read and on how formulas are."""

    accepted: tuple[FormulaEntry, ...]
    rejected: tuple[RejectedRow, ...]
    notes: tuple[str, ...]


def read_formula_list(path: Path, settings: IntakeSettings) -> tuple[list[FormulaEntry], list[RejectedRow]]:
    """Accepted and rejected rows of `check_formula_list`."""
    checked = check_formula_list(path, settings)
    return list(checked.accepted), list(checked.rejected)


def check_formula_list(path: Path, settings: IntakeSettings) -> CheckedList:
    """Read and check a formula list: one formula a line, or a table with a column `formula` and others of `COLUMNS`.

    A formula that is the content of a cell (`Ti2O4`) fixes z, the formula units in the primitive cell, and so does the
    column `z`; else every z up to `max_atoms` is allowed, of those that the space group, if given, can hold. Each row that
    is not blank or a comment comes back once, accepted or rejected, in the order of the list.
    Raises UserError if the file cannot be read as such a list or has no rows.
    """
    builder = EntryBuilder(settings)
    accepted: list[FormulaEntry] = []
    rejected: list[RejectedRow] = []
    unsaid: list[FormulaEntry] = []
    # All of them first: a list that is too long is refused before the slow part.
    found = read_rows(path)
    for row in found.rows:
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            accepted.append(entry := builder.build(row))
            if not row.content:
                unsaid.append(entry)
        except RowError as error:
            rejected.append(RejectedRow(row.line, row.text, str(error)))
    if not accepted and not rejected:
        raise UserError(f"{path} has no formula; write one a line, or CSV with a column `formula`")
    return CheckedList(tuple(accepted), tuple(rejected), (*found.notes, *reading_notes(unsaid)))


def reading_notes(entries: Iterable[FormulaEntry]) -> tuple[str, ...]:
    """How formulas were read that could have been meant as the content of a cell or as a formula, and each z that could have
    been meant for the conventional cell; a sentence a reading.

    entries: of which the reading was left open.
    """
    entries = list(entries)
    doubtful = [entry for entry in entries if gcd(*parse_formula(entry.as_given).values()) > 1]
    contents = [entry for entry in doubtful if entry.read_as == "content"]
    formulas = [entry for entry in doubtful if entry.read_as == "formula"]
    notes = []
    if contents:
        units = [f"{printable(e.as_given, 40)} ({e.z_allowed[0]} {e.formula})" for e in contents]
        notes.append(f"read as the content of a cell, which fixes z: {_some(units)}; {ADVICE['content']}")
    if formulas:
        units = [f"{printable(e.as_given, 40)} (z counts {e.formula})" for e in formulas]
        notes.append(f"read as a formula: {_some(units)}; {ADVICE['formula']}")
    counted = [
        f"{printable(e.as_given, 40)}{meant}"
        for e in entries
        if e.z_given
        and (meant := of_conventional(e.z_allowed[0], e.space_group, tuple(n for _, n in e.amounts)))
    ]
    if counted:
        notes.append(f"z counts formula units in the primitive cell: {_some(counted)}")
    return tuple(notes)


# What the author does who meant the other reading.
ADVICE = {
    "content": "for a formula say --formula-unit, or `false` in the column `content` of a list",
    "formula": "for the content of a cell say --content, or `true` in the column `content` of a list",
}


def _some(texts: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


def run_intake(formulas: Path, settings_file: Path, output_dir: Path, earlier: Path | None = None) -> None:
    """Write what the later stages need of a formula list; print a line `note: …` for all that could be mistaken.

    earlier: ranking.csv of a run before; its formulas that are no longer asked for are named.

    Files in `output_dir`: entries/<shard>/<id>.jsonl for each accepted formula, accepted.csv, rejected.csv and index.json
    (ids in the list's order). An entry's file depends on its own row and the settings alone.
    Raises UserError, one line, if no row can be used.
    """
    settings = read_section(settings_file, IntakeSettings)
    checked = check_formula_list(formulas, settings)
    accepted, rejected = checked.accepted, checked.rejected
    if not accepted:
        first = rejected[0]
        rows = "its only row cannot" if len(rejected) == 1 else f"none of its {len(rejected)} rows can"
        raise UserError(f"{formulas}: {rows} be used; line {first.line}: {first.reason}")
    provenance = {"settings": value_hash(settings.model_dump(mode="json")), "versions": versions(("smact",))}
    for entry in accepted:
        write_records(
            entry_path(output_dir, entry.id), FormulaEntry, [replace(entry, line=None)], **provenance
        )
    write_text(
        output_dir / "accepted.csv", _csv(ACCEPTED_COLUMNS, (_accepted_row(entry) for entry in accepted))
    )
    write_text(
        output_dir / "rejected.csv", _csv(REJECTED_COLUMNS, ((r.line, r.content, r.reason) for r in rejected))
    )
    for note in (*checked.notes, *_left_out(earlier, {entry.id for entry in accepted})):
        print(f"note: {formulas}: {note}")
    write_json(output_dir / "index.json", {"ids": [entry.id for entry in accepted]})


def _left_out(earlier: Path | None, ids: set[str]) -> tuple[str, ...]:
    """A sentence on formulas with structures that this list would lose."""
    if earlier is None or not earlier.is_file():
        return ()
    gone = [row["id"] for row in read_csv(earlier) if row["id"] not in ids]
    if not gone:
        return ()
    return (
        f"{_some(list(dict.fromkeys(gone)))} of an earlier run is not asked for any more, and its structures go; to keep "
        "them, put the row back or give another --directory",
    )


def entry_path(output_dir: Path, identifier: str) -> Path:
    """File of one entry in the folder that `run_intake` wrote."""
    return output_dir / "entries" / shard(identifier) / f"{identifier}.jsonl"


ACCEPTED_COLUMNS = (
    "line",
    "id",
    "formula",
    "as_given",
    "read_as",
    "z_allowed",
    "z_given",
    "space_group",
    "charge_neutral",
    "electronegativity_balanced",
)
REJECTED_COLUMNS = ("line", "content", "reason")


def _accepted_row(entry: FormulaEntry) -> tuple[Any, ...]:
    return tuple(_cell(getattr(entry, column)) for column in ACCEPTED_COLUMNS)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _csv(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()

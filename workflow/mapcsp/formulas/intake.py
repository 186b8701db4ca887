"""The intake: a formula list in; one file for each accepted formula, and rejected rows with reasons, out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mapcsp.errors import UserError
from mapcsp.formulas.entries import EntryBuilder
from mapcsp.formulas.parse import RowError
from mapcsp.formulas.rows import read_rows
from mapcsp.provenance import value_hash, versions
from mapcsp.records import FormulaEntry, RejectedRow
from mapcsp.settings import IntakeSettings, read_section
from mapcsp.store import shard, write_json, write_records, write_text


def read_formula_list(path: Path, settings: IntakeSettings) -> tuple[list[FormulaEntry], list[RejectedRow]]:
    """Read and check a formula list: one formula a line, or CSV with `formula` and optional `id`, `z`, `space_group`.

    A formula that is the content of a cell (`Ti2O4`) fixes z, the formula units in the primitive cell, and so does the
    column `z`; else every z up to `max_atoms` is allowed, of those that the space group, if given, can hold. Each row that
    is not blank or a comment comes back once, accepted or rejected, in the order of the list.
    Raises UserError if the file cannot be read as such a list or has no rows.
    """
    builder = EntryBuilder(settings)
    accepted: list[FormulaEntry] = []
    rejected: list[RejectedRow] = []
    # All of them first: a list that is too long is refused before the slow part.
    for row in list(read_rows(path)):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            accepted.append(builder.build(row))
        except RowError as error:
            rejected.append(RejectedRow(row.line, row.content, str(error)))
    if not accepted and not rejected:
        raise UserError(f"{path} has no formula; write one a line, or CSV with a column `formula`")
    return accepted, rejected


def run_intake(formulas: Path, settings_file: Path, output_dir: Path) -> None:
    """Write what the later stages need of a formula list.

    Files in `output_dir`: entries/<shard>/<id>.jsonl for each accepted formula, accepted.csv, rejected.csv and index.json
    (ids in the list's order). An entry's file depends on its own row and the settings alone.
    Raises UserError, one line, if no row can be used.
    """
    settings = read_section(settings_file, IntakeSettings)
    accepted, rejected = read_formula_list(formulas, settings)
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
    write_json(output_dir / "index.json", {"ids": [entry.id for entry in accepted]})


def entry_path(output_dir: Path, identifier: str) -> Path:
    """File of one entry in the folder that `run_intake` wrote."""
    return output_dir / "entries" / shard(identifier) / f"{identifier}.jsonl"


ACCEPTED_COLUMNS = (
    "line",
    "id",
    "formula",
    "as_given",
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

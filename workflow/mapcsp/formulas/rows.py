"""Reads the rows of a formula list: a CSV file with a header line, or a plain list with one formula a line.

A row is one line of the file, so that a broken quote spoils one row and line numbers stay true.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mapcsp.errors import UserError
from mapcsp.formulas.parse import RowError, printable, shown
from mapcsp.records import RejectedRow

COLUMNS = ("formula", "id", "z", "space_group")
DELIMITERS = (",", ";", "\t")
MAX_LINE_CHARACTERS = 10_000
# One record file a formula: beyond this many, the folders that hold them and the table in memory grow out of
# hand.
MAX_ROWS = 200_000
CONTENT_CHARACTERS = 200


@dataclass(frozen=True)
class Row:
    """One row as text; a column that the list does not have, or leaves empty, is the empty string."""

    line: int
    content: str
    formula: str = ""
    id: str = ""
    z: str = ""
    space_group: str = ""


@dataclass(frozen=True)
class Layout:
    """How lines split into columns. columns: of the header, empty for a plain list."""

    delimiter: str
    columns: tuple[str, ...]


def read_rows(path: Path) -> Iterator[Row | RejectedRow]:
    """Yield each row of the list; blank lines and lines that begin with `#` are skipped.

    Raises UserError if the file cannot be read as text, has an unknown column, or is longer than MAX_ROWS.
    """
    layout: Layout | None = None
    row: Row | RejectedRow | None
    count = 0
    with _open(path) as handle:
        for line, text, n_characters in _lines(handle):
            if n_characters <= MAX_LINE_CHARACTERS and (not text.strip() or text.lstrip().startswith("#")):
                continue
            try:
                _check_text(text, n_characters)
                if layout is None:
                    layout = _detect_layout(path, text)
                    if layout.columns:
                        continue
                row = _split(line, text, layout)
            except RowError as error:
                row = RejectedRow(line, content(text, n_characters), str(error))
            if row is None:
                continue
            count += 1
            if count > MAX_ROWS:
                raise UserError(
                    f"{path} has more than {MAX_ROWS:,} rows; split it into several lists and run each"
                )
            yield row


def content(text: str, n_characters: int | None = None) -> str:
    """A line as a table of rejected rows shows it: cut, and escaped where it has no glyph."""
    cut = printable(text.strip()[:CONTENT_CHARACTERS], CONTENT_CHARACTERS)
    total = n_characters if n_characters is not None else len(text)
    return cut if total <= CONTENT_CHARACTERS else f"{cut}… ({total} characters)"


def _open(path: Path) -> TextIO:
    try:
        if not path.is_file():
            raise UserError(
                f"the formula list {path} does not exist or is not a file; see `formulas` in config.yaml"
            )
        with open(path, "rb") as binary:
            start = binary.read(4)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{path} is UTF-16 text; save it as UTF-8 (CSV UTF-8 in spreadsheets)")
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
            raise UserError(f"{path} is a spreadsheet or archive, expected text; save it as CSV UTF-8")
        # Broken bytes become lone surrogates, which `_check_text` finds and rejects with their row.
        return open(path, encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:
        raise UserError(f"the formula list {path} cannot be read ({error})") from None


def _lines(handle: TextIO) -> Iterator[tuple[int, str, int]]:
    """Yield number, text and length of each line; the text is cut above MAX_LINE_CHARACTERS."""
    number = 0
    while text := handle.readline(MAX_LINE_CHARACTERS + 2):
        number += 1
        length = len(text)
        last = text
        while not last.endswith("\n") and (last := handle.readline(MAX_LINE_CHARACTERS)):
            length += len(last)
        yield number, text.removesuffix("\n"), length - last.endswith("\n")


def _check_text(text: str, n_characters: int) -> None:
    if n_characters > MAX_LINE_CHARACTERS:
        raise RowError(
            f"the row has {n_characters} characters, expected at most {MAX_LINE_CHARACTERS}; delete it"
        )
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise RowError("the row is not UTF-8 text; save the list as UTF-8 or type the row again")


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise RowError(f"the row is not CSV ({error}); fix its quotes or delete it") from None


def _detect_layout(path: Path, text: str) -> Layout:
    """Decide from the first row whether the list has a header, and which character separates its columns."""
    for delimiter in DELIMITERS:
        names = tuple(_column_name(cell) for cell in _cells(text, delimiter))
        named = [name for name in names if name]
        if "formula" not in named:
            continue
        unknown = [name for name in named if name not in COLUMNS]
        if unknown or len(set(named)) < len(named):
            what = f"unknown column {shown(unknown[0])}" if unknown else "a column twice"
            raise UserError(
                f"{path}: the header has {what}, expected {', '.join(COLUMNS)}, each at most once; fix it"
            )
        return Layout(delimiter, names)
    names = tuple(_column_name(cell) for cell in _cells(text, ","))
    if set(names) & set(COLUMNS):
        raise UserError(
            f"{path}: the header has no column `formula`, expected {', '.join(COLUMNS)}; name that column"
        )
    return Layout(",", ())


def _column_name(cell: str) -> str:
    name = cell.lower().replace(" ", "_").replace("-", "_")
    return "space_group" if name == "spacegroup" else name


def _split(line: int, text: str, layout: Layout) -> Row | None:
    """Give the row's columns; None if all of them are empty."""
    cells = _cells(text, layout.delimiter)
    if not any(cells):
        return None
    extra = [cell for cell in cells[max(len(layout.columns), 1) :] if cell]
    if extra and not layout.columns:
        raise RowError(
            f"the row has {len(cells)} columns, but the list has no header; begin the file with the line "
            f"'{','.join(COLUMNS)}', or give one formula a line"
        )
    if extra:
        raise RowError(
            f"the row has {len(cells)} columns, expected {len(layout.columns)} as in the header; fix the row"
        )
    named = dict(zip(layout.columns or ("formula",), cells))
    return Row(line, content(text), **{name: cell for name, cell in named.items() if name})

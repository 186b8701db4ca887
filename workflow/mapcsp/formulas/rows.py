"""Reads the rows of a formula list: a table with a header line, or a plain list with one formula a line.

A row is one line of the file, so that a broken quote spoils one row and line numbers stay true.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from mapcsp.errors import UserError
from mapcsp.formulas.columns import COLUMNS, Header, columns_note, read_header, role_of, without_formula
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.wording import RowError, printable
from mapcsp.records import RejectedRow

DELIMITERS = (",", ";", "\t", "|")
MAX_LINE_CHARACTERS = 10_000
# One record file a formula: beyond this many, the folders that hold them and the table in memory grow out of
# hand.
MAX_ROWS = 200_000
CONTENT_CHARACTERS = 200
# A title or a remark may stand above the header.
MAX_LINES_ABOVE = 10
# What a file is that begins so, and what to do; formula lists are text.
FORMATS = {
    b"PK\x03\x04": "a spreadsheet or archive, expected text; save it as CSV UTF-8",
    b"\x1f\x8b": "a compressed file, expected text; unpack it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or archive, expected text; save it as CSV UTF-8",
    b"PAR1": "a parquet table, expected text; write it as CSV (in pandas: to_csv)",
    b"%PDF": "a PDF file, expected text; copy the formulas into a CSV file",
    b"\x89HDF": "an HDF5 file, expected text; write it as CSV",
    b"\x80\x04\x95": "a pickle, expected text; write it as CSV (in pandas: to_csv)",
    b"SQLite": "a database, expected text; export it as CSV",
}
# Texts that are no tables, by their first characters.
TEXT_FORMATS = (
    (
        re.compile(r"\s*(?:\[\s*(?:[\[\"'{]|$)|\{\s*[\"'])"),
        "JSON, expected a table; write it as CSV, or one formula a line",
    ),
    (re.compile(r"data_\S*\s*$"), "a CIF file, expected formulas; `mapcsp relax` takes crystals"),
    (
        re.compile(r"\s*<(?:!DOCTYPE|html|\?xml)", re.IGNORECASE),
        "HTML or XML, expected a table; save it as CSV",
    ),
)
# What spreadsheets and pandas write for nothing, and spreadsheets for an error: no comments.
NOTHING = frozenset(("nan", "NaN", "None", "none", "null", "NULL", "N/A", "n/a", "NA", "<NA>", "-", "\u2013"))
SPREADSHEET_ERROR = re.compile(r"#(?:N/A|NAME\?|REF!|VALUE!|DIV/0!|NUM!|NULL!)")
LIST_MARK = re.compile(r"(?:[-*\u2022\u00b7\u2013]|[0-9]{1,4}[.)])\s+(?=[A-Z(\[])")
# A cell in quotes, such as a whole structure in a database's table, may go over so many lines.
MAX_LINES_OF_ROW = 1000


@dataclass(frozen=True)
class Row:
    """One row as text; a column that the list does not have, or leaves empty, is the empty string."""

    line: int
    text: str
    formula: str = ""
    id: str = ""
    z: str = ""
    space_group: str = ""
    content: str = ""


@dataclass(frozen=True)
class Layout:
    """How lines split into columns; delimiter `None`: at blanks. header: None for a plain list of formulas."""

    delimiter: str | None
    header: Header | None = None


@dataclass(frozen=True)
class Line:
    """A line of the file; text is cut above MAX_LINE_CHARACTERS."""

    number: int
    text: str
    n_characters: int


@dataclass(frozen=True)
class RowsOfList:
    """The rows of a list, and what is to be said of the list as a whole."""

    rows: tuple[Row | RejectedRow, ...]
    notes: tuple[str, ...] = ()


def read_rows(path: Path) -> RowsOfList:
    """Read each row of the list; blank lines and lines that begin with `#` are skipped.

    Raises UserError if the file cannot be read as text, names no column of formulas, or is longer than MAX_ROWS.
    """
    with _open(path) as handle:
        lines, delimiter, remark = _content_lines(path, handle)
    lines = _at_tabs(lines)
    for pattern, kind in TEXT_FORMATS:
        if lines and pattern.match(lines[0].text):
            raise UserError(f"{path} is {kind}")
    layout, first = _find_layout(path, lines, delimiter, remark)
    rows: list[Row | RejectedRow] = []
    following = 0
    for place, line in enumerate(lines):
        if place == first or place < following:
            continue
        if place > first and layout.header:
            line, following = _whole_row(lines, place, layout.delimiter, len(layout.header.names))
        try:
            _check_text(line)
            if place < first:
                raise RowError(
                    "the row stands above the header and is not read; begin it with '#' or delete it"
                )
            row = _split(line, layout)
            if row is not None:
                rows.append(row)
        except RowError as error:
            rows.append(RejectedRow(line.number, content(line.text, line.n_characters), str(error)))
    note = columns_note(layout.header) if layout.header else ""
    return RowsOfList(tuple(rows), (note,) if note else ())


def content(text: str, n_characters: int | None = None) -> str:
    """A line as a table of rejected rows shows it: cut, and escaped where it has no glyph."""
    cut = printable(text.strip()[:CONTENT_CHARACTERS], CONTENT_CHARACTERS)
    total = n_characters if n_characters is not None else len(text)
    return cut if total <= CONTENT_CHARACTERS else f"{cut}… ({total} characters)"


def decode_list(data: bytes) -> str:
    """Text of a list: UTF-8, or UTF-16 and UTF-32 with their mark, as spreadsheets write them.

    Broken bytes become lone surrogates or U+FFFD, which the reader finds and rejects with their row.
    """
    encoding, errors = _encoding(data[:4])
    return data.decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")


def _open(path: Path) -> TextIO:
    try:
        if not path.is_file():
            raise UserError(
                f"the formula list {path} does not exist or is not a file; see `formulas` in config.yaml"
            )
        with open(path, "rb") as binary:
            start = binary.read(8)
        for mark, kind in FORMATS.items():
            if start.startswith(mark):
                raise UserError(f"{path} is {kind}")
        encoding, errors = _encoding(start)
        if encoding == "utf-8-sig" and b"\0" in start[:4]:
            raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 (CSV UTF-8 in spreadsheets)")
        return open(path, encoding=encoding, errors=errors)
    except (OSError, ValueError) as error:
        raise UserError(f"the formula list {path} cannot be read ({error})") from None


def _encoding(start: bytes) -> tuple[str, str]:
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32", "replace"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", "replace"
    return "utf-8-sig", "surrogateescape"


def _content_lines(path: Path, handle: TextIO) -> tuple[list[Line], str | None, str]:
    """Lines that are not blank or comments, the delimiter that a line `sep=;` names, and the first comment."""
    lines: list[Line] = []
    delimiter, remark = None, ""
    for line in _lines(handle):
        text = line.text.strip()
        if line.n_characters <= MAX_LINE_CHARACTERS:
            named = (
                re.fullmatch(r'"?sep=([,;|:\t])"?', line.text.strip(" \r"), re.IGNORECASE)
                if not lines
                else None
            )
            if named:
                delimiter = named[1]
                continue
            if text.startswith("#"):
                remark = remark or text.lstrip("# ")
            comment = text.startswith("#") and not SPREADSHEET_ERROR.match(text)
            if not text or comment or re.fullmatch(r"\|?[\s:|-]*-{3}[\s:|-]*", text):
                continue
        lines.append(line)
        if len(lines) > MAX_ROWS + 1:
            break
    if len(lines) > MAX_ROWS + 1:
        raise UserError(f"{path} has more than {MAX_ROWS:,} rows; split it into several lists and run each")
    return lines, delimiter, remark


def _lines(handle: TextIO) -> Iterator[Line]:
    number = 0
    while text := handle.readline(MAX_LINE_CHARACTERS + 2):
        number += 1
        length = len(text)
        last = text
        while not last.endswith("\n") and (last := handle.readline(MAX_LINE_CHARACTERS)):
            length += len(last)
        yield Line(number, text.removesuffix("\n"), length - last.endswith("\n"))


def _check_text(line: Line) -> None:
    if line.n_characters > MAX_LINE_CHARACTERS:
        raise RowError(
            f"the row has {line.n_characters} characters, expected at most {MAX_LINE_CHARACTERS}; delete it"
        )
    if any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in line.text):
        raise RowError("the row is not UTF-8 text; save the list as UTF-8 or type the row again")


def _cells(text: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return text.split()
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise RowError(
            f"the row is not CSV ({printable(str(error), 100)}); fix its quotes or delete it"
        ) from None


def _find_layout(path: Path, lines: list[Line], delimiter: str | None, remark: str) -> tuple[Layout, int]:
    """How lines split, and the place of the header among them: -1 for none.

    A header may stand below a title, or behind the mark of a comment as numpy writes it. Raises UserError for a header
    that names no column of formulas.
    """
    for place, line in enumerate(lines[:MAX_LINES_ABOVE]):
        if place and _is_formula(lines[0].text.split(delimiter or ",")[0]):
            break
        if header := _header(path, line.text, delimiter):
            return header, place
    if not lines or _is_formula(lines[0].text):
        return Layout(delimiter or ","), -1
    if (named := _header(path, remark, delimiter)) and named.header and len(named.header.names) > 1:
        return named, -1
    for split in (delimiter,) if delimiter else DELIMITERS:
        cells = _try_cells(lines[0].text, split)
        below = _try_cells(lines[1].text, split) if len(lines) > 1 else []
        if len(cells) > 1 and _names_columns(cells, below):
            raise without_formula(path, cells)
    return Layout(delimiter or _delimiter_of(lines[0].text)), -1


def _header(path: Path, text: str, delimiter: str | None) -> Layout | None:
    usual = sorted(DELIMITERS, key=lambda d: -text.count(d))
    for split in (delimiter,) if delimiter else (*usual, None):
        cells = _try_cells(text, split)
        # At blanks, only a line of names alone is a header: a sentence may hold the word `formula`.
        if split is None and not (len(cells) > 1 and all(map(role_of, cells))):
            continue
        if header := read_header(path, cells):
            return Layout(split, header)
    return None


def _try_cells(text: str, delimiter: str | None) -> list[str]:
    try:
        return _cells(text, delimiter) if len(text) <= MAX_LINE_CHARACTERS else []
    except RowError:
        return []


def _at_tabs(lines: list[Line]) -> list[Line]:
    """A table as pandas prints it, with an index and columns apart by blanks, cut by tabs; any other as it is."""
    if len(lines) < 2 or lines[0].text[:2] != "  " or not re.match(r"[0-9]+ {2,}\S", lines[1].text):
        return lines
    return [replace(line, text=re.sub(" {2,}", "\t", line.text.rstrip())) for line in lines]


def _whole_row(lines: list[Line], place: int, delimiter: str | None, n_columns: int) -> tuple[Line, int]:
    """A row whose quoted cells go over several lines, as one line; and the place of the next row.

    A quote that never ends spoils its own line alone.
    """
    first = lines[place]
    if delimiter is None or first.text.count('"') % 2 == 0:
        return first, place + 1
    text = first.text
    for end in range(place + 1, min(place + MAX_LINES_OF_ROW, len(lines))):
        text += "\n" + lines[end].text
        if lines[end].text.count('"') % 2 == 1:
            try:
                (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
            except (csv.Error, ValueError):
                break
            if len(cells) == n_columns:
                # Of cells that are read, none has several lines.
                return Line(
                    first.number, " ".join(text.split("\n"))[:MAX_LINE_CHARACTERS], first.n_characters
                ), end + 1
            break
    return first, place + 1


def _names_columns(cells: list[str], below: list[str]) -> bool:
    """Whether cells are names rather than data: a known name among them, or no number and no formula.

    A name such as `N` or `V` is a formula, too; it is data if the cell below it is one as well.
    """
    if any(map(role_of, cells)):
        return True
    alike = [place for place, cell in enumerate(cells) if _is_formula(cell)]
    data = any(len(cells[p]) > 2 or p < len(below) and _is_formula(below[p]) for p in alike)
    return all(re.match(r"[A-Za-z_]", cell) for cell in cells if cell) and not data


def _is_formula(text: str) -> bool:
    try:
        return bool(parse_formula(text))
    except RowError:
        return False


def _delimiter_of(text: str) -> str:
    """The delimiter of a table without header: the one that cuts its first line."""
    return next((d for d in DELIMITERS if len([c for c in _try_cells(text, d) if c]) > 1), ",")


def _split(line: Line, layout: Layout) -> Row | None:
    """Give the row's columns; None if all of them are empty."""
    cells = _cells(line.text, layout.delimiter)
    if not any(cells):
        return None
    shown_row = content(line.text)
    if layout.header is None:
        formula = LIST_MARK.sub("", cells[0], count=1) if LIST_MARK.match(cells[0]) else cells[0]
        if any(cells[1:]):
            # A spreadsheet's decimal commas are no columns.
            formula = line.text.strip()
            if layout.delimiter != "," or not _is_formula(formula):
                raise RowError(
                    f"the row has {len(cells)} columns, but the list has no header; begin the file with the line "
                    f"'{','.join(COLUMNS[:4])}', or give one formula a line"
                )
        return Row(line.number, shown_row, formula)
    names, places = layout.header.names, layout.header.places
    if any(cells[len(names) :]):
        if len(names) == 1 and _is_formula(line.text):
            cells = [line.text.strip()]
        else:
            raise RowError(
                f"the row has {len(cells)} columns, expected {len(names)} as in the header; fix the row"
            )
    values = {role: cells[place] for role, place in places.items() if place < len(cells)}
    values = {role: "" if role != "formula" and value in NOTHING else value for role, value in values.items()}
    if layout.header.cell_contents and not values.get("content"):
        values["content"] = "true"
    return Row(line.number, shown_row, **values)

"""Record files: JSON lines with a header (kind, schema, provenance), one record a line, and a checksum at the end."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mapcsp.errors import StoreError
from mapcsp.store.files import atomic_path, rebuild_advice
from mapcsp.store.plain import from_plain, to_plain

SCHEMA_VERSION = 1
T = TypeVar("T")


def write_records(path: Path, kind: type[T], records: Iterable[T], **provenance: Any) -> None:
    """Write records of one kind; `provenance` (settings hash, seed, …) goes to the header.

    Raises StoreError if a number is not finite.
    """
    header = {"kind": kind.__name__, "schema": SCHEMA_VERSION, **provenance}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        text = json.dumps(header, sort_keys=True) + "\n"
        handle.write(text)
        checksum = zlib.crc32(text.encode())
        count = 0
        for record in records:
            try:
                text = json.dumps(to_plain(record), sort_keys=True, ensure_ascii=False) + "\n"
            except StoreError as error:
                raise StoreError(f"{path}: {kind.__name__} {count}: {error}") from None
            handle.write(text)
            checksum = zlib.crc32(text.encode(), checksum)
            count += 1
        # So that a truncated or altered file is noticed.
        handle.write(json.dumps({"crc32": f"{checksum:08x}", "end": count}) + "\n")


def read_records(path: Path, kind: type[T]) -> list[T]:
    """Read all records of one kind.

    Raises StoreError, naming the file, if it is missing, of another kind or version, truncated or does not fit.
    """
    lines = _lines(path)
    _header(path, lines, kind.__name__)
    _check_end(path, lines)
    records = []
    for number, line in enumerate(lines[1:-1], start=2):
        try:
            records.append(from_plain(kind, json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path} line {number}: not a {kind.__name__} ({error}); {rebuild_advice(path)}"
            ) from None
    return records


def _check_end(path: Path, lines: Sequence[str]) -> None:
    """Raise StoreError unless the last line counts the others and has their checksum."""
    try:
        end = json.loads(lines[-1]) if len(lines) > 1 else {}
        complete = end["end"] == len(lines) - 2
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise StoreError(
            f"{path} is truncated (its last line does not count its records); {rebuild_advice(path)}"
        )
    checksum = zlib.crc32("".join(f"{line}\n" for line in lines[:-1]).encode())
    # Files written before there was a checksum are told by their count alone.
    if end.get("crc32", f"{checksum:08x}") != f"{checksum:08x}":
        raise StoreError(f"{path} is corrupt (its checksum does not fit); {rebuild_advice(path)}")


def read_header(path: Path) -> dict[str, Any]:
    """Read the header alone: kind, schema and the provenance given at writing."""
    return _header(path, _lines(path, header_only=True), None)


def read_record(path: Path, kind: type[T]) -> T:
    """Read a file that holds exactly one record."""
    records = read_records(path, kind)
    if len(records) != 1:
        raise StoreError(f"{path} holds {len(records)} records, expected 1; {rebuild_advice(path)}")
    return records[0]


def _lines(path: Path, header_only: bool = False) -> list[str]:
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.readline() if header_only else handle.read()
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path} is not UTF-8 text, so it is corrupt; {rebuild_advice(path)}") from None
    return text.removesuffix("\n").split("\n")


def _header(path: Path, lines: list[str], kind: str | None) -> dict[str, Any]:
    try:
        header = json.loads(lines[0])
        found = header["kind"], header["schema"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path} line 1 is not a record header, so the file is corrupt; {rebuild_advice(path)}"
        ) from None
    if kind is not None and found != (kind, SCHEMA_VERSION):
        raise StoreError(
            f"{path} holds {found[0]} of schema {found[1]}, expected {kind} of {SCHEMA_VERSION}; {rebuild_advice(path)}"
        )
    return header

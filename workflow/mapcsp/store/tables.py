"""Single JSON documents, and tables as CSV and parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mapcsp.errors import StoreError
from mapcsp.store.files import atomic_path, rebuild_advice, write_text
from mapcsp.store.plain import to_plain


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, sorted and indented."""
    write_text(path, json.dumps(to_plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document; raises StoreError, naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}); {rebuild_advice(path)}") from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV; None becomes an empty cell, floats keep ten significant digits.

    Raises StoreError for a number that is not finite and ValueError for a row of another length.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"{path}: a row has {len(row)} cells, expected {len(columns)}")
            plain = [to_plain(value) for value in row]
            writer.writerow(["" if v is None else f"{v:.10g}" if isinstance(v, float) else v for v in plain])
        handle.flush()
        os.fsync(handle.fileno())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV table as one mapping of column to text a row; raises StoreError if it does not exist."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as parquet; a column's type is that of its values, None stands for a missing one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [to_plain(row[i]) for row in rows] for i, name in enumerate(columns)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)

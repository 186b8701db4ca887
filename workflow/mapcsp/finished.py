"""Finished results, one small file each, that outlive their job: what a killed or repeated job need not redo."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from mapcsp.errors import StoreError
from mapcsp.store import read_header, read_record, shard, write_records

Record = TypeVar("Record")


class FinishedResults(Generic[Record]):
    """Records of one kind in a folder, by id and key (hash of input, settings and code).

    The folder belongs to no job: a result is found again whatever job it has moved to, and Snakemake, which deletes the
    output of a job before it runs the job again, does not know it. Each file is written whole, so that two jobs (one of
    them the orphan of a killed Snakemake) may write the same one. Without a folder nothing is kept or found.
    """

    def __init__(self, folder: Path | None, kind: type[Record]) -> None:
        self._folder = folder
        self._kind = kind

    def get(self, id: str, key: str) -> Record | None:
        """The result of an id, or None if it is not finished under this key."""
        path = self._path(id)
        if path is None or not path.exists():
            return None
        try:
            return read_record(path, self._kind) if read_header(path).get("key") == key else None
        except StoreError:  # damaged: it is made again
            return None

    def add(self, id: str, key: str, result: Record) -> None:
        """Keep a result, in the place of an older one of the same id."""
        path = self._path(id)
        if path is not None:
            write_records(path, self._kind, [result], key=key)

    def _path(self, id: str) -> Path | None:
        return None if self._folder is None else self._folder / shard(id) / f"{id}.jsonl"

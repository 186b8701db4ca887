"""Reads the two tables of the plan: which searches a reconstruction job holds, and which formulas a chunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapcsp.errors import StoreError
from mapcsp.store import read_json


@dataclass(frozen=True)
class Chunk:
    """Formulas that are pooled and relaxed in one job, and the reconstruction jobs that hold their searches."""

    formula_ids: tuple[str, ...]
    buckets: tuple[str, ...]


def bucket_files(plan_dir: Path, bucket: str) -> tuple[Path, ...]:
    """Task files of one reconstruction job; raises StoreError if the plan has no such job."""
    return tuple(plan_dir / file for file in _entry(plan_dir / "buckets.json", bucket))


def read_chunk(plan_dir: Path, chunk: str) -> Chunk:
    """Formulas of one pooling and relaxation job; raises StoreError if the plan has no such job."""
    entry = _entry(plan_dir / "chunks.json", chunk)
    return Chunk(tuple(entry["formulas"]), tuple(entry["buckets"]))


def chunk_names(plan_dir: Path) -> tuple[str, ...]:
    """All chunks, sorted."""
    return tuple(sorted(read_json(plan_dir / "chunks.json")))


def _entry(path: Path, name: str) -> Any:
    table = read_json(path)
    if name not in table:
        raise StoreError(
            f"{path} has no entry {name}; its {len(table)} entries are such as {next(iter(table), 'none')}"
        )
    return table[name]

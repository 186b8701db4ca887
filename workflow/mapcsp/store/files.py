"""Files as such: written whole or not at all, spread over sub-folders, and what to do about a damaged one."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapcsp.errors import StoreError

# What the machine, not the program, has to answer for.
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, delete it otherwise.

    Raises StoreError if the disk is full or must not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # safetensors lets its owner alone read a file; a run or a checkout may be shared.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise StoreError(
            f"{path} cannot be written ({error.strerror}); make room or give the right to write, then run snakemake again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)


def shard(identifier: str, n: int = 256) -> str:
    """Two hex digits from a stable hash of an id: the sub-folder that keeps any folder below 10,000 files."""
    return f"{zlib.crc32(identifier.encode()) % n:02x}"


# Stages whose folder is one output: Snakemake does not notice that a file in it is missing.
_FOLDER_STAGES = ("intake", "features", "symmetry", "maps", "plan")


def rebuild_advice(path: Path) -> str:
    """What a user does about a damaged file between stages: the end of an error message."""
    _, _, stage = path.as_posix().rpartition("results/")
    stage = stage.partition("/")[0]
    if stage in _FOLDER_STAGES:
        return f"run snakemake again with `--forcerun {stage}` to rebuild it"
    return "delete it and run snakemake again to rebuild it"

"""Finished results of a long job, in a side file that outlives the job: what a killed or repeated job need not redo."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO

from mapcsp.records import TaskResult
from mapcsp.store import SCHEMA_VERSION, from_plain, to_plain, write_text


def results_cache(output: Path) -> Path:
    """The side file of a job's output: `.cache/<name>` beside it.

    Snakemake deletes the output of a job before it runs the job again; it does not know this file.
    """
    return output.parent / ".cache" / output.name


class FinishedResults:
    """Results by key (hash of task, settings and code), appended and flushed to disk one by one.

    Used as a context manager. A line cut off by a kill is dropped. When the block ends well, results that were not
    asked for are deleted from the file, so that it does not grow with every change of the settings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, str] = {}
        self._kept: list[str] = []
        self._handle: IO[str] | None = None

    def __enter__(self) -> FinishedResults:
        self._lines = self._read()
        # Rewriting what was read cuts off a half line, after which nothing could be appended.
        write_text(self.path, self._text(list(self._lines)))
        self._handle = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._handle is not None
        self._handle.close()
        if kind is None:
            write_text(self.path, self._text(list(dict.fromkeys(self._kept))))

    def get(self, key: str) -> TaskResult | None:
        """The finished result of a key, or None."""
        line = self._lines.get(key)
        return None if line is None else from_plain(TaskResult, json.loads(line)["result"])

    def add(self, key: str, result: TaskResult) -> None:
        """Record a result; it is on the disk when this returns."""
        assert self._handle is not None
        line = json.dumps({"key": key, "result": to_plain(result)}, sort_keys=True, ensure_ascii=False)
        self._handle.write(line + "\n")
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._lines[key] = line

    def keep(self, key: str) -> None:
        """Say that a result belongs to this job and stays in the file."""
        self._kept.append(key)

    def _text(self, keys: list[str]) -> str:
        return "".join(line + "\n" for line in [self._header(), *(self._lines[k] for k in keys)])

    @staticmethod
    def _header() -> str:
        return json.dumps({"kind": "FinishedResults", "schema": SCHEMA_VERSION}, sort_keys=True)

    def _read(self) -> dict[str, str]:
        """Lines by key; nothing from a file of another version."""
        if not self.path.exists():
            return {}
        head, *lines = self.path.read_text(encoding="utf-8").split("\n")
        if head != self._header():
            return {}
        # The last piece is empty, or half a line.
        return {json.loads(line)["key"]: line for line in lines[:-1]}

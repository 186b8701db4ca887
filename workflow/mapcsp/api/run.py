"""`predict`: the whole workflow on formulas given by hand, in a folder of its own, run by Snakemake as a list would be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import mapcsp
from mapcsp.api.folder_list import FolderList, folder_list
from mapcsp.api.formulas import SettingsLike, as_settings, formula_entries, formula_rows, list_entries
from mapcsp.api.tables import Tabled
from mapcsp.errors import UserError
from mapcsp.formulas.intake import reading_notes
from mapcsp.formulas.rows import Row
from mapcsp.records import RejectedRow
from mapcsp.settings import Settings, parse_settings
from mapcsp.store import write_text

LIST_FILE, CONFIG_FILE, LOG_FILE = "formulas.csv", "config.yaml", "snakemake.log"
_STEPS = re.compile(r"^(\d+) of (\d+) steps")
_USER_ERROR = re.compile(r"^\s*mapcsp: error: (.+)$", re.MULTILINE)
_FAILED_LOG = re.compile(r"^\s*log: (\S.*?) \(check log file", re.MULTILINE)


class JobError(RuntimeError):
    """A job of the workflow failed, not by a user's mistake. tail: the end of its log."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        self.tail = "\n".join(text.splitlines()[-20:])


@dataclass(frozen=True, eq=False, repr=False)
class PredictionResults(Tabled):
    """The results of a run: `folder` holds `results/`, described in results/README.md.

    asked: ids of one call of `predict`, which the tables are limited to; None for all that the folder holds.
    rejected_rows: rows of the call's list that could not be used; None to read those of the folder's list.
    notes: what the call had to say, such as how formulas were read and which others the folder keeps.
    """

    folder: Path
    asked: tuple[str, ...] | None = None
    rejected_rows: tuple[RejectedRow, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """`ranking.csv`: one row a structure, best first for each formula."""
        return self._of_call(_read_table(self.folder / "results/ranking/ranking.csv"))

    @property
    def failed(self) -> pd.DataFrame:
        """Formulas without a structure, and why."""
        return self._of_call(_read_table(self.folder / "results/ranking/failed.csv"))

    @property
    def rejected(self) -> pd.DataFrame:
        """Rows of a list that could not be used, and why."""
        if self.rejected_rows is None:
            return _read_table(self.folder / "results/intake/rejected.csv")
        rows = [(row.line, row.content, row.reason) for row in self.rejected_rows]
        return pd.DataFrame(rows, columns=["line", "content", "reason"])

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "results/report/index.html"

    def _of_call(self, table: pd.DataFrame) -> pd.DataFrame:
        return table if self.asked is None else table[table["id"].isin(self.asked)].reset_index(drop=True)

    def structures(self, identifier: str) -> list:
        """The ranked structures of one formula as pymatgen Structures, best first.

        identifier: its id in the table. Raises UserError for one that is not there.
        """
        from pymatgen.core import Structure

        table = self.table
        rows = table[table["id"] == identifier].sort_values("rank")
        if rows.empty:
            raise UserError(
                f"{identifier!r} has no structure here; there are {', '.join(table['id'].unique())}"
            )
        return [Structure.from_file(str(self.folder / "results/ranking" / cif)) for cif in rows["cif"]]


def predict(
    formulas: str | Iterable[str] | Path,
    out: str | Path = "mapcsp-run",
    *,
    top: int | None = None,
    z: int | None = None,
    space_group: int | str | None = None,
    content: bool | None = None,
    cores: int | None = None,
    settings: SettingsLike = None,
    replace: bool = False,
    say: Callable[[str], None] | None = None,
) -> PredictionResults:
    """Predict, relax and rank structures of formulas, and write the report: the same workflow as for a list.

    formulas: one or several, or the Path of a list as described in README.md. out: folder of the run; run again there,
    nothing is done twice, and formulas added are all that is computed. Formulas of earlier calls stay in the folder, its
    table and its report, with the settings of the last call; `replace` forgets them. The tables of the result hold the
    formulas of this call. top: structures reported a formula (`ranking.top_k`). z, space_group, content: as in `symmetry`,
    for all formulas given by hand. cores: default all. say: is told the notes of the call before the work begins.
    Raises UserError for a formula, list or setting that cannot be used, and JobError, naming the log, if a job fails.
    """
    chosen = _with_top(as_settings(settings), top)
    folder = Path(out).absolute()
    found, rejected, notes = _checked_list(formulas, z, space_group, content, chosen, folder, replace)
    config = {**_with_whole_paths(chosen), "formulas": str(folder / LIST_FILE)}
    notes += _kept_notes(folder, found, config)
    if say is not None:
        for note in notes:
            say(note)
    _write_if_changed(folder / LIST_FILE, found.text)
    _write_if_changed(folder / CONFIG_FILE, yaml.safe_dump(config, sort_keys=False))
    _run_workflow(folder, cores or _all_cores())
    return PredictionResults(folder, found.asked, rejected, notes)


def snakefile() -> Path:
    """The workflow of the repository that this package lies in; raises UserError if it is not there."""
    path = Path(mapcsp.__file__).resolve().parents[2] / "Snakefile"
    if not path.exists():
        raise UserError(
            f"{path} does not exist; predict needs the repository, installed with `pip install -e .`"
        )
    return path


def _with_top(settings: Settings, top: int | None) -> Settings:
    if top is None:
        return settings
    plain = settings.model_dump(mode="json")
    return parse_settings({**plain, "ranking": {**plain["ranking"], "top_k": top}})


def _checked_list(
    formulas: str | Iterable[str] | Path,
    z: int | None,
    space_group: int | str | None,
    content: bool | None,
    settings: Settings,
    folder: Path,
    fresh: bool,
) -> tuple[FolderList, tuple[RejectedRow, ...], tuple[str, ...]]:
    """The list that the run's folder gets, rejected rows and notes; mistakes are found here, before Snakemake starts."""
    given: Path | list[Row]
    if isinstance(formulas, Path):
        given = formulas
        checked = list_entries(formulas, z, space_group, settings.intake, content)
        rejected, notes = checked.rejected, checked.notes
    else:
        several = [formulas] if isinstance(formulas, str) else list(formulas)
        given = formula_rows(several, z, space_group, content)
        entries = formula_entries(several, z, space_group, settings.intake, content)
        notes = reading_notes(entries if content is None else ())
        rejected = ()
    found = folder_list(folder, LIST_FILE, given, settings.intake, fresh)
    return found, rejected, (*notes, *found.notes)


def _kept_notes(folder: Path, found: FolderList, config: dict[str, Any]) -> tuple[str, ...]:
    """What is to be said of formulas of earlier calls."""
    if not found.kept:
        return ()
    ids = ", ".join(found.kept[:6]) + (f" and {len(found.kept) - 6} more" if len(found.kept) > 6 else "")
    before = folder / CONFIG_FILE
    changed = before.is_file() and yaml.safe_load(before.read_text(encoding="utf-8")) != config
    anew = ", and computes them anew where the settings have changed" if changed else ""
    return (
        f"{folder.name} keeps {ids} of earlier calls{anew}; --replace (replace=True) would leave them out",
    )


def _with_whole_paths(settings: Settings) -> dict[str, Any]:
    """The config of the run; files named in it are looked for from here, and crystals to start from are read."""
    config = settings.model_dump(mode="json")
    seeds = [Path(name).absolute() for name in settings.reconstruct.seed_structures]
    if seeds:
        from mapcsp.ga.seeds import seed_crystals

        for path in seeds:
            seed_crystals(path)
    config["reconstruct"]["seed_structures"] = list(map(str, seeds))
    if settings.relax.hull_table:
        config["relax"]["hull_table"] = str(Path(settings.relax.hull_table).absolute())
    kind, _, model = settings.relax.potential.partition(":")
    if kind == "matgl" and Path(model).is_dir():
        config["relax"]["potential"] = f"matgl:{Path(model).absolute()}"
    return config


def _write_if_changed(path: Path, text: str) -> None:
    # An older file would be newer for Snakemake, and a run without changes has nothing to do.
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder") from None


def _all_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_workflow(folder: Path, cores: int) -> None:
    """Run Snakemake with a progress bar of its jobs; its own words go to snakemake.log."""
    from tqdm import tqdm

    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile()), "--directory", str(folder)]
    command += ["--cores", str(cores), "--configfile", str(folder / CONFIG_FILE)]
    log = folder / LOG_FILE
    lines: list[str] = []
    with (
        open(log, "w", encoding="utf-8") as copy,
        tqdm(total=1, desc="predict", unit="job", disable=None) as bar,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            copy.write(line)
            lines.append(line)
            if steps := _STEPS.match(line):
                # Checkpoints add jobs on the way.
                bar.total = int(steps[2])
                bar.update(int(steps[1]) - bar.n)
    if process.returncode:
        _raise_failure("".join(lines), folder, log)


def _raise_failure(output: str, folder: Path, log: Path) -> None:
    """Say in one line what stopped Snakemake: the mistake that a job names, or where its log is."""
    failed = [folder / name for name in _FAILED_LOG.findall(output)]
    texts = [output, *(p.read_text(encoding="utf-8", errors="replace") for p in failed if p.exists())]
    if mistakes := _USER_ERROR.findall("\n".join(texts)):
        raise UserError(mistakes[0].strip())
    if "LockException" in output or "cannot be locked" in output:
        raise UserError(
            f"{folder} is locked: another run works there, or one was killed; wait for it, or run "
            f"`snakemake --snakefile {snakefile()} --directory {folder} --unlock` and try again"
        )
    job_log = failed[0] if failed else log
    logs = " and ".join(map(str, dict.fromkeys((job_log, log))))
    raise JobError(f"a job failed, which is a bug or the machine's fault; see {logs}", job_log)


def _read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table; ids and formulas stay text (`NaN` is sodium nitride)."""
    text = {"id": str, "formula": str, "content": str, "reason": str, "label": str, "cif": str}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])

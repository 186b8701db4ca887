"""What it takes to repeat a run: a command, and the files that it reads, inside the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapcsp.errors import UserError
from mapcsp.provenance import file_sha256
from mapcsp.report.files import Download, download
from mapcsp.store import read_csv

COMMAND = "snakemake --cores all --configfile settings.json --config formulas=formulas.csv"
# A larger file (a table of all known phases) would make the page slow to open.
LARGEST_INSIDE_BYTES = 2_000_000
# Columns of a list that a row of accepted.csv holds as they were given; `content` says how to read the formula.
AS_GIVEN = {
    "formula": "as_given",
    "id": "id",
    "z": "z_allowed",
    "space_group": "space_group",
    "content": "read_as",
}


@dataclass(frozen=True)
class Repetition:
    """The command that repeats a run, the files to save beside it, and the files that are too large for the page."""

    command: str
    files: tuple[Download, ...]
    elsewhere: tuple[str, ...]


def repetition(settings: Mapping[str, Any], intake_dir: Path, second_potential: str) -> Repetition:
    """Collect what a repeated run reads.

    settings: sections by name; files that they name are looked for in the current folder. second_potential: as the
    ranking's header says, with the start of its hash, or `none`. Raises UserError for a file that is no longer there.
    """
    named, moved = _named_files(settings)
    if "rescore" in moved:
        # What `auto` came to here: with or without SevenNet installed, the repeated run shall do the same.
        moved["rescore"] = {**moved["rescore"], "potential": second_potential.split()[0]}
    inside = {name: path for name, path in named.items() if path.stat().st_size <= LARGEST_INSIDE_BYTES}
    return Repetition(
        COMMAND,
        (
            download("settings.json", "settings.json", "application/json", _config(moved)),
            download("formulas.csv", "formulas.csv", "text/csv", formula_list(intake_dir)),
            *(
                download(name, name, "application/octet-stream", path.read_bytes())
                for name, path in inside.items()
            ),
        ),
        tuple(f"{name} (SHA-256 {file_sha256(path)})" for name, path in named.items() if name not in inside),
    )


def formula_list(intake_dir: Path) -> str:
    """The accepted rows as a list that gives the same entries: with their ids, which name every file."""
    accepted = read_csv(intake_dir / "accepted.csv")
    columns = {name: held for name, held in AS_GIVEN.items() if accepted and held in accepted[0]}
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(columns)
    for row in accepted:
        given = {**row, "z_allowed": row["z_allowed"] if row["z_given"] == "true" else ""}
        writer.writerow([given[held] for held in columns.values()])
    return rows.getvalue()


def _named_files(settings: Mapping[str, Any]) -> tuple[dict[str, Path], dict[str, Any]]:
    """Files that the settings of a prediction name, by the name that each gets; and the settings with these names."""
    files: dict[str, Path] = {}

    def save(setting: str, name: str) -> str:
        path = Path(name)
        if not path.is_file():
            raise UserError(
                f"{setting}: {name} is no longer a file, so the report cannot hold it; put it back"
            )
        new, number = path.name, 1
        while files.get(new, path) != path or new in ("settings.json", "formulas.csv"):
            number += 1
            new = f"{path.stem}-{number}{path.suffix}"
        files[new] = path
        return new

    moved = dict(settings)
    seeds = settings.get("reconstruct", {}).get("seed_structures", ())
    if seeds:
        new = [save("reconstruct.seed_structures", name) for name in seeds]
        moved["reconstruct"] = {**settings["reconstruct"], "seed_structures": new}
    table = settings.get("relax", {}).get("hull_table", "")
    if table:
        moved["relax"] = {**settings["relax"], "hull_table": save("relax.hull_table", table)}
    return files, moved


def _config(settings: Mapping[str, Any]) -> str:
    """The settings as one file for `--configfile`."""
    sections = {name: section for name, section in settings.items() if name != "run"}
    return json.dumps({**sections, **settings.get("run", {})}, indent=2, sort_keys=True) + "\n"

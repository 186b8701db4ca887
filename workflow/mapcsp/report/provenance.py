"""Where the results of a report come from: programs, potentials, weights, settings, and how to repeat the run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mapcsp.provenance import file_sha256, versions
from mapcsp.records import FormulaOutcome
from mapcsp.report.files import Download, download
from mapcsp.resources import resources_dir
from mapcsp.store import read_csv, read_header, read_json

COMMAND = "snakemake --cores all --configfile settings.json --config formulas=formulas.csv"


@dataclass(frozen=True)
class Provenance:
    """Program versions, the weights that the run used by SHA-256, settings by section, and how to repeat it.

    ranking: what the ranking says of itself. potentials: that relaxed, with the start of their hashes.
    second_potential: `none` without one. repeat: the files that `command` needs.
    """

    versions: dict[str, str]
    weights: dict[str, str]
    settings: dict[str, Any]
    ranking: dict[str, Any]
    potentials: tuple[str, ...]
    second_potential: str
    command: str
    repeat: tuple[Download, ...]


def provenance(
    ranking_dir: Path, intake_dir: Path, settings_dir: Path, outcomes: Sequence[FormulaOutcome]
) -> Provenance:
    """Gather the provenance of a run from its results and the repository's weights."""
    ranking = read_header(ranking_dir / "outcomes.jsonl")
    settings = {p.stem: read_json(p) for p in sorted(settings_dir.glob("*.json"))}
    return Provenance(
        versions=versions(headers=[ranking]),
        weights=_weights(settings),
        settings=settings,
        ranking={k: v for k, v in ranking.items() if k in ("settings", "ranker")},
        potentials=tuple(sorted({s.relaxed.potential for o in outcomes for s in o.structures})),
        second_potential=ranking.get("second_potential", "none"),
        command=COMMAND,
        repeat=(
            download("settings.json", "settings.json", "application/json", _config(settings)),
            download("formulas.csv", "formulas.csv", "text/csv", _formulas(intake_dir)),
        ),
    )


def _weights(settings: dict[str, Any]) -> dict[str, str]:
    """Hashes of the weights that the settings name, by their path below resources; a file that is not there is left out."""
    resources = resources_dir()
    registry = yaml.safe_load((resources / "models/registry.yaml").read_text(encoding="utf-8"))
    relax = settings.get("relax", {})
    named = [settings.get(stage, {}).get("model") for stage in ("symmetry", "maps")]
    names = {*named, relax.get("prerelax"), "ranker"} - {None, "none"}
    folders = [
        resources / "models" / registry.get(name, {"folder": name})["folder"] for name in sorted(names)
    ]
    files = [
        file
        for folder in folders
        for file in sorted([*folder.glob("*.safetensors"), *folder.glob("coefficients.json")])
    ]
    potential = resources / "potentials" / f"{relax.get('potential')}.safetensors"
    return {
        str(file.relative_to(resources)): file_sha256(file) for file in [*files, potential] if file.is_file()
    }


def _config(settings: dict[str, Any]) -> str:
    """The settings as one file for `--configfile`."""
    sections = {name: section for name, section in settings.items() if name != "run"}
    return json.dumps({**sections, **settings.get("run", {})}, indent=2, sort_keys=True) + "\n"


def _formulas(intake_dir: Path) -> str:
    """The accepted rows as a formula list."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(("formula", "z", "space_group"))
    for row in read_csv(intake_dir / "accepted.csv"):
        z = row["z_allowed"] if row["z_given"] == "true" else ""
        writer.writerow((row["as_given"], z, row["space_group"]))
    return rows.getvalue()

"""Where the results of a report come from: programs, potentials, weights, settings, and how to repeat the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapcsp.provenance import file_sha256, versions
from mapcsp.records import FormulaOutcome
from mapcsp.registry import registered_model
from mapcsp.report.repeat import Repetition, repetition
from mapcsp.resources import resources_dir
from mapcsp.store import read_header, read_json


@dataclass(frozen=True)
class Provenance:
    """Program versions, the weights that the run used by SHA-256, settings by section, and how to repeat it.

    ranking: what the ranking says of itself. potentials: that relaxed, with the start of their hashes.
    second_potential: `none` without one.
    """

    versions: dict[str, str]
    weights: dict[str, str]
    settings: dict[str, Any]
    ranking: dict[str, Any]
    potentials: tuple[str, ...]
    second_potential: str
    repeat: Repetition


def provenance(
    ranking_dir: Path, intake_dir: Path, settings_dir: Path, outcomes: Sequence[FormulaOutcome]
) -> Provenance:
    """Gather the provenance of a run from its results and the repository's weights."""
    ranking = read_header(ranking_dir / "outcomes.jsonl")
    second = ranking.get("second_potential", "none")
    settings = {p.stem: read_json(p) for p in sorted(settings_dir.glob("*.json"))}
    return Provenance(
        versions=versions(headers=[ranking]),
        weights=_weights(settings),
        settings=settings,
        ranking={k: v for k, v in ranking.items() if k in ("settings", "ranker")},
        potentials=tuple(sorted({s.relaxed.potential for o in outcomes for s in o.structures})),
        second_potential=second,
        repeat=repetition(settings, intake_dir, second),
    )


def _weights(settings: dict[str, Any]) -> dict[str, str]:
    """Hashes of the weights that the settings name, by their path below resources; a file that is not there is left out."""
    resources = resources_dir()
    relax = settings.get("relax", {})
    asked = {
        "symmetry.model": settings.get("symmetry", {}).get("model"),
        "maps.model": settings.get("maps", {}).get("model"),
        "relax.prerelax": relax.get("prerelax"),
        "ranker": "ranker",
    }
    used = [registered_model(name, by) for by, name in asked.items() if name not in (None, "none")]
    files = sorted({file for model in used for file in model.files})
    potential = resources / "potentials" / f"{relax.get('potential')}.safetensors"
    return {
        str(file.relative_to(resources)): file_sha256(file) for file in [*files, potential] if file.is_file()
    }

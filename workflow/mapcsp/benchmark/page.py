"""The benchmark's own HTML page: its tables, and every crystal with what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mapcsp.benchmark.tables import benchmark_tables, describe
from mapcsp.errors import UserError
from mapcsp.provenance import PACKAGE
from mapcsp.store import write_text

TEMPLATE = PACKAGE.parent / "report" / "benchmark.html.j2"
SHOWN = (
    "material_id",
    "formula",
    "n_atoms",
    "true_label",
    "cause",
    "target_loose_rank",
    "target_strict_rank",
    "rms_loose_at_20",
    "probability",
    "core_s",
    "trained",
)
"""Columns of the list of crystals; the files beside the page have all."""


def write_page(
    path: Path, figures: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Write the page; raises UserError if its template is missing.

    columns, rows: one row a crystal and variant, of which those of the first variant are listed.
    """
    if not TEMPLATE.is_file():
        raise UserError(f"{TEMPLATE} is missing; restore it with `git checkout workflow/report`")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    places = [list(columns).index(name) for name in SHOWN]
    crystals = [[_cell(row[i]) for i in places] for row in rows if row[0] == figures["variant"]]
    text = environment.get_template(TEMPLATE.name).render(
        description=describe(figures),
        tables=benchmark_tables(figures),
        variant=figures["variant"],
        columns=SHOWN,
        crystals=crystals,
        settings=figures["settings"],
    )
    write_text(path, text)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""The report stage: from the ranking to one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mapcsp.errors import UserError
from mapcsp.provenance import PACKAGE
from mapcsp.records import CandidateSummary, FormulaOutcome
from mapcsp.report.content import FormulaView, formula_view
from mapcsp.report.facts import NO_PHASES, NO_SECOND, RunContext
from mapcsp.report.notation import number, percent
from mapcsp.report.provenance import provenance
from mapcsp.settings import ReportSettings, read_section
from mapcsp.store import read_csv, read_maps, read_records, shard, write_text

TEMPLATES = PACKAGE.parent / "report"
# Beyond this many formulas each gets a page of its own, so that the index stays quick.
FORMULAS_ON_ONE_PAGE = 50
POWDER_PATTERNS_BEYOND = 1


def run_report(
    ranking_dir: Path, intake_dir: Path, settings_file: Path, output: Path, map_files: Sequence[Path] = ()
) -> None:
    """Write the report.

    ranking_dir: output of the rank stage; intake_dir: of the intake (accepted.csv, rejected.csv);
    settings_file: results/settings/report.json, whose folder holds the other sections, shown as provenance.
    output: index.html; beyond 50 formulas, a page a formula is written to `formulas/` beside it.
    map_files: predicted maps, named by the formula's id, shown beside the structures they belong to.
    Raises UserError if a file is missing or does not fit.
    """
    settings = read_section(settings_file, ReportSettings)
    outcomes = read_records(ranking_dir / "outcomes.jsonl", FormulaOutcome)
    candidates: dict[str, list[CandidateSummary]] = {}
    for summary in read_records(ranking_dir / "candidates.jsonl", CandidateSummary):
        candidates.setdefault(summary.formula_id, []).append(summary)
    maps = {file.stem: file for file in map_files}

    origin = provenance(ranking_dir, intake_dir, settings_file.parent, outcomes)
    ranked = [s for outcome in outcomes for s in outcome.structures]
    run = RunContext.of_run(ranked, origin.second_potential, origin.settings)

    paged = len(outcomes) > FORMULAS_ON_ONE_PAGE
    environment = _environment()
    views = []
    pages = set()
    for outcome in outcomes:
        page = f"formulas/{shard(outcome.formula_id)}/{outcome.formula_id}.html"
        view = formula_view(
            outcome,
            candidates.get(outcome.formula_id, []),
            ranking_dir,
            href=page if paged else f"#{anchor(outcome.formula_id)}",
            run=run,
            maps=read_maps(maps[outcome.formula_id]) if outcome.formula_id in maps else None,
            powder_of=POWDER_PATTERNS_BEYOND if paged else len(outcome.structures),
        )
        if paged and outcome.structures:
            template = environment.get_template("formula_page.html.j2")
            write_text(output.parent / page, template.render(title=settings.title, view=view, **_assets()))
            pages.add(output.parent / page)
            # The index needs the rows of the table only; scenes and files of 1,000 formulas would fill memory.
            view = _without_details(view)
        views.append(view)
    for old in sorted((output.parent / "formulas").glob("*/*.html")):
        if old not in pages:
            old.unlink()
    text = environment.get_template("index.html.j2").render(
        title=settings.title,
        views=views,
        paged=paged,
        done=[v for v in views if v.outcome.status == "done"],
        failed=[v for v in views if v.outcome.status != "done"],
        accepted=read_csv(intake_dir / "accepted.csv"),
        rejected=read_csv(intake_dir / "rejected.csv"),
        n_candidates=sum(v.outcome.n_candidates for v in views),
        by_probability=any(s.probability is not None for s in ranked),
        run=run,
        no_phases=NO_PHASES,
        no_second=NO_SECOND,
        provenance=origin,
        **_assets(),
    )
    write_text(output, text)


def anchor(identifier: str) -> str:
    """An id as an HTML fragment name."""
    return "f-" + re.sub(r"[^A-Za-z0-9_.-]", "_", identifier)


def _environment() -> Environment:
    if not TEMPLATES.is_dir():
        raise UserError(f"{TEMPLATES} is missing; restore it with `git checkout workflow/report`")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, percent=percent, anchor=anchor)
    return environment


def _assets() -> dict[str, Markup]:
    """Style and scripts, to be written into the page; the files hold nothing from users."""
    return {
        "style": Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "viewer_script": Markup((TEMPLATES / "viewer.js").read_text(encoding="utf-8")),
        "table_script": Markup((TEMPLATES / "table.js").read_text(encoding="utf-8")),
    }


def _without_details(view: FormulaView) -> FormulaView:
    bare = tuple(
        replace(s, scene={}, downloads=(), powder=None, maps=None, facts=(), fitness=())
        for s in view.structures
    )
    return replace(view, structures=bare, energy_volume=None)

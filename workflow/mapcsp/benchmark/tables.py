"""The Markdown tables of a benchmark, from its figures: what README shows is pasted from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mapcsp.benchmark.figures import EIGHT, RANKS
from mapcsp.benchmark.judge import CAUSES
from mapcsp.benchmark.variants import VARIANTS

COUNTING_NAMES = {
    "target": "the crystal itself",
    "any_polymorph": "any known polymorph",
    "on_hull": "targets on the hull",
    "published_filter": "with SMACT and distance filter",
    "untrained_formulas": "formulas never trained on",
}
_DISTANCE_NAMES = {
    "energy_ev": "energy, eV/atom",
    "superpose_ang": "superpose, Å",
    "sinkhorn_ang": "Sinkhorn, Å/atom",
    "fingerprint": "fingerprint",
    "ofm": "OFM",
    "wyckoff_mse": "Wyckoff MSE",
    "wyckoff_rmse": "Wyckoff RMSE",
    "distance_overlap": "distance overlap",
}
INTERVALS = "In brackets: 95 % Wilson intervals."
KNOWS = {
    "formula": "formula",
    "formula_z": "formula and z",
    "formula_z_space_group": "formula, z and space group",
}


@dataclass(frozen=True)
class Table:
    """One table of a benchmark; notes: lines below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def benchmark_tables(figures: dict[str, Any]) -> list[Table]:
    """All tables, in the order of the page."""
    variants = figures["variants"]
    compared = figures.get("variants_on_common", variants)
    tables = [match_table("Match rates", variants)]
    if "variants_on_common" in figures:
        title = f"All variants on the first {figures['common_crystals']} crystals"
        tables.append(match_table(title, compared))
    tables += [
        counting_table(f"Counted otherwise ({figures['variant']})", variants[figures["variant"]]),
        calibration_table(variants),
        cost_table(compared),
        cause_table(compared),
        distance_table(variants),
    ]
    return [table for table in tables if table.rows]


def markdown(figures: dict[str, Any]) -> str:
    """The whole page as Markdown."""
    parts = ["# Benchmark on known crystals", *describe(figures)]
    for table in benchmark_tables(figures):
        lines = [table.columns, ("---",) * len(table.columns), *table.rows]
        parts += [f"## {table.title}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]
        if table.notes:
            parts.append("\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def describe(figures: dict[str, Any]) -> list[str]:
    """What was predicted, how to repeat it, and what was left out."""
    sample, settings = figures["sample"], figures["settings"]["benchmark"]
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    lines = [
        f"{sample['crystals']} crystals of `{sample['table']}` (of {sample['eligible']} with at most "
        f"{settings['max_atoms']} atoms, seed {settings['seed']}), predicted from {KNOWS[settings['knows']]}; "
        f"{sample['on_hull']} lie on the hull; the formulas of {sample['trained_formulas']} were trained on.",
        f"Command: `{figures['command']}`",
        f"Commit {figures['commit'] or 'unknown (no git checkout)'}; {versions}.",
    ]
    for name, reason in figures["left_out"].items():
        lines += [f"Left out: {name}, because {reason}."]
    if sample["passed_over"]:
        lines += [f"Passed over: {len(sample['passed_over'])} crystals in which no symmetry was found."]
    return lines


def match_table(title: str, variants: dict[str, Any]) -> Table:
    """Match rates of all variants against the crystals themselves, in per cent with 95 % Wilson intervals."""
    rows = tuple(
        (
            name,
            VARIANTS[name].meaning,
            str(figures["crystals"]),
            tolerance,
            *rate_cells(figures["target"][tolerance]),
            _number(figures["target"][tolerance]["rmse_at_1"], 3),
            _per_cent(figures["space_group_found"]),
        )
        for name, figures in variants.items()
        for tolerance in ("loose", "strict")
    )
    ranks = [f"@{k}, %" for k in RANKS]
    columns = ("variant", "what it is", "crystals", "matcher", *ranks, "RMSE @1", "space group first, %")
    return Table(title, columns, rows, (INTERVALS,))


def counting_table(title: str, figures: dict[str, Any]) -> Table:
    """One variant's match rates, counted in each way."""
    rows = tuple(
        (name, str(figures[key]["crystals"]), tolerance, *rate_cells(figures[key][tolerance]))
        for key, name in COUNTING_NAMES.items()
        if key in figures
        for tolerance in ("loose", "strict")
    )
    return Table(title, ("counted", "crystals", "matcher", *(f"@{k}, %" for k in RANKS)), rows)


def calibration_table(variants: dict[str, Any]) -> Table:
    """How far the first answers' probabilities are from the shares that are right; no rows where none claims any."""
    rows = tuple(
        (
            name,
            _number(figures["expected_calibration_error"], 3),
            _number(figures["calibration_error_by_chance"], 3),
            _number(figures["calibration_error_by_chance_95"], 3),
            _number(figures["mean_claim"], 3),
            _number(figures["target"]["loose"]["match_rate_at_1"], 3),
        )
        for name, figures in variants.items()
        if "expected_calibration_error" in figures
    )
    columns = ("variant", "error", "by chance", "95 % by chance", "mean claim", "right")
    note = "Expected calibration error in ten bins; by chance: that of perfectly calibrated claims, as many as here."
    return Table("Calibration of the first answer's probability", columns, rows, (note,))


def cost_table(variants: dict[str, Any]) -> Table:
    """Seconds of one core and evaluations a formula."""
    rows = tuple(
        (
            name,
            _number(figures["core_s_per_formula"], 1),
            _number(figures["search_core_s_per_formula"], 1),
            _number(figures["relax_core_s_per_formula"], 1),
            _number(figures["rescore_core_s_per_formula"], 1),
            f"{figures['fitness_evaluations_per_formula']:,.0f}",
            f"{figures['energy_evaluations_per_formula']:,.0f}",
            _number(figures["second_energies_per_formula"], 1),
        )
        for name, figures in variants.items()
    )
    return Table(
        "Cost a formula",
        (
            "variant",
            "core-s",
            "before relaxation",
            "relaxation",
            "second potential",
            "fitness evaluations",
            "energy evaluations",
            "second energies",
        ),
        rows,
        ("core-s: CPU seconds of one core, models loaded before.",),
    )


def cause_table(variants: dict[str, Any]) -> Table:
    """How many crystals each variant found first, or lost, and at which stage."""
    rows = tuple(
        (name, *(str(figures["causes"].get(cause, 0)) for cause in CAUSES))
        for name, figures in variants.items()
    )
    legend = tuple(f"{cause}: {meaning}" for cause, meaning in CAUSES.items())
    return Table("Where it fails", ("variant", *CAUSES), rows, legend)


def distance_table(variants: dict[str, Any]) -> Table:
    """Medians of the eight metrics; without rows if none was measured."""
    rows = []
    for name, figures in variants.items():
        found = figures["distances_of_first"]
        if found:
            cells = [found.get(key) for key in EIGHT]
            rows.append(
                (name, *(f"{_number(c['median'], 4)} ({c['crystals']})" if c else "–" for c in cells))
            )
    return Table(
        "Distances of the first answer from the crystal",
        ("variant", *(_DISTANCE_NAMES[key] for key in EIGHT)),
        tuple(rows),
        ("Median, and the number of crystals to which the metric applies.",),
    )


def rate_cells(rates: dict[str, Any]) -> list[str]:
    """One cell a rank: the rate and its interval, in per cent."""
    cells = []
    for k in RANKS:
        low, high = rates[f"match_rate_at_{k}_interval"]
        cells.append(f"{_per_cent(rates[f'match_rate_at_{k}'])} ({100 * low:.0f}–{100 * high:.0f})")
    return cells


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

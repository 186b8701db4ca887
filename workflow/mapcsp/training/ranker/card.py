"""Writes the card of the ranking model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from mapcsp.ranking.domain import KINDS
from mapcsp.ranking.features import FEATURES
from mapcsp.ranking.model import RankerCoefficients
from mapcsp.store import write_text

_MODELS = (
    ("label alone", "without_rescore_label"),
    ("label and energy", "without_rescore_label_and_energy"),
    ("without a slope beyond the potential's error, without second energies", "without_rescore_saturating"),
    ("**ships, without second energies**", "without_rescore_chosen"),
    ("all features, without second energies", "without_rescore_all"),
    ("label and second energy", "with_rescore_label_and_energy"),
    ("without a slope beyond the potential's error, with second energies", "with_rescore_saturating"),
    ("**ships, with second energies**", "with_rescore_chosen"),
    ("all features, with second energies", "with_rescore_all"),
)


def write_ranker_card(
    output: Path,
    ranker: RankerCoefficients,
    figures: Mapping[str, float | int],
    tables: Sequence[str],
    unseen_tables: Sequence[str],
) -> None:
    """Write card.md beside the coefficients; figures: as in metrics.json."""
    orders = [
        ("label, before relaxation", "first_by_label_before_relaxation"),
        ("energy", "first_by_energy"),
        ("second energy", "first_by_rescored_energy"),
    ]
    lines = [
        "# Ranking: which relaxed candidate is right",
        "",
        "A conditional logit: each candidate has a linear score of the features below, “none of these” a constant one,",
        "and the probability of a crystal is the share of its candidates in the sum of the exponentials. Signs are fixed:",
        "a lower energy never counts against a candidate. One set of coefficients is for pools with energies of the second",
        f"potential ({ranker.second_potential}), one for pools without; both for relaxation by {ranker.potential}.",
        "",
        "| feature | without | with | meaning |",
        "|---|---|---|---|",
    ]
    for feature, (_, without), (_, with_second) in zip(
        FEATURES, ranker.without_rescore.coefficients, ranker.with_rescore.coefficients
    ):
        lines.append(
            f"| `{feature.name}` | {_number(without)} | {_number(with_second)} | {feature.meaning} |"
        )
    lines += [
        f"| none of these | {ranker.without_rescore.none_score:.3f} | {ranker.with_rescore.none_score:.3f} | |",
        "",
        "## Data",
        "",
        *textwrap.wrap(ranker.note, 118),
        f"Tables: {', '.join(f'`{t}`' for t in tables)}; {figures['pools_with_second_energies']} of the pools have second",
        "energies. The crystal drawn for a formula counts as right, its polymorphs do not: the fit takes its phase, which",
        "matches (loose matcher: stol .5, ltol .3, angle_tol 10) in its own space group, or any match where none is in it.",
        "",
        "## Figures, cross-validated on these pools",
        "",
        "Ten folds, three times. First: share of formulas whose first answer matches, with its 95 % Wilson interval; phase:",
        "that are its phase, too. Far above: first answers more than 0.25 eV/atom above their pool's lowest energy.",
        "Log-likelihood: natural logarithm of the probability given to what is right, mean over formulas.",
        "",
        "| order | first | | phase | far above | log-likelihood |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {figures[key]:.3f} | {_interval(figures, key)} | | | |" for name, key in orders]
    lines.append(f"| the right one anywhere in the pool | {figures['right_in_pool']:.3f} | | | | |")
    lines += [
        f"| {name} | {figures[f'{key}_first']:.3f} | {_interval(figures, f'{key}_first')} "
        f"| {figures[f'{key}_first_phase']:.3f} | {figures[f'{key}_far_above']:.3f} "
        f"| {figures[f'{key}_log_likelihood']:.3f} |"
        for name, key in _MODELS
    ]
    lines += [
        "",
        "Calibration of the first answer's probability, each pool out of fold: expected calibration error in ten bins,",
        "by the loose matcher and for the right phase, and what perfectly calibrated claims would show by chance with as many",
        "pools (mean, 95th percentile). By the loose matcher claims are too low: it accepts two phases that share them.",
        "",
        "| | error | error, phase | by chance | 95 % | mean claim | temperature |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, key in (("without", "without_rescore_chosen"), ("with", "with_rescore_chosen")):
        values = [
            f"{figures[f'{key}_{figure}']:.3f}"
            for figure in (
                "calibration_error",
                "calibration_error_phase",
                "calibration_error_by_chance",
                "calibration_error_by_chance_95",
                "mean_claim",
                "temperature",
            )
        ]
        lines.append(f"| {name} | {' | '.join(values)} |")
    lines += _outside_lines(ranker, figures, unseen_tables)
    lines += [
        "",
        "The terms, the shape of the energies and the penalty were chosen by such cross-validation, not on `mp_val`. A",
        "temperature that divides the scores, and a shift of “none of these”, make the claims for first answers out of fold",
        "likeliest, judged by the loose matcher; they are already in the coefficients above. The slopes beyond 0.15 eV/atom",
        "are fixed: nine in ten known crystals lie less than "
        f"{figures['right_above_lowest_q90_ev_per_atom']:.3f} eV/atom above their pool's lowest energy,",
        f"and {figures['pools_with_known_crystal_beyond_error']} beyond 0.15; they count as missing in the fit.",
        "",
        "`mapcsp train-ranker` writes coefficients, `metrics.json` and this card.",
    ]
    write_text(output / "card.md", "\n".join(lines) + "\n")


def _interval(figures: Mapping[str, float | int], key: str) -> str:
    return f"{figures[f'{key}_low']:.3f}–{figures[f'{key}_high']:.3f}"


def _outside_lines(
    ranker: RankerCoefficients, figures: Mapping[str, float | int], unseen_tables: Sequence[str]
) -> list[str]:
    """The section on formulas unlike those that were learned from."""
    lines = [
        "",
        "## Formulas of other kinds",
        "",
        "Formulas of which the networks saw no crystal, from "
        + ", ".join(f"`{t}`" for t in unseen_tables)
        + ", by the",
        "first kind that they are of. For such formulas the score of “none of these” is raised by the shift, which makes",
        "the claims for their first answers likeliest; that of a formula of several kinds by the largest. Claim: mean",
        "probability of the first answer.",
        "",
        "| kind | pools | in pool | first | phase | claim before | claim | shift |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shifts = dict(ranker.domain.none_shift)
    for kind, meaning in KINDS.items():
        names = ("right_in_pool", "first", "first_phase", "mean_claim_before", "mean_claim")
        values = [figures.get(f"{kind}_{name}") for name in names]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {meaning} | {figures[f'{kind}_pools']} | {' | '.join(cells)} | {shifts[kind]:.2f} |")
    return lines


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3f}"

"""Writes the card of the ranking model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from mapcsp.ranking.features import FEATURES
from mapcsp.ranking.model import RankerCoefficients
from mapcsp.store import write_text

_MODELS = (
    ("label alone", "without_rescore_label"),
    ("label and energy", "without_rescore_label_and_energy"),
    ("**ships, without second energies**", "without_rescore_chosen"),
    ("all features, without second energies", "without_rescore_all"),
    ("label and second energy", "with_rescore_label_and_energy"),
    ("**ships, with second energies**", "with_rescore_chosen"),
    ("all features, with second energies", "with_rescore_all"),
)


def write_ranker_card(
    output: Path, ranker: RankerCoefficients, figures: Mapping[str, float | int], tables: Sequence[str]
) -> None:
    """Write card.md beside the coefficients; figures: as in metrics.json."""
    orders = [
        ("label, before relaxation", figures["first_by_label_before_relaxation"]),
        ("energy", figures["first_by_energy"]),
        ("second energy", figures["first_by_rescored_energy"]),
        ("the right one anywhere in the pool", figures["right_in_pool"]),
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
        "energies. The crystal drawn for a formula counts as right (loose matcher: stol .5, ltol .3, angle_tol 10);",
        "its polymorphs do not, unless they match.",
        "",
        "## Figures, cross-validated on these pools",
        "",
        "Ten folds, three times. First: share of formulas whose first answer is right. Log-likelihood: natural logarithm",
        "of the probability given to what is right, mean over formulas.",
        "",
        "| order | first | log-likelihood |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {value:.3f} | |" for name, value in orders]
    lines += [
        f"| {name} | {figures[f'{key}_first']:.3f} | {figures[f'{key}_log_likelihood']:.3f} |"
        for name, key in _MODELS
    ]
    lines += [
        "",
        "Calibration of the first answer's probability, each pool out of fold: expected calibration error in ten bins,",
        "and what perfectly calibrated claims would show by chance with as many pools (mean, 95th percentile).",
        "",
        "| | error | by chance | 95 % | mean claim | temperature |",
        "|---|---|---|---|---|---|",
    ]
    for name, key in (("without", "without_rescore_chosen"), ("with", "with_rescore_chosen")):
        values = [
            f"{figures[f'{key}_{figure}']:.3f}"
            for figure in (
                "calibration_error",
                "calibration_error_by_chance",
                "calibration_error_by_chance_95",
                "mean_claim",
                "temperature",
            )
        ]
        lines.append(f"| {name} | {' | '.join(values)} |")
    lines += [
        "",
        "The terms, the shape of the energies and the penalty were chosen by such cross-validation (both columns)",
        "on 160 training formulas, not on `mp_val`. A temperature that divides the scores, and a shift of “none of these”,",
        "make predictions out of fold likeliest; they are already in the coefficients above.",
        "",
        "`mapcsp train-ranker` writes coefficients, `metrics.json` and this card.",
    ]
    write_text(output / "card.md", "\n".join(lines) + "\n")


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3f}"

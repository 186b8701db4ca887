"""Predicts for formulas whose common factor belongs to them (Na2O2): networks know the reduced formula (NaO) alone."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import Protocol

from mapcsp.records import FormulaEntry, SymmetryPrediction


class SymmetryPredictor(Protocol):
    """What `symmetry.model` names, its weights loaded and its settings given."""

    def __call__(self, entry: FormulaEntry, hidden_formula: int | None = None) -> SymmetryPrediction:
        """Predict one formula; hidden_formula as in `predict_symmetry`."""
        ...


def in_units_of_the_formula(predict: SymmetryPredictor) -> SymmetryPredictor:
    """A predictor whose z counts the formula as its author wrote it.

    predict: is asked for the reduced formula at the z that make whole units, so that Na2O2 is never given half a unit.
    """

    def of_entry(entry: FormulaEntry, hidden_formula: int | None = None) -> SymmetryPrediction:
        units = gcd(*(n for _, n in entry.amounts))
        if units == 1:
            return predict(entry, hidden_formula)
        amounts = tuple((symbol, n // units) for symbol, n in entry.amounts)
        reduced = replace(entry, amounts=amounts, z_allowed=tuple(z * units for z in entry.z_allowed))
        found = predict(reduced, hidden_formula)
        return replace(
            found,
            z_prob=tuple((z // units, probability) for z, probability in found.z_prob),
            labels=tuple(replace(label, z=label.z // units) for label in found.labels),
            untried=replace(
                found.untried,
                cells=tuple(replace(cell, z=cell.z // units) for cell in found.untried.cells),
            ),
        )

    return of_entry

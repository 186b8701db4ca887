"""Bravais lattices, space groups and cells of compositions by CRYSPNet: `python -m mapcsp.cryspnet.predict --help`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np

from mapcsp.cryspnet.conventional import complete_cell, possible_cell
from mapcsp.cryspnet.features import cell_features, feature_matrix
from mapcsp.cryspnet.networks import Ensemble, load_ensembles
from mapcsp.elements import atomic_number
from mapcsp.errors import UnsupportedElementError, UserError
from mapcsp.registry import registered_model
from mapcsp.store import read_csv, write_csv

DataSet = Literal["all", "metals", "oxides"]


def bravais_name(data_set: str) -> str:
    """Name of the ensemble for Bravais lattices that a data set trained."""
    return f"bravais/{data_set}"


def groups_name(bravais: str) -> str:
    """Name of the ensemble for the space groups of a Bravais lattice."""
    return f"groups/{bravais}"


def cell_name(bravais: str, with_z: bool) -> str:
    """Name of the ensemble for the cells of a Bravais lattice; with_z: the one that also takes the cell's content."""
    return f"cell_z/{bravais}" if with_z else f"cell/{bravais}"


@dataclass(frozen=True, eq=False)
class BravaisPrediction:
    """One likely Bravais lattice of a composition.

    probability: P(lattice). space_groups: (number, P(space group | lattice)), most likely first.
    cell: (6,), Å and degrees, conventional in the setting of `cryspnet.conventional` (rhombohedral axes for hR).
    """

    bravais: str
    probability: float
    space_groups: tuple[tuple[int, float], ...]
    cell: np.ndarray


@dataclass(frozen=True, eq=False)
class CryspNetPrediction:
    """What CRYSPNet says of one composition: Bravais lattices, most likely first."""

    bravais: tuple[BravaisPrediction, ...]

    @property
    def space_groups(self) -> tuple[tuple[int, float], ...]:
        """(number, P(lattice) P(space group | lattice)) over the lattices listed, most likely first."""
        joint = [(n, b.probability * p) for b in self.bravais for n, p in b.space_groups]
        return tuple(sorted(joint, key=lambda pair: (-pair[1], pair[0])))


def predict_cryspnet(
    compositions: Sequence[Mapping[str, float]],
    data_set: DataSet = "all",
    top_bravais: int = 2,
    top_space_groups: int = 3,
    z: Sequence[int] | None = None,
    folder: Path | None = None,
) -> list[CryspNetPrediction]:
    """Predict the first `top_bravais` lattices of each composition, and `top_space_groups` and a cell of each lattice.

    compositions: atoms of each element in one formula unit. data_set: what the model for Bravais lattices learned from.
    z: formula units in the primitive cell, where known: cells then come from the networks with MLatticeABC's predictors.
    folder: of the model; by default the registry's `cryspnet`.
    Raises UnsupportedElementError beyond H to Pu, ValueError for an empty composition.
    """
    ensembles = load_ensembles(folder or registered_model("cryspnet", "cryspnet").folder)
    predictors = feature_matrix(compositions)
    if z is not None:
        content = [cell_features({e: int(n) for e, n in c.items()}, k) for c, k in zip(compositions, z)]
        predictors = np.concatenate([predictors, np.array(content, dtype=np.float32)], axis=1)
    model = ensembles[bravais_name(data_set)]
    probabilities = model.probabilities(predictors)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_bravais]
    found: list[list[BravaisPrediction | None]] = [[None] * ranked.shape[1] for _ in compositions]
    for index in np.unique(ranked):
        bravais = model.classes[index]
        rows, places = np.nonzero(ranked == index)
        groups = ranked_groups(ensembles[groups_name(bravais)], predictors[rows], top_space_groups)
        cells = ensembles[cell_name(bravais, z is not None)].parameters(predictors[rows])
        for row, place, likely, values in zip(rows, places, groups, cells):
            found[row][place] = BravaisPrediction(
                bravais,
                float(probabilities[row, index]),
                likely,
                possible_cell(complete_cell(bravais, values)),
            )
    return [CryspNetPrediction(tuple(b for b in row if b is not None)) for row in found]


def ranked_groups(
    ensemble: Ensemble, predictors: np.ndarray, top: int
) -> list[tuple[tuple[int, float], ...]]:
    """Most likely space groups of each row of predictors, with probabilities."""
    probabilities = ensemble.probabilities(predictors)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        tuple((int(ensemble.classes[i]), float(row[i])) for i in picked)
        for row, picked in zip(probabilities, order)
    ]


def _composition(formula: str, where: str) -> dict[str, float]:
    """Amounts of a formula; raises UserError, saying where, for text that is none."""
    from pymatgen.core import Composition

    try:
        amounts = {str(e): float(n) for e, n in Composition(formula).get_el_amt_dict().items()}
        for element in amounts:
            atomic_number(element)
    except (KeyError, ValueError, UnsupportedElementError) as error:
        raise UserError(
            f"{where}: {formula!r} is no formula of elements up to Pu ({error}); fix the row"
        ) from None
    if not amounts:
        raise UserError(f"{where}: no formula in the column `formula`; fix or delete the row")
    return amounts


COLUMNS = ("formula", "bravais", "bravais_probability", "space_group", "space_group_probability") + (
    "a_ang", "b_ang", "c_ang", "alpha_deg", "beta_deg", "gamma_deg",
)  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("formulas", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False), help="CSV to write."
)
@click.option("--data-set", type=click.Choice(["all", "metals", "oxides"]), default="all", show_default=True)
@click.option("--top-bravais", default=2, show_default=True, type=click.IntRange(1, 14))
@click.option("--top-space-groups", default=3, show_default=True, type=click.IntRange(1, 68))
def main(formulas: Path, output: Path, data_set: DataSet, top_bravais: int, top_space_groups: int) -> None:
    """Predict Bravais lattices, space groups and cells of FORMULAS, a CSV with a column `formula`.

    A row of the output is one (Bravais lattice, space group); its probability is that of the space group in the lattice.
    """
    rows = read_csv(formulas)
    compositions = [
        _composition(row.get("formula") or "", f"{formulas} row {n}") for n, row in enumerate(rows, start=2)
    ]
    predicted = predict_cryspnet(compositions, data_set, top_bravais, top_space_groups) if rows else []
    write_csv(
        output,
        COLUMNS,
        [
            (row["formula"], b.bravais, b.probability, number, probability, *(float(v) for v in b.cell))
            for row, prediction in zip(rows, predicted)
            for b in prediction.bravais
            for number, probability in b.space_groups
        ],
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        click.echo(f"mapcsp: error: {error}", err=True)
        sys.exit(2)

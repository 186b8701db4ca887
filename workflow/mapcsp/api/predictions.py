"""`symmetry` and `maps`: what the networks say about formulas, without search or relaxation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mapcsp.api.formulas import SettingsLike, as_settings, formula_entries
from mapcsp.api.tables import Tabled
from mapcsp.crystals import space_group_symbol
from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry, FormulaMaps, LabelPrediction, PredictedMap, SymmetryPrediction
from mapcsp.settings import Settings

CELL_COLUMNS = ("a_ang", "b_ang", "c_ang", "alpha_deg", "beta_deg", "gamma_deg")
# AlphaCrystal counts a bond where the network gives it more than even odds.
BOND_PROBABILITY = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class SymmetryResults(Tabled):
    """Predicted symmetry of formulas, in the order given."""

    predictions: tuple[SymmetryPrediction, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a label, most probable first for each formula; cells are the conventional ones."""
        rows = [
            {
                **_label_row(prediction, rank, label),
                "source": label.source,
                **dict(zip(CELL_COLUMNS, label.cell.tolist())),
            }
            for prediction in self.predictions
            for rank, label in enumerate(prediction.labels, start=1)
        ]
        columns = [*_LABEL_COLUMNS, "source", *CELL_COLUMNS]
        return pd.DataFrame(rows, columns=columns)

    @property
    def space_groups(self) -> pd.DataFrame:
        """Probability of each space group that a prediction would search."""
        rows = [
            {"id": p.id, "formula": p.formula, "space_group": number, "symbol": space_group_symbol(number)}
            | {"probability": probability * (1 - p.untried.probability)}
            for p in self.predictions
            for number, probability in p.space_groups
        ]
        return pd.DataFrame(rows, columns=["id", "formula", "space_group", "symbol", "probability"])

    @property
    def not_tried(self) -> pd.DataFrame:
        """One row a formula: the probability of all that was not tried, such as larger cells, and what of it weighs."""
        rows = [(p.id, p.formula, p.untried.text or None, p.untried.probability) for p in self.predictions]
        return pd.DataFrame(rows, columns=["id", "formula", "not_tried", "not_tried_probability"])


@dataclass(frozen=True, eq=False, repr=False)
class MapResults(Tabled):
    """Predicted distance and contact maps of formulas, in the order given, and the labels they belong to."""

    predictions: tuple[SymmetryPrediction, ...]
    maps: tuple[FormulaMaps, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a map, that of the most probable label first for each formula."""
        rows = [
            {**_label_row(prediction, rank, label), **_map_row(predicted)}
            for prediction, found in zip(self.predictions, self.maps)
            for rank, (label, predicted) in enumerate(zip(prediction.labels, found.maps), start=1)
        ]
        return pd.DataFrame(rows, columns=[*_LABEL_COLUMNS, "n_atoms", "shortest_ang", "n_bonds"])

    def distances(self, formula: int | str = 0, rank: int = 1) -> pd.DataFrame:
        """Expected distances in Å between the atoms of one cell.

        formula: its place, or its id as in the table. Raises UserError for a formula or rank that is not there.
        """
        predicted = self._map(formula, rank)
        return pd.DataFrame(predicted.distance_ang, predicted.species, predicted.species)

    def contacts(self, formula: int | str = 0, rank: int = 1) -> pd.DataFrame:
        """Probabilities of bonds between the atoms of one cell; arguments as in `distances`."""
        predicted = self._map(formula, rank)
        return pd.DataFrame(predicted.contact_prob, predicted.species, predicted.species)

    def _map(self, formula: int | str, rank: int) -> PredictedMap:
        ids = [found.id for found in self.maps]
        index = formula if isinstance(formula, int) else ids.index(formula) if formula in ids else len(ids)
        if not 0 <= index < len(ids) or not 1 <= rank <= len(self.maps[index].maps):
            raise UserError(f"no map {rank} of {formula!r}; the formulas are {', '.join(ids)}")
        return self.maps[index].maps[rank - 1]


def symmetry(
    formulas: str | Iterable[str],
    *,
    z: int | None = None,
    space_group: int | str | None = None,
    content: bool | None = None,
    settings: SettingsLike = None,
) -> SymmetryResults:
    """Predict z, symmetry labels (space group and Wyckoff positions) and cells of formulas.

    z, space_group: fixed for all formulas, if given; the space group by number or symbol. content: True reads the
    formulas as contents of primitive cells, False as formulas; None as usual: `Ti2O4` as a content, `Na2O2` as a formula.
    settings: the sections intake and symmetry are read.
    Raises UserError for a formula or setting that cannot be used.
    """
    chosen = as_settings(settings)
    return predict_entries(formula_entries(formulas, z, space_group, chosen.intake, content), chosen)


def predict_entries(entries: Iterable[FormulaEntry], settings: Settings) -> SymmetryResults:
    """Like `symmetry`, for entries that were checked before, such as those of a list."""
    from tqdm import tqdm

    from mapcsp.symmetry.predict import symmetry_predictor

    with _one_thread():
        predict = symmetry_predictor(settings.symmetry)
        bar = tqdm(list(entries), desc="symmetry", leave=False, disable=None)
        return SymmetryResults(tuple(predict(entry) for entry in bar))


def maps(
    formulas: str | Iterable[str],
    *,
    z: int | None = None,
    space_group: int | str | None = None,
    content: bool | None = None,
    settings: SettingsLike = None,
) -> MapResults:
    """Predict distance and contact maps of formulas: one for each predicted label.

    Arguments as in `symmetry`; the section maps of the settings is read, too.
    """
    chosen = as_settings(settings)
    return map_entries(formula_entries(formulas, z, space_group, chosen.intake, content), chosen)


def map_entries(entries: Iterable[FormulaEntry], settings: Settings) -> MapResults:
    """Like `maps`, for entries that were checked before."""
    from tqdm import tqdm

    from mapcsp.maps.models import load_model
    from mapcsp.maps.predict import predict_maps

    model = load_model(settings.maps.model)
    listed = list(entries)
    predictions = predict_entries(listed, settings).predictions

    with _one_thread():
        bar = tqdm(list(zip(listed, predictions)), desc="maps", leave=False, disable=None)
        of_each = [predict_maps(model, p.labels, e.amounts, settings.maps.batch_size) for e, p in bar]
    found = tuple(FormulaMaps(e.id, tuple(m), model.name) for e, m in zip(listed, of_each))
    return MapResults(predictions, found)


def write_map_files(results: MapResults, folder: Path) -> None:
    """Write `<folder>/<id>.safetensors`, as the workflow's stage does."""
    from mapcsp.store import write_maps

    for found in results.maps:
        write_maps(folder / f"{found.id}.safetensors", found)


_LABEL_COLUMNS = ("id", "formula", "rank", "probability", "z", "space_group", "space_group_symbol", "label")


def _label_row(prediction: SymmetryPrediction, rank: int, label: LabelPrediction) -> dict[str, object]:
    number = label.label.space_group
    # What was not tried may be right, too.
    probability = float(np.exp(label.log_prob)) * (1 - prediction.untried.probability)
    values = (prediction.id, prediction.formula, rank, probability, label.z, number)
    return dict(zip(_LABEL_COLUMNS, (*values, space_group_symbol(number), label.label.key)))


def _map_row(predicted: PredictedMap) -> dict[str, object]:
    pairs = np.triu_indices(len(predicted.species), 1)
    distances = predicted.distance_ang[pairs]
    return {
        "n_atoms": len(predicted.species),
        "shortest_ang": float(distances.min()) if len(distances) else None,
        "n_bonds": int((predicted.contact_prob[pairs] > BOND_PROBABILITY).sum()),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in several threads round differently, and results must not depend on the cores; restored afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

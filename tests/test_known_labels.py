"""Predictions for labels that training has seen, on a memory small enough to work them out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from known_memory import small_model
from mapcsp.records import Label
from mapcsp.symmetry.candidates import Stoichiometry, slot_elements
from mapcsp.symmetry.known_labels import (
    KnownClass,
    RankedLabels,
    _move_cells,
    alphabetical_ranks,
    known_class,
    known_log_probabilities,
    placed_labels,
    predict_known_cells,
)
from mapcsp.symmetry.network import Scores
from mapcsp.symmetry.placement import Placement

ZNS = slot_elements((("Zn", 1), ("S", 1)))
ROCK_SALT, CSCL, ZINCBLENDE, WURTZITE, NIAS, ANTI_NIAS = range(6)
LOGITS = np.log([6.0, 3, 1, 4, 2, 2])


@pytest.fixture(scope="module")
def model():
    # Cells come out e^0.2 larger than the examples' mean, and c/a e^0.05.
    return small_model(log_volume=0.2, log_c_over_a=0.05)


@pytest.fixture(scope="module")
def known(model) -> KnownClass:
    found = known_class(model, (1, 1))
    assert found is not None
    return found


def test_a_class_holds_each_label_once_for_each_way_that_differs(known) -> None:
    # Exchanging the elements of NiAs makes another crystal; of rock salt, CsCl, zincblende and wurtzite it does not.
    assert known.groups.tolist() == [225, 221, 216, 186, 194, 194]
    assert known.found.z.tolist() == [1, 1, 1, 2, 2, 2]
    assert known.centrings.tolist() == [4, 1, 4, 1, 1, 1]


def test_a_stoichiometry_that_no_label_has_is_no_class(model) -> None:
    assert known_class(model, (2, 3)) is None


def test_novelty_is_the_share_of_examples_that_are_alone_in_their_label(model, known) -> None:
    # z = 1: three, one and one examples; z = 2: two and one. One more example counts as new.
    assert known.novelty == {1: pytest.approx(2 / 6), 2: pytest.approx(1 / 4)}
    # Fluorite is alone; rutile has eight.
    assert known_class(model, (1, 2)).novelty == {1: pytest.approx(1 / 2), 2: pytest.approx(0)}


def share(known, logits=LOGITS, allowed=None, z_prob=None) -> list[float]:
    """P(label, z | formula) of the candidates."""
    every = np.ones(len(logits), dtype=bool)
    z_prob = {1: 0.75, 2: 0.25} if z_prob is None else z_prob
    return np.exp(
        known_log_probabilities(known, logits, every if allowed is None else allowed, z_prob)
    ).tolist()


def test_known_labels_share_what_their_z_leaves_to_them_by_their_scores(known) -> None:
    # z = 1 leaves 0.75 (1 - 1/3) = 1/2 to labels of 6 : 3 : 1, z = 2 0.25 (1 - 1/4) = 3/16 to labels of 4 : 2 : 2.
    assert share(known) == pytest.approx([0.3, 0.15, 0.05, 3 / 32, 3 / 64, 3 / 64])


def test_what_the_entry_does_not_admit_keeps_its_share_and_has_none(known) -> None:
    allowed = np.array([False, True, True, False, True, True])
    assert share(known, allowed=allowed) == pytest.approx([0, 0.15, 0.05, 0, 3 / 64, 3 / 64])


def test_labels_of_a_z_that_is_not_tried_or_without_examples_have_no_probability(known) -> None:
    assert share(known, z_prob={2: 1.0}) == pytest.approx([0, 0, 0, 3 / 8, 3 / 16, 3 / 16])
    logits = np.where(known.found.z == 2, -np.inf, LOGITS)
    assert share(known, logits) == pytest.approx([0.3, 0.15, 0.05, 0, 0, 0])
    # A z that no known label has is passed over.
    assert share(known, z_prob={3: 0.5, 1: 0.5}) == pytest.approx([0.2, 0.1, 1 / 30, 0, 0, 0])


def test_scores_of_any_size_give_probabilities(known) -> None:
    assert share(known, LOGITS + 2000) == pytest.approx(share(known))


def test_labels_are_placed_with_the_elements_in_alphabetical_order(model, known) -> None:
    # A is the first of the formula's symbols in alphabetical order, sulphur.
    order = np.array([ROCK_SALT, WURTZITE, ZINCBLENDE, NIAS, ANTI_NIAS])
    assert [p.key for p in placed_labels(ZNS, model, known, order)] == [
        "225:A-a,B-b", "186:A-b,B-b", "216:A-a,B-c", "194:A-a,B-c", "194:A-c,B-a",
    ]  # fmt: skip


def test_ranks_are_alphabetical() -> None:
    assert alphabetical_ranks(Stoichiometry(("O", "Ti", "Ba"), (1, 1, 3))) == (1, 2, 0)


def predicted(model, known, support: dict[tuple[int, tuple[int, ...]], float], *candidates: int, slots=ZNS):
    """Predictions of candidates, whose example rows have a weight by (example, role of each slot), 0 by default."""
    found = known.found
    rows = zip(found.example_index.tolist(), map(tuple, found.example_role.tolist()))
    scores = Scores(
        torch.zeros(1, len(known.groups)), torch.tensor([[support.get(row, 0.0) for row in rows]])
    )
    order = np.array(candidates)
    ranked = RankedLabels(
        order,
        np.log(np.full(len(order), 0.25)),
        found.z[order],
        known.groups[order],
        placed_labels(slots, model, known, order),
    )
    return predict_known_cells(slots, model, known, scores, ranked)


def hexagonal(volume: float, c_over_a: float) -> list[float]:
    a = (volume / (math.sqrt(3) / 2 * c_over_a)) ** (1 / 3)
    return [a, a, a * c_over_a, 90, 90, 120]


def test_geometries_keep_their_own_difference_from_the_mean_that_the_network_corrects(model, known) -> None:
    # Wurtzite as ZnS has it, as ZnO has it, and as ZnO has it with the elements exchanged.
    weights = {(5, (0, 1)): 0.6, (6, (0, 1)): 0.3, (6, (1, 0)): 0.1}
    (one,) = predicted(model, known, weights, WURTZITE)
    assert (one.label.key, one.z, one.source) == ("186:S-b,Zn-b", 2, "trained")
    assert one.log_prob == pytest.approx(math.log(0.25))
    assert one.log_volume_spread == pytest.approx(math.exp(-2.5), rel=1e-6)
    assert one.shape_spread == pytest.approx(math.exp(-3.0), rel=1e-6)
    assert [s.weight for s in one.seeds] == pytest.approx([0.6, 0.3, 0.1])
    assert [s.count for s in one.seeds] == [13, 14, 14]
    # Two formula units of 25 + 15 Å³, e^0.2 or e^0.4 of it by the geometry and e^0.2 more by the network.
    zns, zno = (
        hexagonal(80 * math.exp(0.4), 1.6 * math.exp(0.05)),
        hexagonal(80 * math.exp(0.6), 1.7 * math.exp(0.05)),
    )
    for seed, cell in zip(one.seeds, (zns, zno, zno)):
        assert seed.cell == pytest.approx(cell, rel=1e-6)
    assert one.cell.tolist() == one.seeds[0].cell.tolist()
    assert [s.free_coords.tolist() for s in one.seeds] == [[0.375, 0.0], [0.382, 0.02], [0.02, 0.382]]
    assert [s.free_spread.tolist() for s in one.seeds] == [[0.0, 0.0], [0.01, 0.03], [0.03, 0.01]]


def test_several_labels_are_predicted_in_their_order(model, known) -> None:
    weights = {(4, (0, 1)): 0.5, (0, (0, 1)): 0.2, (7, (1, 0)): 0.7, (5, (0, 1)): 0.1}
    found = predicted(model, known, weights, ZINCBLENDE, ANTI_NIAS, ROCK_SALT)
    assert [p.label.key for p in found] == ["216:S-a,Zn-c", "194:S-c,Zn-a", "225:S-a,Zn-b"]
    assert [[s.count for s in p.seeds] for p in found] == [[12], [15], [3]]
    assert [[s.weight for s in p.seeds] for p in found] == [[1.0], [1.0], [1.0]]
    # Face-centred cells hold four lattice points: 4 x 40 Å³ x e^0.3 and e^0.1, times e^0.2.
    for p, volume in ((found[0], 160 * math.exp(0.5)), (found[2], 160 * math.exp(0.3))):
        assert p.cell == pytest.approx([*[volume ** (1 / 3)] * 3, 90, 90, 90], rel=1e-6)
    assert found[1].cell == pytest.approx(hexagonal(80 * math.exp(0.2), 1.4 * math.exp(0.05)), rel=1e-6)


def test_elements_fill_the_cell_by_their_amounts(model) -> None:
    known = known_class(model, (1, 2))
    slots = slot_elements((("Ca", 1), ("F", 2)))
    (one,) = predicted(model, known, {(8, (0, 1)): 1.0}, 0, slots=slots)
    # 30 + 2 x 12 Å³ a formula unit, four of them, e^-0.2 by the geometry and e^0.2 by the network.
    assert one.cell == pytest.approx([6.0, 6.0, 6.0, 90, 90, 90], rel=1e-6)
    assert one.label.key == "225:Ca-a,F-c"


def test_the_six_likeliest_geometries_of_a_label_are_kept(model) -> None:
    known = known_class(model, (1, 2))
    slots = slot_elements((("Ti", 1), ("O", 2)))
    weights = {(9 + k, (0, 1)): w for k, w in enumerate((0.01, 0.08, 0.02, 0.32, 0.16, 0.04, 0.33, 0.04))}
    (one,) = predicted(model, known, weights, 1, slots=slots)
    assert one.label.key == "136:O-f,Ti-a"
    assert [s.free_coords[0] for s in one.seeds] == pytest.approx([0.306, 0.303, 0.304, 0.301, 0.305, 0.307])
    # Shares of all eight, the two least likely included.
    assert [s.weight for s in one.seeds] == pytest.approx([0.33, 0.32, 0.16, 0.08, 0.04, 0.04])


def test_nothing_known_gives_no_predictions(model, known) -> None:
    scores = Scores(torch.zeros(1, 6), torch.zeros(1, len(known.source_of_row)))
    none = np.zeros(0, dtype=int)
    assert (
        predict_known_cells(ZNS, model, known, scores, RankedLabels(none, np.zeros(0), none, none, ())) == []
    )


def test_cells_move_into_ascending_axes_among_the_exchanges_that_fit(known) -> None:
    """An orthorhombic label whose canonical form is reached by every permutation of the axes."""
    label = Label.from_key("47:A-a,B-b")
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1)]
    axes = np.array([np.eye(3)[list(order)] for order in orders])
    moving = Placement(label, label, label.key, np.zeros(0, dtype=int), np.array([3, 5, 7, 8, 9, 11]), axes)
    still = Placement(label, label, label.key, np.zeros(0, dtype=int), np.zeros(0, dtype=int), axes[:0])
    cells = np.array([[5.0, 3, 4], [6, 5, 4], [3, 4, 5], [4, 3, 4], [5, 5, 2]])
    cells = np.concatenate([cells, np.full((5, 3), 90.0)], axis=1)
    before = cells.copy()
    moved, exchanges = _move_cells(cells, np.full(5, 47), [moving, still, moving, moving, moving])
    assert moved[:, :3] == pytest.approx(np.array([[3, 4, 5], [6, 5, 4], [3, 4, 5], [3, 4, 4], [2, 5, 5]]))
    assert (moved[:, 3:] == 90).all()
    # (b, c, a) is exchange 7, (c, a, b) 11; of two that give equal lengths the first is taken.
    assert exchanges == [7, None, 3, 7, 5]
    assert (cells == before).all()
    assert _move_cells(cells[:1], np.array([47]), [still]) == (pytest.approx(cells[:1]), [None])

"""Probabilities and cells of labels, on a memory small enough to work them out by hand (see `known_memory`)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from known_memory import small_model
from mapcsp.records import FormulaEntry, SymmetryPrediction
from mapcsp.settings import SymmetrySettings
from mapcsp.symmetry.predict import predict_symmetry, z_by_network

ALL = {"n_labels": 400, "coverage": 1.0, "max_space_groups": 230}


@pytest.fixture(scope="module")
def model():
    return small_model()


def predict(model, zs: tuple[int, ...], number: int | None = None, amounts=(("S", 1), ("Zn", 1)), **settings):
    entry = FormulaEntry("x", "ZnS", "ZnS", None, amounts, zs, len(zs) == 1, number)
    return predict_symmetry(entry, SymmetrySettings(**{**ALL, **settings}), model)


def probabilities(found: SymmetryPrediction) -> dict[tuple[str, int], float]:
    return {(p.label.key, p.z): math.exp(p.log_prob) for p in found.labels}


def test_known_labels_share_by_examples_and_new_ones_by_novelty(model) -> None:
    # Six, two and two ways to be rock salt, CsCl and zincblende; two of six examples are alone in their label.
    found = predict(model, (1,))
    assert probabilities(found) == pytest.approx(
        {
            ("225:S-a,Zn-b", 1): 0.4,
            ("216:S-a,Zn-b", 1): 1 / 3,
            ("216:S-a,Zn-c", 1): 2 / 15,
            ("221:S-a,Zn-b", 1): 2 / 15,
        }
    )
    assert {p.label.key: p.source for p in found.labels if p.label.space_group == 216} == {
        "216:S-a,Zn-b": "enumerated",
        "216:S-a,Zn-c": "trained",
    }
    assert dict(found.space_groups) == pytest.approx({216: 7 / 15, 225: 0.4, 221: 2 / 15})
    assert [n for n, _ in found.space_groups] == [216, 225, 221]
    assert found.z_prob == ((1, 1.0),)


def test_new_labels_are_tried_where_known_ones_are_and_share_by_how_usual_their_positions_are(model) -> None:
    # Wurtzite's group has used letter b four times and a never: 4.5 to 0.5. A quarter of the examples are alone.
    found = probabilities(predict(model, (2,)))
    known = {"186:S-b,Zn-b": 0.5, "194:S-a,Zn-c": 0.125, "194:S-c,Zn-a": 0.125}
    assert {key: found[key, 2] for key in known} == pytest.approx(known)
    new = {key: p for (key, _), p in found.items() if key not in known}
    assert sum(new.values()) == pytest.approx(0.25)
    assert {int(key.split(":")[0]) for key in new} == {186, 194}
    assert new["186:S-a,Zn-b"] == new["186:S-b,Zn-a"] == pytest.approx(9 * new["186:S-a,Zn-a"])


def test_every_z_brings_its_own_labels_and_novelty(model) -> None:
    found = predict(model, (1, 2))
    z_prob = dict(found.z_prob)
    assert sum(z_prob.values()) == pytest.approx(1.0)
    # Ten examples with one formula unit in the primitive cell, six with two.
    assert z_prob[1] > z_prob[2] > 0.3
    of_z = {z: [p for p in found.labels if p.z == z] for z in (1, 2)}
    for z, novelty, known in ((1, 1 / 3, 0.4), (2, 1 / 4, 0.5)):
        new = sum(math.exp(p.log_prob) for p in of_z[z] if p.source == "enumerated")
        assert new == pytest.approx(z_prob[z] * novelty)
        assert math.exp(of_z[z][0].log_prob) == pytest.approx(z_prob[z] * known)


def test_a_given_space_group_has_all_the_probability(model) -> None:
    assert probabilities(predict(model, (1,), 225)) == {("225:S-a,Zn-b", 1): pytest.approx(1.0)}
    wurtzite = predict(model, (2,), 186)
    assert {p.label.space_group for p in wurtzite.labels} == {186}
    assert probabilities(wurtzite)["186:S-b,Zn-b", 2] == pytest.approx(0.75)
    nowhere = predict(model, (2,), 99)
    assert {p.source for p in nowhere.labels} == {"enumerated"}
    assert sum(probabilities(nowhere).values()) == pytest.approx(1.0)


def test_a_label_without_a_crystal_gets_a_cell_of_the_elements_volumes(model) -> None:
    labels = {p.label.key: p for p in predict(model, (1,)).labels}
    new = labels["216:S-a,Zn-b"]
    # Sulphur 25 and zinc 15 Å³, four lattice points.
    assert new.cell == pytest.approx([160 ** (1 / 3)] * 3 + [90, 90, 90])
    assert (new.log_volume_spread, new.shape_spread, new.seeds) == (0.12, 0.35, ())
    hexagonal = {p.label.key: p for p in predict(model, (2,)).labels}["186:S-a,Zn-b"]
    a = (80 / (math.sqrt(3) / 2)) ** (1 / 3)
    assert hexagonal.cell == pytest.approx([a, a, a, 90, 90, 120])


def test_a_known_label_keeps_its_own_cell_and_geometry(model) -> None:
    labels = {p.label.key: p for p in predict(model, (2,)).labels}
    wurtzite = labels["186:S-b,Zn-b"]
    assert len(wurtzite.seeds) == 4
    assert sorted(s.weight for s in wurtzite.seeds) == pytest.approx([0.25] * 4)
    volume = {round(float(s.cell[0] ** 2 * s.cell[2] * math.sqrt(3) / 2), 3) for s in wurtzite.seeds}
    assert volume == {round(80 * math.exp(0.2), 3), round(80 * math.exp(0.4), 3)}


def test_only_the_likeliest_labels_are_listed_and_share_the_probability(model) -> None:
    found = predict(model, (1,), n_labels=2)
    assert [p.label.key for p in found.labels] == ["225:S-a,Zn-b", "216:S-a,Zn-b"]
    first, second = (math.exp(p.log_prob) for p in found.labels)
    assert first / second == pytest.approx(1.2)


def test_amounts_need_not_be_equal(model) -> None:
    # With the same positions no other label is to be had in fluorite's group.
    (fluorite,) = predict(model, (1,), amounts=(("Ca", 1), ("F", 2))).labels
    assert fluorite.label.key == "225:Ca-a,F-c"
    assert math.exp(fluorite.log_prob) == pytest.approx(1.0)
    # 30 + 2 x 12 Å³ a formula unit, four lattice points, e^-0.2 by the geometry.
    assert fluorite.cell[0] == pytest.approx((4 * 54 * math.exp(-0.2)) ** (1 / 3))


def test_the_network_gives_each_z_the_share_of_its_labels() -> None:
    zs = np.array([1, 1, 1, 2, 2, 4])
    found = z_by_network(np.log([6.0, 2, 2, 4, 1, 1]) + 900, zs)
    assert found[:5] == pytest.approx([0, 10 / 16, 5 / 16, 0, 1 / 16])
    assert len(found) == 25 and not found[5:].any()
    some = z_by_network(np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf, -np.inf]), zs)
    assert some[:3] == pytest.approx([0, 0.5, 0.5])
    assert z_by_network(np.full(6, -np.inf), zs) is None


def test_a_composition_without_known_labels_is_tried_in_the_most_usual_groups(model) -> None:
    found = predict(model, (1,), amounts=(("S", 2), ("Zn", 3)))
    assert {p.source for p in found.labels} == {"enumerated"}
    assert sum(probabilities(found).values()) == pytest.approx(1.0)
    # Of the groups with examples, only that of CsCl and that of NiAs have room for two and three atoms.
    assert {221, 194} & {p.label.space_group for p in found.labels}

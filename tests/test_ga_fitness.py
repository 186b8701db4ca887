"""Terms of the fitness: definitions, and what they must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from known_tasks import KNOWN, known_crystal, known_task, prediction, true_map
from mapcsp.crystals import distance_matrix
from mapcsp.ga.fitness import DEGREES_OF_FREEDOM, SHORT_RATIO, build_objective, evaluate, lattice_log_prob
from mapcsp.records import Label, LabelPrediction, PredictedMap
from mapcsp.settings import ReconstructSettings
from scipy import stats

TOLERANCE = 1e-9
BADDELEYITE = "baddeleyite ZrO2"
WEIGHTS = ("weight_map", "weight_contact", "weight_bond", "weight_short", "weight_prior")


def single(
    name: str, cell, free, settings=None, spread: float = 0.0, predicted_map: PredictedMap | None = None
):
    task = known_task(name, spread)
    objective = build_objective(
        task.labels[0], predicted_map or task.maps[0], settings or ReconstructSettings()
    )
    return evaluate(objective, np.array([cell], dtype=float), np.array([free], dtype=float)).row(0)


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_true_crystal_has_no_error_and_full_overlap(name: str) -> None:
    _, cell, free = KNOWN[name]
    terms = single(name, cell, free)
    assert terms.distance_error_ang == pytest.approx(0, abs=1e-6)
    assert terms.contact_dice == pytest.approx(1)
    assert terms.bond_validity == 1
    assert terms.short_distance == 0


def test_log_likelihood_is_the_mean_log_density_over_pairs() -> None:
    _, cell, free = KNOWN[BADDELEYITE]
    free = np.mod(np.array(free) + np.linspace(0, 0.05, 9), 1)
    task = known_task(BADDELEYITE)
    predicted = replace(task.maps[0], spread_ang=np.full((12, 12), 0.2))
    crystal = build_objective(task.labels[0], predicted, ReconstructSettings()).pairs.geometry.decode(
        np.array(cell), free
    )
    upper = np.triu_indices(12, 1)
    delta = (distance_matrix(crystal) - predicted.distance_ang)[upper]
    expected = stats.t.logpdf(delta, DEGREES_OF_FREEDOM, scale=0.2).mean()
    terms = single(BADDELEYITE, cell, free, predicted_map=predicted)
    assert terms.map_log_likelihood == pytest.approx(expected)
    assert terms.distance_error_ang == pytest.approx(math.sqrt((delta**2).mean()))


def test_bond_validity_is_equation_2() -> None:
    """CsCl-type FeS squeezed and stretched: one kind of pair, so that every bond is short, valid or absent."""
    label = Label.from_key("221:O-b,Ti-a")
    radii = 0.66 + 1.60
    values = {}
    for name, distance in {"short": radii - 0.41, "valid": radii - 0.39, "absent": radii + 0.41}.items():
        a = distance * 2 / math.sqrt(3)
        cell = np.array([a, a, a, 90, 90, 90.0])
        objective = build_objective(
            LabelPrediction(label, 1, 0.0, "trained", cell, 0, 0), None, ReconstructSettings()
        )
        values[name] = evaluate(objective, cell[None], np.empty((1, 0))).row(0).bond_validity
    # Without any bond eq. 2 is 0/0; nothing is short then.
    assert values == {"short": 0.0, "valid": 1.0, "absent": 1.0}


def test_short_distances_count_own_images_and_nothing_else_is_punished() -> None:
    label = Label.from_key("221:Ti-a")
    objective = build_objective(
        LabelPrediction(label, 1, 0.0, "trained", np.array([3.0, 3, 3, 90, 90, 90]), 0, 0),
        None,
        ReconstructSettings(),
    )
    limit = SHORT_RATIO * 3.2
    cells = np.array([[limit * 1.01] * 3 + [90.0] * 3, [limit / 2] * 3 + [90.0] * 3])
    found = evaluate(objective, cells, np.empty((2, 0))).terms["short_distance"]
    assert found == pytest.approx([0.0, -0.5])


def test_metals_never_bond() -> None:
    label = Label.from_key("221:Fe-b,Ti-a")
    cell = np.array([3.0, 3, 3, 90, 90, 90])
    predicted = PredictedMap(
        1, label.key, ("Fe", "Ti"), 2.6 * (1 - np.eye(2)), np.ones((2, 2)), 1 - np.eye(2)
    )
    objective = build_objective(
        LabelPrediction(label, 1, 0.0, "trained", cell, 0, 0), predicted, ReconstructSettings()
    )
    assert evaluate(objective, cell[None], np.empty((1, 0))).row(0).contact_dice == 0.0


@pytest.mark.parametrize("key", ["221:Fe-b,Ti-a", None])
def test_one_pair_has_the_density_of_its_distance_with_rows_or_without(key: str | None) -> None:
    cell = np.array([3.0, 3, 3, 90, 90, 90])
    one = 1 - np.eye(2)
    predicted = PredictedMap(1, key, ("Fe", "Ti"), 2.4 * one, np.full((2, 2), 0.3), one)
    label = Label.from_key("221:Fe-b,Ti-a")
    objective = build_objective(
        LabelPrediction(label, 1, 0.0, "trained", cell, 0, 0), predicted, ReconstructSettings()
    )
    terms = evaluate(objective, cell[None], np.empty((1, 0))).row(0)
    # Half the diagonal of a cube of 3 Å.
    assert terms.distance_error_ang == pytest.approx(1.5 * math.sqrt(3) - 2.4)
    assert terms.map_log_likelihood == pytest.approx(
        stats.t.logpdf(1.5 * math.sqrt(3), 4, loc=2.4, scale=0.3)
    )


def test_dice_is_soft_in_the_predicted_probability() -> None:
    _, cell, free = KNOWN["rutile TiO2"]
    predicted = known_task("rutile TiO2").maps[0]
    predicted = replace(predicted, contact_prob=0.5 * predicted.contact_prob)
    # 2 * 0.5 n / (0.5 n + n)
    assert single("rutile TiO2", cell, free, predicted_map=predicted).contact_dice == pytest.approx(2 / 3)


def test_fitness_does_not_depend_on_origin_or_lattice_translations() -> None:
    _, cell, free = KNOWN[BADDELEYITE]
    first = single(BADDELEYITE, cell, free)
    # Half a cell is a change of origin in P2_1/c; whole cells never matter.
    moved = single(BADDELEYITE, cell, np.array(free) + 0.5)
    whole = single(BADDELEYITE, cell, np.array(free) + np.arange(9) % 3 - 1)
    for other in (moved, whole):
        assert other.total == pytest.approx(first.total, abs=1e-6)


def test_a_map_without_rows_does_not_depend_on_the_order_of_its_atoms() -> None:
    _, cell, free = KNOWN[BADDELEYITE]
    free = np.mod(np.array(free) + np.linspace(0, 0.1, 9), 1)
    loose = replace(known_task(BADDELEYITE).maps[0], label_key=None)
    rng = np.random.default_rng(1)
    loose = replace(loose, contact_prob=(lambda c: (c + c.T) / 2)(rng.random((12, 12))))
    order = rng.permutation(12)
    shuffled = PredictedMap(
        4,
        None,
        tuple(loose.species[i] for i in order),
        loose.distance_ang[np.ix_(order, order)],
        loose.spread_ang,
        loose.contact_prob[np.ix_(order, order)],
    )
    one, other = (single(BADDELEYITE, cell, free, predicted_map=m) for m in (loose, shuffled))
    assert one.map_log_likelihood == pytest.approx(other.map_log_likelihood, abs=TOLERANCE)
    assert one.contact_dice == pytest.approx(other.contact_dice, abs=TOLERANCE)


def test_sorted_comparison_finds_no_error_in_the_true_crystal() -> None:
    _, cell, free = KNOWN[BADDELEYITE]
    loose = replace(known_task(BADDELEYITE).maps[0], label_key=None)
    terms = single(BADDELEYITE, cell, free, predicted_map=loose)
    assert terms.distance_error_ang == pytest.approx(0, abs=1e-6)
    assert terms.contact_dice == pytest.approx(1)


def test_exchanged_rows_of_one_element_cost_by_row_but_not_sorted() -> None:
    _, cell, free = KNOWN[BADDELEYITE]
    exchanged = [*free[3:6], *free[:3], *free[6:]]
    assert single(BADDELEYITE, cell, exchanged).distance_error_ang > 0.1
    loose = replace(known_task(BADDELEYITE).maps[0], label_key=None)
    assert single(BADDELEYITE, cell, exchanged, predicted_map=loose).distance_error_ang < 1e-6


@pytest.mark.parametrize(
    ("weight", "term"),
    [
        ("weight_map", "map_log_likelihood"),
        ("weight_contact", "contact_dice"),
        ("weight_bond", "bond_validity"),
        ("weight_short", "short_distance"),
        ("weight_prior", "lattice_log_prob"),
    ],
)
def test_a_term_of_weight_zero_counts_nothing_and_is_recorded(weight: str, term: str) -> None:
    _, cell, free = KNOWN["rutile TiO2"]
    # Oxygen nearer to titanium: half the contacts are lost, and a distance is short.
    free = [0.2]
    all_on = dict.fromkeys(WEIGHTS, 1.0)
    on, off = (
        single("rutile TiO2", cell, free, ReconstructSettings(**{**all_on, weight: value}))
        for value in (1.0, 0.0)
    )
    assert getattr(on, term) == getattr(off, term) is not None
    own = getattr(on, term) + (on.label_log_prob if weight == "weight_prior" else 0.0)
    assert own != 0
    assert on.total - off.total == pytest.approx(own)


def test_without_any_term_there_is_no_fitness() -> None:
    _, cell, free = KNOWN["rutile TiO2"]
    with pytest.raises(ValueError, match="no term"):
        single("rutile TiO2", cell, free, ReconstructSettings(**dict.fromkeys(WEIGHTS, 0.0)))


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    _, cell, free = KNOWN["pyrite FeS2"]
    settings = ReconstructSettings(
        weight_map=2, weight_contact=3, weight_bond=4, weight_short=5, weight_prior=0.5
    )
    t = single("pyrite FeS2", cell, np.array(free) + 0.02, settings, spread=0.1)
    expected = 2 * t.map_log_likelihood + 3 * t.contact_dice + 4 * t.bond_validity + 5 * t.short_distance
    assert t.total == pytest.approx(expected + 0.5 * (t.label_log_prob + t.lattice_log_prob))


def test_the_papers_modes_maximise_what_the_papers_say() -> None:
    _, cell, free = KNOWN["rutile TiO2"]
    off = np.array(free) + 0.05
    contact = single("rutile TiO2", cell, off, ReconstructSettings(mode="cmcrystal"))
    assert contact.total == contact.contact_dice * contact.bond_validity
    assert contact.map_log_likelihood is None
    distance = single("rutile TiO2", cell, off, ReconstructSettings(mode="dmcrystal"))
    assert distance.total == -distance.distance_error_ang
    assert distance.contact_dice is distance.bond_validity is distance.label_log_prob is None


def test_lattice_log_prob_is_normal_in_volume_ratio_and_angle() -> None:
    predicted = prediction(BADDELEYITE, spread=0.1)
    at_centre = lattice_log_prob(predicted, predicted.cell[None])[0]
    assert at_centre == pytest.approx(4 * stats.norm.logpdf(0, scale=0.1))
    larger = predicted.cell.copy()
    larger[:3] *= math.exp(0.1 / 3)
    assert lattice_log_prob(predicted, larger[None])[0] == pytest.approx(at_centre - 0.5)


def log_density(*terms: tuple[float, float]) -> float:
    """Sum of normal log densities of (deviation, spread)."""
    return sum(stats.norm.logpdf(deviation, scale=spread) for deviation, spread in terms)


@pytest.mark.parametrize(
    ("label", "centre", "cell", "terms"),
    [
        # V = a b c sin(beta); 3 degrees are 0.05236 rad.
        (
            "14:O-e",
            (5.0, 6.0, 7.0, 90, 99.0, 90),
            (5.2, 6.0, 7.7, 90, 102.0, 90),
            [
                (math.log(5.2 * 7.7 * 0.978148 / (5.0 * 7.0 * 0.987688)), 0.1),
                (math.log(5.0 / 5.2), 0.04),
                (math.log(1.1 * 5.0 / 5.2), 0.04),
                (0.0523599, 0.04),
            ],
        ),
        # All angles at 90 degrees but one, so that the volume is a b c sin(that angle); each angle counts.
        (
            "2:O-i",
            (4.0, 4.0, 4.0, 90, 90, 90),
            (4.0, 4.4, 4.0, 90, 90, 84.0),
            [
                (math.log(1.1 * 0.994522), 0.1),
                (math.log(1.1), 0.04),
                (0, 0.04),
                (0, 0.04),
                (0, 0.04),
                (-0.1047198, 0.04),
            ],
        ),
        (
            "186:S-b,Zn-b",
            (3.8, 3.8, 6.2, 90, 90, 120),
            (3.8, 3.8, 6.51, 90, 90, 120),
            [(math.log(1.05), 0.1), (math.log(1.05), 0.04)],
        ),
        (
            "221:Ti-a",
            (3.0, 3.0, 3.0, 90, 90, 90),
            (3.3, 3.3, 3.3, 90, 90, 90),
            [(3 * math.log(1.1), 0.1)],
        ),
    ],
    ids=["monoclinic", "triclinic", "hexagonal", "cubic"],
)
def test_the_density_of_cells_is_that_of_their_free_parameters(label, centre, cell, terms) -> None:
    predicted = LabelPrediction(
        Label.from_key(label), 1, 0.0, "trained", np.array(centre, dtype=float), 0.1, 0.04
    )
    at_centre = [(0.0, spread) for _, spread in terms]
    found = lattice_log_prob(predicted, np.array([cell, centre], dtype=float))
    assert found == pytest.approx([log_density(*terms), log_density(*at_centre)], abs=1e-4)


def test_a_certain_cell_has_a_finite_density() -> None:
    cell = np.array([3.0, 3.0, 3.0, 90, 90, 90])
    predicted = LabelPrediction(Label.from_key("221:Ti-a"), 1, 0.0, "trained", cell, 0.0, 0.0)
    larger = cell * [*[math.exp(0.001)] * 3, 1, 1, 1]
    found = lattice_log_prob(predicted, np.stack([cell, larger]))
    # A spread of 0 counts as 0.001; ln(volume) is off by three times that.
    assert found == pytest.approx(
        [math.log(1000 / math.sqrt(2 * math.pi)), math.log(1000 / math.sqrt(2 * math.pi)) - 4.5]
    )


def test_a_map_of_another_label_is_refused() -> None:
    other = true_map(Label.from_key(KNOWN["pyrite FeS2"][0]), known_crystal("pyrite FeS2"), 4)
    with pytest.raises(ValueError, match="205:Fe-a,S-c"):
        build_objective(prediction("rutile TiO2"), other, ReconstructSettings())


def test_a_map_by_rows_must_have_the_labels_atoms_in_its_order() -> None:
    rutile = known_task("rutile TiO2").maps[0]
    for wrong in (replace(rutile, label_key="136:O-g,Ti-a"), replace(rutile, species=rutile.species[::-1])):
        with pytest.raises(ValueError, match="expected 136:O-f,Ti-a"):
            build_objective(prediction("rutile TiO2"), wrong, ReconstructSettings())


def test_a_map_without_rows_must_have_the_labels_atoms() -> None:
    loose = replace(
        known_task("rutile TiO2").maps[0], label_key=None, species=("O", "O", "O", "O", "Ti", "Zr")
    )
    with pytest.raises(ValueError, match="'Ti', 'Zr'.*expected the atoms .*'Ti', 'Ti'"):
        build_objective(prediction("rutile TiO2"), loose, ReconstructSettings())


def antifluorite(label_key: str | None) -> PredictedMap:
    """A map for two O and one Ti, whose entries for the two equal pairs of O and Ti differ, as do the halves of one."""
    distance = np.array([[0, 2.5, 2.2], [2.5, 0, 1.9], [2.0, 1.9, 0]])
    spread = np.array([[0.01, 0.01, 0.3], [0.01, 0.01, 0.4], [0.3, 0.4, 0.01]])
    contact = np.array([[0, 0.2, 0.5], [0.2, 0, 0.8], [0.5, 0.8, 0]])
    return PredictedMap(1, label_key, ("O", "O", "Ti"), distance, spread, contact)


def target_of(predicted: PredictedMap, **settings):
    label = Label.from_key("225:O-c,Ti-a")
    cell = np.array([4.6, 4.6, 4.6, 90, 90, 90])
    return build_objective(
        LabelPrediction(label, 1, 0.0, "trained", cell, 0, 0), predicted, ReconstructSettings(**settings)
    ).target


def test_a_map_by_rows_merges_the_pairs_that_symmetry_makes_equal() -> None:
    target = target_of(antifluorite("225:O-c,Ti-a"))
    # O-O, then O-Ti: the mean distance and contact, and the root mean square of the spreads, of at least 0.05 Å.
    assert target.by_row
    assert target.expected == pytest.approx([2.5, 2.0])
    assert target.spread == pytest.approx([0.05, math.sqrt((0.3**2 + 0.4**2) / 2)])
    assert target.contact == pytest.approx([0.2, 0.65])
    assert target.contact_sum == pytest.approx(0.2 + 2 * 0.65)


def test_a_map_without_rows_is_sorted_within_each_pair_of_elements() -> None:
    one = antifluorite(None)
    order = [2, 0, 1]
    shuffled = PredictedMap(
        1,
        None,
        ("Ti", "O", "O"),
        one.distance_ang[np.ix_(order, order)].T,
        one.spread_ang[np.ix_(order, order)],
        one.contact_prob[np.ix_(order, order)],
    )
    for predicted, far in ((one, 2.2), (shuffled, 2.2)):
        target = target_of(predicted)
        assert not target.by_row
        assert target.expected == pytest.approx([2.5, 1.9, far])
        # Spreads go with their distances, contacts from the likeliest down.
        assert target.spread == pytest.approx([0.05, 0.4, 0.3])
        assert target.contact == pytest.approx([0.2, 0.8, 0.5])
        assert target.contact_sum == pytest.approx(1.5)


def test_equal_distances_of_a_map_keep_the_order_of_its_rows() -> None:
    loose = replace(known_task(BADDELEYITE).maps[0], label_key=None)
    rng = np.random.default_rng(2)
    upper = np.triu(rng.choice([2.0, 3.0], (12, 12)), 1)
    spread = np.triu(rng.uniform(0.1, 0.9, (12, 12)), 1)
    loose = replace(loose, distance_ang=upper + upper.T, spread_ang=spread + spread.T)
    pairs = [(a, b) for a in range(12) for b in range(a + 1, 12)]
    expected = []
    for elements in (("O", "O"), ("O", "Zr"), ("Zr", "Zr")):
        mine = [(a, b) for a, b in pairs if (loose.species[a], loose.species[b]) == elements]
        expected += [spread[p] for p in sorted(mine, key=upper.__getitem__)]
    objective = build_objective(known_task(BADDELEYITE).labels[0], loose, ReconstructSettings())
    assert objective.target.spread.tolist() == expected


def test_the_contact_search_takes_half_and_more_for_a_contact() -> None:
    by_row = target_of(antifluorite("225:O-c,Ti-a"), mode="cmcrystal")
    assert (by_row.contact.tolist(), by_row.contact_sum) == ([0.0, 1.0], 2.0)
    loose = target_of(antifluorite(None), mode="cmcrystal")
    assert (loose.contact.tolist(), loose.contact_sum) == ([0.0, 1.0, 1.0], 2.0)

"""The benchmark's parts: the sample, the baselines, the judge, the figures; and a small one from end to end, in process."""

import dataclasses
import json

import known_pools as pools
import numpy as np
import pytest
import well_known
from hypothesis import given, settings
from hypothesis import strategies as st
from known_structures import KNOWN
from mapcsp.benchmark.baselines import TemplateLibrary, random_pool
from mapcsp.benchmark.figures import Outcome, match_rates, summarise_costs, summarise_variant
from mapcsp.benchmark.judge import PoolJudge
from mapcsp.benchmark.pipeline import load_models
from mapcsp.benchmark.predict import relax_searched, search_settings, search_target
from mapcsp.benchmark.records import KnownTarget, PredictionCost, RescoreCost
from mapcsp.benchmark.summary import command_of, crystal_rows
from mapcsp.benchmark.tables import calibration_table
from mapcsp.benchmark.targets import draw_targets, run_sample
from mapcsp.benchmark.variants import VARIANTS, left_out, runnable, sources_of
from mapcsp.errors import UserError
from mapcsp.metrics.match import LOOSE, STRICT, match_rms
from mapcsp.ranking.model import load_ranker
from mapcsp.records import Crystal, Label, LabelPrediction, RelaxedPool, SymmetryPrediction
from mapcsp.relax.backends import load_potential
from mapcsp.relax.fetch import default_weights_path
from mapcsp.settings import BenchmarkSettings, Settings, SymmetrySettings, parse_settings
from mapcsp.store import read_records, write_json
from mapcsp.symmetry.labels import encode_canonical
from mapcsp.symmetry.predict import symmetry_predictor
from mapcsp.training.encoded import encode_known
from mapcsp.training.geometries import formula_hash
from mapcsp.training.tables import KnownCrystal, read_structures

RANKER = load_ranker()
COST = PredictionCost("NaCl", 1.0, 2.0, 4.0, 100, 50, 0)


@pytest.fixture(scope="module")
def known() -> list[KnownCrystal]:
    return read_structures([well_known.TABLE], 24)


def drawn(known: list[KnownCrystal], trained: frozenset[int] = frozenset(), **changes) -> list[KnownTarget]:
    return draw_targets(known, BenchmarkSettings(**changes), trained)[0]


def salt_target(**changes) -> KnownTarget:
    row = KnownCrystal("NaCl", "NaCl", pools.rocksalt(), None, 0.0)
    target = drawn([row])[0]
    return dataclasses.replace(target, **changes)


def judged(pool: RelaxedPool, variant: str = "full", cost: PredictionCost = COST, **changes):
    judge = PoolJudge(salt_target(**changes), pool, cost, RANKER, Settings().ranking, with_distances=False)
    return judge.judge(VARIANTS[variant])


def pool_of(*candidates) -> RelaxedPool:
    return RelaxedPool("NaCl", "NaCl", candidates)


def salt(energy: float, log_prob: float = -0.4, **changes):
    return pools.relaxed_candidate(
        "salt", pools.rocksalt(), pools.ROCKSALT, energy, log_prob=log_prob, **changes
    )


# Its primitive cell has four atoms, so no tolerance makes it rock salt.
WURTZITE = Label(186, (("Cl", "b"), ("Na", "b")))


def wurtzite_type() -> Crystal:
    zincite = well_known.well_known()["zincite"]
    species = tuple({"Zn": "Na", "O": "Cl"}[symbol] for symbol in zincite.species)
    return Crystal(zincite.lattice_ang * 1.4, species, zincite.frac_coords)


def wurtzite(energy: float, log_prob: float = -3.0, **changes):
    return pools.relaxed_candidate(
        "wurtzite", wurtzite_type(), WURTZITE, energy, log_prob=log_prob, **changes
    )


def test_the_shipped_table_holds_the_twenty_crystals(known):
    assert [row.material_id for row in known] == list(well_known.well_known())
    for row, crystal in zip(known, well_known.well_known().values()):
        np.testing.assert_allclose(row.crystal.lattice_ang, crystal.lattice_ang, atol=1e-6)
        np.testing.assert_allclose(row.crystal.frac_coords, crystal.frac_coords, atol=1e-6)
    assert {row.formula for row in known} >= {"NaCl", "MgAl2O4", "K2NiF4", "FeS2"}


def test_a_larger_sample_begins_with_the_smaller_one(known):
    few, many = drawn(known, count=5), drawn(known, count=12)
    assert [t.entry.id for t in many[:5]] == [t.entry.id for t in few]
    assert [t.number for t in many] == list(range(12))
    assert [t.entry.id for t in drawn(known, count=5, seed=2)] != [t.entry.id for t in few]


def test_the_sample_keeps_to_the_largest_cell_and_names_polymorphs(known):
    targets = {t.entry.id: t for t in drawn(known, max_atoms=6)}
    assert "spinel" not in targets and "rutile" in targets
    assert len(targets["rutile"].polymorphs) == len(targets["anatase"].polymorphs) == 1
    assert targets["NaCl"].polymorphs == ()


@pytest.mark.parametrize(
    ("knows", "zs", "given", "group"),
    [
        ("formula", (1, 2, 3), False, None),
        ("formula_z", (2,), True, None),
        ("formula_z_space_group", (2,), True, 136),
    ],
)
def test_the_predictor_is_told_what_the_setting_says(known, knows, zs, given, group):
    targets = {t.entry.id: t for t in drawn(known, max_atoms=9, knows=knows)}
    entry = targets["rutile"].entry
    assert (entry.z_allowed, entry.z_given, entry.space_group) == (zs, given, group)
    assert entry.amounts == (("O", 2), ("Ti", 1))


def test_crystals_whose_formula_was_trained_on_are_marked(known):
    targets = drawn(known, frozenset({formula_hash("TiO2")}))
    assert {t.entry.id for t in targets if t.trained} == {"rutile", "anatase"}


def test_variants_that_cannot_run_are_left_out_with_a_reason():
    run = parse_settings({"rescore": {"potential": "none"}})
    assert set(left_out(run)) == {"template", "one_potential", "second_energy"}
    assert "benchmark.templates" in left_out(run)["template"]
    assert runnable(run)[:3] == ["full", "energy", "unrelaxed"]
    chosen = parse_settings({"benchmark": {"variants": ["random"], "templates": ["x.parquet"]}})
    assert (runnable(chosen), left_out(chosen)) == (["random"], {})
    assert sources_of(["random"]) == ["full", "random"]


def test_each_source_searches_in_its_own_way():
    run = Settings()
    assert search_settings("full", run) == run.reconstruct
    assert search_settings("cmcrystal", run).mode == "cmcrystal"
    assert search_settings("dmcrystal", run).max_evaluations == 100_000
    assert search_settings("prototype", run).max_evaluations == 0


def test_random_crystals_have_the_formula_and_repeat_with_their_seed(known):
    pytest.importorskip("pyxtal")
    entry = next(t.entry for t in drawn(known) if t.entry.id == "rutile")
    first, again, other = random_pool(entry, 3, 1), random_pool(entry, 3, 1), random_pool(entry, 3, 2)
    assert len(first.candidates) == 3
    for candidate, twin in zip(first.candidates, again.candidates):
        assert sorted(candidate.crystal.species) == ["O"] * 4 + ["Ti"] * 2
        np.testing.assert_array_equal(candidate.crystal.frac_coords, twin.crystal.frac_coords)
    assert [c.label for c in first.candidates] != [c.label for c in other.candidates]


def label_prediction(crystal, scale: float = 1.0) -> LabelPrediction:
    encoded = encode_canonical(crystal)
    cell = encoded.cell * np.array([scale, scale, scale, 1, 1, 1])
    return LabelPrediction(encoded.label, encoded.z, -0.1, "trained", cell, 0.1, 0.1)


def test_a_template_gives_its_coordinates_to_other_elements():
    donor = dataclasses.replace(KNOWN["rutile"](), species=("Sn", "Sn", "O", "O", "O", "O"))
    rows, _ = encode_known([KnownCrystal("SnO2", "SnO2", donor, None, None)])
    prediction = SymmetryPrediction(
        "r", "TiO2", ((2, 1.0),), (label_prediction(KNOWN["rutile"](), 1.03),), ()
    )
    (candidate,) = TemplateLibrary(rows).fill(prediction, 20, 1).candidates
    assert sorted(candidate.crystal.species) == ["O"] * 4 + ["Ti"] * 2
    assert candidate.crystal.volume_ang3 == pytest.approx(1.03**3 * donor.volume_ang3, rel=1e-6)
    assert match_rms(candidate.crystal, KNOWN["rutile"](), STRICT) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("written", ["TiO2", "O2Ti", "Ti2O4"])
def test_a_template_is_never_of_the_formula_itself(written):
    rows, _ = encode_known([KnownCrystal("rutile", written, KNOWN["rutile"](), None, None)])
    prediction = SymmetryPrediction("r", "TiO2", ((2, 1.0),), (label_prediction(KNOWN["rutile"]()),), ())
    pool = TemplateLibrary(rows).fill(prediction, 20, 1)
    assert (pool.status, pool.candidates) == ("failed", ())


def test_the_right_crystal_first_is_found():
    result = judged(pool_of(salt(-3.4), wurtzite(-3.3)))
    assert result.cause == "found"
    assert result.target.loose[0] == pytest.approx(0.0, abs=1e-6) and result.target.loose[1] is None
    assert (result.space_group, result.space_group_found) == (225, True)
    assert result.valid == (True, True) and result.target_valid


def test_a_right_crystal_of_higher_energy_blames_the_energy_order():
    result = judged(pool_of(salt(-3.3), wurtzite(-3.4)), "energy")
    assert result.cause == "energy order wrong"
    assert result.space_group == 186 and not result.space_group_found


def test_a_right_crystal_of_lower_energy_that_is_not_first_is_ranked_low():
    assert judged(pool_of(salt(-3.301, log_prob=-9.0), wurtzite(-3.3, log_prob=-0.1))).cause == "ranked low"


def test_a_right_candidate_that_became_another_crystal_is_relaxed_away():
    lost = dataclasses.replace(salt(-3.4), crystal=wurtzite_type())
    assert judged(pool_of(lost)).cause == "relaxed away"
    assert judged(pool_of(lost), "unrelaxed").cause == "found"


def test_a_right_label_without_the_right_crystal_blames_the_coordinates():
    start = dataclasses.replace(salt(-3.4).candidate, crystal=wurtzite_type())
    wrong = dataclasses.replace(salt(-3.4), candidate=start, crystal=wurtzite_type())
    assert judged(pool_of(wrong)).cause == "coordinates wrong"


@pytest.mark.parametrize(("rank", "cause"), [(None, "label absent"), (30, "label not searched")])
def test_a_label_that_is_not_in_the_pool_was_absent_or_not_searched(rank, cause):
    cost = dataclasses.replace(COST, true_label_rank=rank)
    assert judged(pool_of(wurtzite(-3.3)), cost=cost).cause == cause


def test_second_energies_order_the_pool_only_where_a_variant_goes_by_them():
    right = dataclasses.replace(salt(-3.30), rescored_energy_ev_per_atom=-5.1, rescored_by="other")
    wrong = dataclasses.replace(wurtzite(-3.35), rescored_energy_ev_per_atom=-5.0, rescored_by="other")
    pool = pool_of(right, wrong)
    assert judged(pool, "second_energy").cause == "found"
    assert judged(pool, "energy").cause == "energy order wrong"
    bare = pool_of(salt(-3.30), wurtzite(-3.35))
    assert judged(pool, "one_potential").probability == judged(bare, "full").probability


def test_a_polymorph_of_the_formula_counts_apart_from_the_target():
    result = judged(pool_of(wurtzite(-3.4)), polymorphs=(wurtzite_type(),))
    assert result.target.loose == (None,) and result.polymorph.strict[0] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(amount=st.floats(0.0, 1.2), seed=st.integers(0, 1000))
def test_no_strict_match_is_missed_by_asking_the_loose_matcher_first(amount, seed):
    crystal = pools.shaken(pools.perovskite(), amount, seed)
    if match_rms(crystal, pools.perovskite(), LOOSE) is None:
        assert match_rms(crystal, pools.perovskite(), STRICT) is None


def outcomes() -> list[Outcome]:
    right, wrong = (
        judged(pool_of(salt(-3.4), wurtzite(-3.3))),
        judged(pool_of(wurtzite(-3.3), salt(-3.2, -9.0))),
    )
    rescore = RescoreCost("NaCl", 0.5, 0.6, 3)
    return [
        Outcome(salt_target(on_hull=True, trained=True), right, COST, rescore, True),
        Outcome(salt_target(on_hull=False), dataclasses.replace(wrong, target_valid=False), COST, None, True),
    ]


def test_rates_are_counted_on_the_crystals_that_belong():
    figures = summarise_variant(outcomes())
    assert figures["crystals"] == 2
    assert figures["target"]["loose"]["match_rate_at_1"] == 0.5
    assert figures["target"]["loose"]["match_rate_at_5"] == 1.0
    assert figures["on_hull"]["crystals"] == 1 and figures["on_hull"]["loose"]["match_rate_at_1"] == 1.0
    assert figures["untrained_formulas"]["loose"]["match_rate_at_1"] == 0.0
    # The second target does not pass the filter of published figures, so its matches do not count.
    assert figures["published_filter"]["loose"]["match_rate_at_20"] == 0.5
    assert figures["space_group_found"] == 0.5
    assert figures["causes"] == {"found": 1, "energy order wrong": 1}


def test_claims_are_judged_beside_what_chance_alone_would_show():
    figures = summarise_variant(outcomes())
    claims = [o.judged.probability for o in outcomes()]
    assert figures["mean_claim"] == pytest.approx(sum(claims) / 2, abs=1e-4)
    assert 0 < figures["calibration_error_by_chance"] < figures["calibration_error_by_chance_95"] <= 1
    (row,) = calibration_table({"full": figures, "energy": {"crystals": 2}}).rows
    assert row[0] == "full" and row[-1] == "0.500"


def test_match_rates_carry_wilson_intervals_and_the_best_rms():
    rates = match_rates([(None, 0.2, 0.1), (0.3,)])
    assert (rates["match_rate_at_1"], rates["match_rate_at_5"]) == (0.5, 1.0)
    assert (rates["rmse_at_1"], rates["rmse_at_5"]) == (0.3, 0.2)
    # Wilson's interval of 2 out of 2: 1 / (1 + 1.96² / 2) = 0.342.
    assert rates["match_rate_at_20_interval"] == [0.3424, 1.0]


def test_costs_are_means_over_all_formulas_of_a_variant():
    costs = summarise_costs(outcomes())
    assert costs["core_s_per_formula"] == pytest.approx(3.25)
    assert (costs["energy_evaluations_per_formula"], costs["second_energies_per_formula"]) == (50, 1.5)
    unrelaxed = summarise_costs([dataclasses.replace(o, relaxed=False, rescore=None) for o in outcomes()])
    assert unrelaxed["core_s_per_formula"] == 1.0 and unrelaxed["energy_evaluations_per_formula"] == 0


def test_a_row_a_crystal_and_variant():
    columns, rows = crystal_rows({"full": outcomes()})
    first, second = (dict(zip(columns, row)) for row in rows)
    assert (first["target_loose_rank"], second["target_loose_rank"]) == (1, 2)
    assert second["published_filter_loose_rank"] is None
    assert (first["trained"], first["core_s"], first["true_label_rank"]) == (True, 3.5, 1)


def test_the_command_names_what_differs_from_the_defaults():
    run = parse_settings({"seed": 2, "benchmark": {"count": 300, "templates": ["a.parquet"]}})
    assert command_of(run) == (
        "snakemake --cores all benchmark --config seed=2 'benchmark={count: 300, templates: [a.parquet]}'"
    )
    assert command_of(Settings()) == "snakemake --cores all benchmark"


@pytest.mark.parametrize("maps", ["maps", "alphacrystal", "alphacrystal2"])
def test_the_papers_networks_search_in_the_benchmark_as_in_a_run(known, maps):
    """They lie in the registry like the default ones, and know no labels or no letters."""
    run = parse_settings(
        {
            "reconstruct": {"max_evaluations": 100, "population": 10},
            "pool": {"size": 4},
            "symmetry": {"model": "cryspnet", "n_labels": 6, "max_space_groups": 2},
            "maps": {"model": maps},
        }
    )
    (target,) = [t for t in drawn(known) if t.entry.id == "NaCl"]
    models = load_models(run)
    found = search_target(target, "full", run, models, None, 0)
    assert [c.label.space_group for c in found.pool.candidates][0] == 225
    assert found.true_label_rank == 0
    # The stage's own predictor, with nothing between.
    labels = symmetry_predictor(run.symmetry)(target.entry).labels
    again = models.symmetry(target.entry).labels
    assert [p.label.key for p in again] == [p.label.key for p in labels]
    assert [p.log_prob for p in again] == [p.log_prob for p in labels]


def test_a_model_without_a_memory_cannot_predict_out_of_fold(known):
    models = load_models(parse_settings({"symmetry": {"model": "cryspnet"}}))
    (target,) = [t for t in drawn(known) if t.entry.id == "NaCl"]
    with pytest.raises(UserError, match="symmetry.model: cryspnet cannot leave a training formula out"):
        models.symmetry(target.entry, formula_hash("NaCl"))


@pytest.mark.parametrize("model", ["symmetry", "cryspnet"])
def test_a_sample_is_drawn_for_every_model_of_symmetry(tmp_path, model):
    """CRYSPNet's own folder holds no memory; the one that the registry names for it says what was trained on."""
    sections = {
        "benchmark": BenchmarkSettings(count=20, crystals_per_job=20),
        "symmetry": SymmetrySettings(model=model),
    }
    for name, section in sections.items():
        write_json(tmp_path / f"{name}.json", section.model_dump(mode="json"))
    run_sample(well_known.TABLE, tmp_path, tmp_path / "sample")
    targets = read_records(tmp_path / "sample/targets/0000.jsonl", KnownTarget)
    assert len(targets) == 20
    trained = {t.entry.id: t.trained for t in targets}
    assert trained["NaCl"]


@pytest.mark.skipif(
    not default_weights_path().exists(), reason="needs the M3GNet weights: mapcsp fetch-potential"
)
def test_rock_salt_and_fluorite_are_found_from_their_formulas(known):
    run = parse_settings(
        {
            "reconstruct": {"max_evaluations": 200, "population": 20},
            "pool": {"size": 3},
            "relax": {"max_steps": 5},
            "symmetry": {"n_labels": 4},
        }
    )
    targets = [t for t in drawn(known) if t.entry.id in ("NaCl", "CaF2")]
    models, potential = load_models(run), load_potential("m3gnet", "cpu")
    searched = [search_target(t, "full", run, models, None, 0) for t in targets]
    found, costs = relax_searched(searched, run, potential)
    assert [c.true_label_rank for c in costs] == [0, 0]
    assert all(c.energy_evaluations > 0 and c.fitness_evaluations > 0 for c in costs)
    for target, pool, cost in zip(targets, found, costs):
        result = PoolJudge(target, pool, cost, RANKER, run.ranking).judge(VARIANTS["full"])
        assert result.cause == "found" and result.space_group_found
        assert result.distances.superpose_ang < 0.1 and result.distances.ofm < 0.1
    assert json.dumps([dataclasses.asdict(c) for c in costs])

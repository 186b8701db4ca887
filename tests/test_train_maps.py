from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from known_maps import toy_crystals
from mapcsp.elements import element_table
from mapcsp.maps.labels import contact_map
from mapcsp.maps.models import load_weights
from mapcsp.maps.refiner import MapRefiner, RefinerConfig
from mapcsp.metrics.maps import contact_dice
from mapcsp.store import read_csv, read_json, write_json
from mapcsp.training.encoded import encode_known
from mapcsp.training.loop import LoopConfig, learning_rate_at
from mapcsp.training.maps import train_default as default_training
from mapcsp.training.maps.baselines import TemplateMaps
from mapcsp.training.maps.card import write_card
from mapcsp.training.maps.decision import (
    best_alike,
    chance_within,
    fit_contact_threshold,
    keep_within,
    likeliest_contacts,
    treats_alike,
)
from mapcsp.training.maps.evaluate import judge, judge_contacts, judge_label_given, paper_predictor
from mapcsp.training.maps.experiments import EXPERIMENTS, PaperExperiment, PaperTraining, select
from mapcsp.training.maps.floors import judge_baselines, judge_likely_rows
from mapcsp.training.maps.pairs import build_targets, read_targets, write_targets
from mapcsp.training.maps.rows import RowOrders
from mapcsp.training.maps.run import main
from mapcsp.training.maps.samples import SampleConfig, deal_maps, draw_sample, prepare, size_batches
from mapcsp.training.maps.scores import score_map
from mapcsp.training.maps.train_papers import element_noise, train_paper
from mapcsp.training.maps.truth import contact_subset, scrambled, true_maps

torch.set_num_threads(1)
ROUNDING_ANG = 1e-5
NETWORK = RefinerConfig(atom_width=16, pair_width=12, triangle_width=4, n_blocks=1)


def small_training(epochs: int) -> default_training.RefinerTraining:
    loop = replace(default_training.RefinerTraining().loop, epochs=epochs, learning_rate=5e-3, warmup_steps=5)
    return default_training.RefinerTraining(NETWORK, loop, max_crystals=16)


@pytest.fixture(scope="module")
def targets():
    encoded, failed = encode_known(toy_crystals(64))
    assert not failed
    return build_targets(encoded, encoded, seed=1)


@pytest.fixture(scope="module")
def truths():
    return true_maps(toy_crystals(64))


def test_seeds_are_other_formulas_aligned_with_the_crystal(targets):
    seeded = [t for t in targets if t.seeds]
    assert len(seeded) > 50
    for target in seeded[:20]:
        prepared = prepare(target)
        given, truth = draw_sample(prepared, SampleConfig(p_no_seed=0, p_given=1), np.random.default_rng(0))
        # Prototypes of one label have nearly one geometry, so that an aligned seed in the true cell nearly is the crystal.
        assert np.abs(given.distances_ang[1] - truth).max() < 0.35


def test_targets_survive_the_file(targets, tmp_path):
    write_targets(tmp_path / "t.jsonl", targets[:3])
    for one, two in zip(targets, read_targets(tmp_path / "t.jsonl")):
        assert one.label_key == two.label_key and (one.cell == two.cell).all()
        assert [s.order.tolist() for s in one.seeds] == [s.order.tolist() for s in two.seeds]


def test_smoke_training_on_64_crystals_lowers_the_loss(targets, tmp_path):
    model = default_training.train_refiner(targets, targets[:16], small_training(4), tmp_path)
    rows = read_csv(tmp_path / "curve.csv")
    assert isinstance(model, MapRefiner) and len(rows) == 4
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"]) - 0.3


def test_a_killed_training_goes_on_to_the_same_weights(targets, tmp_path):
    whole = default_training.train_refiner(targets[:24], targets[:4], small_training(2), tmp_path / "whole")
    for stop in (1, 1):
        steps = iter(range(10**6))
        keep_going = lambda: next(steps) < stop  # noqa: E731, B023
        ended = default_training.train_refiner(
            targets[:24], targets[:4], small_training(2), tmp_path / "cut", keep_going
        )
        assert ended is None
    resumed = default_training.train_refiner(targets[:24], targets[:4], small_training(2), tmp_path / "cut")
    assert whole is not None and resumed is not None
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(one, two), name
    assert (tmp_path / "whole/curve.csv").read_bytes() == (tmp_path / "cut/curve.csv").read_bytes()


def test_contacts_of_a_batch_follow_the_rule_of_the_labels(truths):
    for truth in truths[:20]:
        from mapcsp.elements import atomic_number

        numbers = torch.tensor([[atomic_number(s) for s in truth.species]])
        distance = torch.tensor(truth.distance_ang[None] * 1.07, dtype=torch.float32)
        found, _ = default_training.true_contacts(numbers, distance)
        assert (found[0].numpy() == contact_map(truth.species, truth.distance_ang * 1.07)).all()


def test_batches_hold_one_size_and_every_crystal_once():
    sizes = [2, 4, 4, 2, 5, 4, 4, 4]
    batches = size_batches(sizes, 40, 3, np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(8))
    assert all(len({sizes[i] for i in b}) == 1 and len(b) <= 3 for b in batches)
    assert max(len(b) * sizes[b[0]] ** 2 for b in batches) <= 40


def test_learning_rates_follow_the_schedule():
    constant = LoopConfig(10, 1e-3)
    assert {learning_rate_at(constant, s, 100) for s in range(100)} == {1e-3}
    cosine = replace(constant, schedule="cosine", warmup_steps=10)
    rates = [learning_rate_at(cosine, s, 100) for s in range(100)]
    assert max(rates) == pytest.approx(1e-3, rel=0.1) and rates[-1] < 2e-5 and rates[0] < 2e-4


@pytest.mark.parametrize("n_groups", [5, None])
def test_a_papers_experiment_learns_and_scores(truths, tmp_path, n_groups):
    experiment = PaperExperiment(n_groups, 48, 16)
    training = PaperTraining(8, 8, LoopConfig(epochs=4, learning_rate=3e-3), 8)
    model = train_paper(experiment, training, truths, truths[:8], "toy", tmp_path)
    rows = read_csv(tmp_path / "curve.csv")
    assert model is not None and float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    figures = judge(truths[:16], paper_predictor(model, expected=False))
    assert 0 <= figures["contact_accuracy"] <= 1 and figures["distance_overlap"] > 0.5


def test_distances_learned_beside_contacts_leave_a_network_of_contacts(truths, tmp_path):
    training = PaperTraining(
        8, 8, LoopConfig(epochs=2, learning_rate=3e-3, precision="bfloat16"), 8, 0.1, 0.2, True, 0.3
    )
    experiment = PaperExperiment(None, 48, 16, "contact", "all")
    model = train_paper(experiment, training, truths, truths[:8], "toy", tmp_path)
    assert model is not None and model.network.config.n_outputs == 1
    assert model.network(torch.zeros(2, 4, 11)).shape == (2, 4, 4, 1)
    # The losses of both are learned from, the curve of held-out crystals shows that of contacts.
    row = read_csv(tmp_path / "curve.csv")[-1]
    assert 0 < float(row["held_loss"]) < float(row["train_loss"])


def test_noise_is_the_same_for_all_atoms_of_an_element(truths):
    truth = next(t for t in truths if t.counts == (1, 1, 3))
    noise = element_noise([truth, truth], 0.5, seed=1).numpy()
    assert (noise[0, 2] == noise[0, 3]).all() and (noise[0, 2] == noise[0, 4]).all()
    assert (noise[0, 0] != noise[0, 1]).all() and (noise[0] != noise[1]).all()
    spread = element_table().features.std(0)
    many = element_noise([truth] * 400, 0.5, seed=2).numpy()[:, :2].reshape(-1, 11)
    assert many.std(0) / spread == pytest.approx(np.full(11, 0.5), rel=0.1)


def test_every_row_of_the_papers_tables_is_an_experiment():
    assert {e.n_groups for e in EXPERIMENTS.values()} == {5, 10, 20, None}
    assert dict(EXPERIMENTS["groups20_10k"].paper)["distance_rmse_ang"] == 0.9239


def test_the_true_map_scores_perfectly_and_shuffled_rows_only_when_aligned(truths):
    truth = next(t for t in truths if t.counts == (2, 2))
    exact = score_map(truth, truth.distance_ang, truth.contact)
    assert (exact.rmse_ang, exact.dice, exact.perfect, exact.overlap) == (0, 1, 1, 1)
    order = np.array([1, 0, 2, 3])
    moved = truth.distance_ang[np.ix_(order, order)]
    mixed = score_map(truth, moved, truth.contact[np.ix_(order, order)])
    assert mixed.rmse_aligned_ang < ROUNDING_ANG < mixed.rmse_ang and mixed.perfect_aligned == 1


def test_baselines_reach_a_crystal_they_know(truths):
    templates = TemplateMaps(truths)
    for truth in truths[:10]:
        assert templates.nearest(truth)[0] == pytest.approx(truth.distance_ang)
    lone = TemplateMaps([t for t in truths if t.counts == (1, 1)])
    perovskite = next(t for t in truths if len(t.species) == 5)
    assert lone.nearest(perovskite)[0].shape == (5, 5)
    assert judge_baselines(truths[:8], truths)["baseline_nearest_distance_rmse_aligned_ang"] < ROUNDING_ANG


def test_scrambling_deals_maps_among_equal_contents(truths):
    dealt = scrambled(truths, 0)
    assert [t.species for t in dealt] == [t.species for t in truths]
    assert sum((a.distance_ang != b.distance_ang).any() for a, b in zip(dealt, truths)) > 40
    assert sorted(a.distance_ang.sum() for a in dealt) == pytest.approx(
        sorted(a.distance_ang.sum() for a in truths)
    )


def test_scrambled_targets_get_another_crystals_map_with_their_own_elements(targets):
    prepared = [prepare(t) for t in targets]
    dealt = deal_maps(prepared, 0)
    assert [d.target for d in dealt] == [p.target for p in prepared]
    assert sum((d.distance_ang != p.distance_ang).any() for d, p in zip(dealt, prepared)) > 40
    sums = ([round(float(c.distance_ang.sum()), 6) for c in group] for group in (dealt, prepared))
    assert sorted(next(sums)) == sorted(next(sums))
    # The three anions of a perovskite are equally far from each other: still so, since elements stay together.
    perovskites = [d for d in dealt if len(d.geometry.species) == 5]
    for found in perovskites:
        anions = [i for i, s in enumerate(found.geometry.species) if found.geometry.species.count(s) == 3]
        assert np.ptp(found.distance_ang[np.ix_(anions, anions)][np.triu_indices(3, 1)]) < ROUNDING_ANG
    assert len(perovskites) > 5


def test_contacts_are_cut_where_they_overlap_most_with_held_out_crystals(truths):
    timid = lambda t: (t.distance_ang, np.where(t.contact, 0.33, 0.22))  # noqa: E731
    assert fit_contact_threshold(truths, timid) == 0.3
    sure = lambda t: (t.distance_ang, t.contact.astype(float))  # noqa: E731
    assert fit_contact_threshold(truths, sure) == 0.5
    assert fit_contact_threshold([], sure) == 0.5


def test_the_contact_map_with_the_best_expected_score_is_one_of_the_maps():
    def chain(*bonds: tuple[int, int]) -> np.ndarray:
        found = np.zeros((4, 4), bool)
        for i, j in bonds:
            found[i, j] = found[j, i] = True
        return found

    maps = np.array([chain((0, 1), (2, 3)), chain((0, 2), (1, 3)), chain((0, 2), (1, 2)), chain()])
    # The second and third share a bond: together they outweigh the first, though it is the likeliest.
    assert (likeliest_contacts(maps, np.array([0.40, 0.35, 0.25, 0.0])) == maps[1]).all()
    assert (likeliest_contacts(maps, np.array([0.60, 0.20, 0.20, 0.0])) == maps[0]).all()
    assert (likeliest_contacts(maps, np.array([0.1, 0.1, 0.1, 0.7])) == maps[3]).all()


def test_no_map_of_blocks_comes_nearer_than_the_best_one_that_treats_an_elements_atoms_alike():
    rng = np.random.default_rng(3)
    groups = np.array([0, 0, 0, 1, 1, 2])
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    for _ in range(20):
        contact = np.triu(rng.random((6, 6)) < 0.4, 1)
        contact |= contact.T
        blocks = [np.outer(groups == a, groups == b) | np.outer(groups == b, groups == a) for a, b in pairs]
        unions = [
            sum((b for b, taken in zip(blocks, bits) if taken), np.zeros((6, 6), bool))
            & ~np.eye(6, dtype=bool)
            for bits in product((False, True), repeat=len(pairs))
        ]
        best = max(contact_dice(u, contact) for u in unions)
        assert contact_dice(best_alike(contact, groups), contact) == pytest.approx(best)
        assert treats_alike(unions[17], groups) and not treats_alike(contact, groups)
    assert not best_alike(np.zeros((6, 6), bool), groups).any()


def test_only_pairs_that_are_surely_far_are_left_beyond_eight_angstrom():
    distance = np.array([[0.0, 8.5, 12.0], [8.5, 0.0, 5.0], [12.0, 5.0, 0.0]])
    chance = chance_within(distance, np.full((3, 3), 1.0))
    # A Laplace distribution of standard deviation 1 has half of exp(-√2 / 2) below half a deviation.
    assert chance[0, 1] == pytest.approx(0.5 * np.exp(-0.5 * 2**0.5))
    assert chance[1, 2] == pytest.approx(1 - 0.5 * np.exp(-3 * 2**0.5))
    kept = keep_within(distance, chance)
    assert 7.9 < kept[0, 1] < 8 and kept[0, 2] == 12 and kept[1, 2] == 5


def test_contacts_are_judged_at_the_fitted_cut_and_at_one_half(truths, tmp_path):
    training = PaperTraining(8, 8, LoopConfig(epochs=2, learning_rate=3e-3), 8)
    model = train_paper(PaperExperiment(None, 48, 16), training, truths, truths[:8], "toy", tmp_path)
    assert model is not None
    figures = judge_contacts(truths[:16], truths[16:], model)
    predict = paper_predictor(model)

    def cut(at: float):
        return lambda t: (predict(t)[0], predict(t)[1] >= at)

    exact = judge(truths[:16], cut(figures["contact_threshold"]))
    assert figures["contact_accuracy"] == exact["contact_accuracy"]
    halved = judge(truths[:16], cut(0.5))
    assert figures["contact_accuracy_cut_at_half"] == halved["contact_accuracy"]


def test_the_card_of_contacts_says_what_the_cut_and_the_scrambling_come_to(truths, tmp_path):
    training = PaperTraining(8, 8, LoopConfig(epochs=1, learning_rate=3e-3), 8)
    model = train_paper(PaperExperiment(None, 48, 16), training, truths, truths[:8], "toy", tmp_path / "work")
    assert model is not None
    figures = judge_contacts(truths[:16], truths[16:], model) | judge_baselines(truths[:16], truths)
    described = {"parameters": 1, "crystals": 16, "split": ["toy"], "trained_on": ["toy"], "commit": None}
    folder = tmp_path / "alphacrystal"
    write_json(folder / "metrics.json", figures | described)
    scrambled_figures = {**figures, "contact_threshold": 0.25, "training": {"loop": {"epochs": 7}}}
    write_card(folder, {"contact_scrambled": scrambled_figures})
    card = (folder / "card.md").read_text()
    assert (
        f"It is {figures['contact_accuracy']:.4g} with contacts cut at {figures['contact_threshold']}" in card
    )
    assert "at its own cut of 0.25" in card and "| contact_scrambled |  | 7 |" in card


def test_true_maps_in_the_rows_of_their_likes_are_exact_when_aligned():
    rows = toy_crystals(64)
    encoded, truths = encode_known(rows)[0], true_maps(rows)
    found = judge_likely_rows(
        build_targets(encoded, encoded, 1), {t.material_id: t for t in truths}, RowOrders(encoded, truths)
    )
    assert found["baseline_true_map_likely_rows_contact_accuracy_aligned"] == 1
    assert found["baseline_true_map_likely_rows_distance_rmse_aligned_ang"] < 1e-3
    # Every crystal is among its own likes, so that even its rows are found.
    assert found["baseline_true_map_likely_rows_distance_rmse_ang"] < 1e-3


def test_the_contact_test_takes_the_lowest_energy_of_a_formula(truths):
    chosen = contact_subset(truths)
    assert len({t.formula for t in chosen}) == len(chosen) < len(truths)
    for truth in chosen:
        same = [t.formation_energy_ev_per_atom for t in truths if t.formula == truth.formula]
        assert truth.formation_energy_ev_per_atom == min(same)
    assert all(len(t.elements) == 3 for t in select(truths, "ternary"))


def test_commands_train_judge_and_write_a_card(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(name: str, rows) -> str:
        columns = {
            "material_id": [r.material_id for r in rows],
            "formula": [r.formula for r in rows],
            "n_sites": [r.crystal.n_atoms for r in rows],
            "lattice": [r.crystal.lattice_ang.tolist() for r in rows],
            "species": [list(r.crystal.species) for r in rows],
            "frac_coords": [r.crystal.frac_coords.tolist() for r in rows],
            "formation_energy_per_atom": [r.formation_energy_ev_per_atom for r in rows],
        }
        pq.write_table(pa.table(columns), tmp_path / name)
        return str(tmp_path / name)

    rows = toy_crystals(60)
    train, test = table("train.parquet", rows[:40]), table("test.parquet", rows[40:])
    small = ("small", 12, small_training(1))
    monkeypatch.setattr(default_training, "PHASES", (small,))
    work, output = str(tmp_path / "work"), tmp_path / "maps"
    common = ["--train", train, "--work", work]
    invoke = CliRunner().invoke

    def succeeds(*arguments: str) -> None:
        result = invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    succeeds("default", *common, "--output", str(output))
    model = load_weights(output / "weights.safetensors", "maps")
    assert model.spread_scale > 0 and (output / "curve.csv").exists()
    encoded, _ = encode_known(rows[40:])
    given = judge_label_given(
        model,
        build_targets(encoded, encode_known(rows[:40])[0], 1),
        {t.material_id: t for t in true_maps(rows[40:])},
    )
    assert given["n_label_given"] > 0
    succeeds(
        "scramble", *common, "--test", test, "--output", str(output), "--epochs", "1", "--limit", "20"
    )  # fmt: skip
    scrambling = read_json(output / "scrambling.json")
    assert scrambling["crystals_trained"] == 20
    assert set(scrambling["figures"]) == {"true_maps", "scrambled_maps", "mean_map"}
    errors = [f["distance_rmse_aligned_ang"] for f in scrambling["figures"].values()]
    assert len(set(errors)) == 3
    results = tmp_path / "results"
    succeeds(
        "paper", "--experiment", "groups5_1k", "--epochs", "1", "--train", train, "--test", test,
        "--work", str(results), "--output", str(tmp_path / "alphacrystal2"),
    )  # fmt: skip
    succeeds(
        "card", "--model", str(tmp_path / "alphacrystal2"), "--results", str(results), "--main-experiment", "groups5_1k"
    )  # fmt: skip
    card = (tmp_path / "alphacrystal2/card.md").read_text()
    figures = read_json(tmp_path / "alphacrystal2/metrics.json")
    assert f"{figures['distance_rmse_ang']:.4g}" in card and "1.884" in card
    scrambled_rmse = scrambling["figures"]["scrambled_maps"]["distance_rmse_aligned_ang"]
    (tmp_path / "alphacrystal2/scrambling.json").write_text((output / "scrambling.json").read_text())
    write_card(tmp_path / "alphacrystal2", {})
    assert f"| scrambled maps | {scrambled_rmse:.4g} |" in (tmp_path / "alphacrystal2/card.md").read_text()
    assert "1.884" not in (tmp_path / "alphacrystal2/card.md").read_text().split("## All figures")[0]

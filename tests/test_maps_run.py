import json
from pathlib import Path

import numpy as np
import pytest
import torch
from known_maps import label_prediction
from mapcsp import registry
from mapcsp.elements import element_features
from mapcsp.errors import StoreError, UserError
from mapcsp.maps.labels import DistanceGroups
from mapcsp.maps.models import MapModel, load_model, load_weights, save_model
from mapcsp.maps.predict import predict_content_map, predict_label_maps
from mapcsp.maps.refiner import MapRefiner, RefinerConfig
from mapcsp.maps.resnet import ResidualNetwork, ResnetConfig
from mapcsp.maps.run import predict_from_features, run_maps
from mapcsp.records import FormulaMaps, PredictedMap, SymmetryPrediction
from mapcsp.store import read_maps, shard, write_json, write_maps, write_records, write_tensors
from mapcsp.symmetry.geometry import label_geometry

HALF_PRECISION_ANG = 0.02


def labels():
    return (
        label_prediction("186:S-b,Zn-b", [3.8, 3.8, 6.2, 90, 90, 120], [0.375, 0.0]),
        label_prediction("216:S-c,Zn-a", [5.4, 5.4, 5.4, 90, 90, 90], []),
        label_prediction("62:S-c,Zn-c", [9.0, 3.7, 5.9, 90, 90, 90], [0.1, 0.2, 0.3, 0.4], seeded=False),
    )


def refiner() -> MapModel:
    torch.manual_seed(0)
    config = RefinerConfig(atom_width=16, pair_width=12, triangle_width=4, n_blocks=1)
    return MapModel("toy", "refiner", MapRefiner(config).eval(), None, 0.8)


def paper_network(kind, n_outputs: int) -> MapModel:
    torch.manual_seed(0)
    network = ResidualNetwork(ResnetConfig(n_outputs, width_1d=4, width_2d=4)).eval()
    return MapModel("toy", kind, network, DistanceGroups(n_outputs, 1.0, 13.0) if kind == "groups" else None)


@pytest.fixture
def intake(tmp_path: Path) -> Path:
    """The folders that the earlier stages leave for one formula, ZnS with Z of 1, 2 and 4."""
    species = [["Zn"] * z + ["S"] * z for z in (1, 2, 4)]
    values, mask = np.zeros((3, 12, 11)), np.zeros((3, 12), bool)
    for i, atoms in enumerate(species):
        values[i, : len(atoms)], mask[i, : len(atoms)] = element_features(atoms), True
    place = f"{shard('zns')}/zns"
    header = {"features": json.dumps({"species": species})}
    tensors = {"values": values, "mask": mask, "z": np.array([1, 2, 4])}
    write_tensors(tmp_path / f"features/{place}.safetensors", tensors, header)
    write_json(tmp_path / "intake/index.json", {"ids": ["zns"]})
    prediction = SymmetryPrediction("zns", "ZnS", ((1, 1.0),), labels(), ((216, 1.0),), "toy")
    write_records(tmp_path / f"symmetry/{place}.jsonl", SymmetryPrediction, [prediction])
    write_json(tmp_path / "maps.json", {"model": "toy", "batch_size": 2})
    return tmp_path


@pytest.fixture
def registered(tmp_path: Path, monkeypatch) -> Path:
    """A resources folder whose registry names one map network, `toy`."""
    resources = tmp_path / "resources"
    (resources / "models").mkdir(parents=True)
    (resources / registry.REGISTRY).write_text(
        "toy: {stage: maps, folder: toy}\nother: {stage: symmetry, folder: other}\n", encoding="utf-8"
    )
    monkeypatch.setattr(registry, "resource_path", lambda name: resources / name)
    load_model.cache_clear()
    return resources


def run(folder: Path, output: str) -> Path:
    run_maps(
        folder / "intake", folder / "features", folder / "symmetry", folder / "maps.json", folder / output
    )
    return folder / output / shard("zns") / "zns.safetensors"


def test_each_label_gets_a_map_with_the_rows_of_its_geometry(intake, registered):
    save_model(registered / "models/toy/weights.safetensors", refiner())
    found = read_maps(run(intake, "maps"))
    assert [m.label_key for m in found.maps] == [p.label.key for p in labels()]
    for predicted, prediction in zip(found.maps, labels()):
        assert predicted.species == label_geometry(prediction.label).species
        other = ~np.eye(len(predicted.species), dtype=bool)
        assert (predicted.spread_ang[other] > 0).all() and (predicted.distance_ang[other] > 0).all()
        assert not predicted.contact_prob[np.eye(len(predicted.species), dtype=bool)].any()


def test_the_same_input_gives_the_same_bytes(intake, registered):
    save_model(registered / "models/toy/weights.safetensors", refiner())
    assert run(intake, "one").read_bytes() == run(intake, "two").read_bytes()


@pytest.mark.parametrize(("kind", "n_outputs"), [("contact", 1), ("groups", 5)])
def test_the_papers_networks_give_one_map_a_z_without_label(intake, registered, kind, n_outputs):
    save_model(registered / "models/toy/weights.safetensors", paper_network(kind, n_outputs))
    found = read_maps(run(intake, "maps"))
    assert [m.label_key for m in found.maps] == [None] * 3
    assert [m.species for m in found.maps] == [("Zn", "S")] * 3


def test_a_z_without_features_is_named(intake):
    path = intake / f"features/{shard('zns')}/zns.safetensors"
    prediction = labels()[0]
    missing = type(prediction)(**{**prediction.__dict__, "z": 3})
    with pytest.raises(StoreError, match="zns.safetensors lacks the features of a predicted z"):
        predict_from_features(paper_network("groups", 5), path, [missing])


def test_weights_survive_the_file(tmp_path):
    for model in (refiner(), paper_network("groups", 5)):
        save_model(tmp_path / "w.safetensors", model)
        loaded = load_weights(tmp_path / "w.safetensors", "toy")
        assert (loaded.kind, loaded.groups, loaded.spread_scale) == (
            model.kind,
            model.groups,
            model.spread_scale,
        )
        if model.kind == "refiner":
            first, second = (predict_label_maps(m, labels(), 8)[0] for m in (model, loaded))
        else:
            first, second = (predict_content_map(m, 1, ("Zn", "S")) for m in (model, loaded))
        assert np.abs(first.distance_ang - second.distance_ang).max() < HALF_PRECISION_ANG


def test_a_model_that_is_not_in_the_registry_is_named(registered):
    with pytest.raises(UserError, match=r"maps.model: 'other' is not one of its models; choose one of toy"):
        load_model("other")


def test_the_batch_size_changes_no_map():
    for one, all_ in zip(
        predict_label_maps(refiner(), labels(), 1), predict_label_maps(refiner(), labels(), 64)
    ):
        assert np.abs(one.distance_ang - all_.distance_ang).max() < 1e-5


def test_distances_from_groups_are_means_of_the_distribution_or_the_likeliest_centre():
    model = paper_network("groups", 5)
    assert model.groups is not None
    likeliest = predict_content_map(model, 1, ("Zn", "S"), decode="likeliest").distance_ang[0, 1]
    assert np.abs(model.groups.centres_ang - likeliest).min() < 1e-6
    mean = predict_content_map(model, 1, ("Zn", "S"))
    assert 1 < mean.distance_ang[0, 1] < 13 and mean.spread_ang[0, 1] >= model.groups.width_ang / 12**0.5


def small_map(**changes) -> PredictedMap:
    other = 1.0 - np.eye(2)
    values = {"distance_ang": 2.5 * other, "spread_ang": 0.1 * other, "contact_prob": 0.5 * other, **changes}
    return PredictedMap(1, "225:Cl-b,Na-a", ("Cl", "Na"), **values)


def test_maps_survive_the_file(tmp_path):
    maps = FormulaMaps("nacl", (small_map(),), "toy")
    write_maps(tmp_path / "m.safetensors", maps)
    found = read_maps(tmp_path / "m.safetensors")
    assert (found.id, found.model, found.maps[0].species) == ("nacl", "toy", ("Cl", "Na"))
    assert found.maps[0].distance_ang == pytest.approx(maps.maps[0].distance_ang, abs=1e-6)
    write_maps(tmp_path / "none.safetensors", FormulaMaps("nacl", (), "toy"))
    assert read_maps(tmp_path / "none.safetensors").maps == ()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"distance_ang": np.ones((3, 3))}, "shape"),
        ({"distance_ang": np.array([[0, 2.0], [3.0, 0]])}, "not symmetric"),
        ({"spread_ang": np.zeros((2, 2))}, "not positive"),
        ({"contact_prob": np.array([[0, 1.5], [1.5, 0]])}, "outside 0 to 1"),
        ({"distance_ang": np.array([[0, np.nan], [np.nan, 0]])}, "not finite"),
    ],
)
def test_a_faulty_map_is_not_written(tmp_path, fault, message):
    with pytest.raises(StoreError, match=message):
        write_maps(tmp_path / "m.safetensors", FormulaMaps("nacl", (small_map(**fault),), "toy"))
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.safetensors"
    write_maps(path, FormulaMaps("nacl", (small_map(),), "toy"))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match="m.safetensors"):
        read_maps(path)
    write_tensors(path, {"x": np.zeros(1)}, {"header": json.dumps({"kind": "FormulaMaps", "schema": 99})})
    with pytest.raises(StoreError, match="schema 99"):
        read_maps(path)


def test_the_benchmark_times_the_shipped_network_on_cells_of_twelve_atoms():
    from mapcsp.maps.benchmark import _TWELVE_ATOMS, _label, benchmark_maps

    rng = np.random.default_rng(0)
    assert {label_geometry(_label(rng).label).n_atoms for _ in range(8 * len(_TWELVE_ATOMS))} == {12}
    found = benchmark_maps(n_formulas=3)
    assert found.maps_formulas_per_s > found.maps_formulas_per_s_40_labels > 0


def test_a_cell_of_one_atom_has_an_empty_map(tmp_path):
    iron = label_prediction("229:Fe-a", [2.87, 2.87, 2.87, 90, 90, 90], [])
    (found,) = predict_label_maps(refiner(), [iron], 8)
    assert found.distance_ang.tolist() == [[0.0]] and found.contact_prob.tolist() == [[0.0]]
    write_maps(tmp_path / "m.safetensors", FormulaMaps("fe", (found,), "toy"))
    assert read_maps(tmp_path / "m.safetensors").maps[0].species == ("Fe",)
    content = predict_content_map(paper_network("groups", 5), 1, ("Fe",))
    assert content.distance_ang.tolist() == [[0.0]]

"""The prerelax stage on pools, and users' own pairs from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from known_pools import ROCKSALT, perovskite, relaxed_candidate, rocksalt, shaken
from mapcsp.crystals import to_structure
from mapcsp.deeprelax.model import RelaxModel
from mapcsp.deeprelax.run import default_weights, prerelax_pools, run_prerelax
from mapcsp.deeprelax.user_pairs import read_own_pairs
from mapcsp.errors import UserError
from mapcsp.records import CandidatePool, Crystal
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_records, write_json, write_records
from test_deeprelax import low_symmetry, model


def pool(*crystals: Crystal) -> CandidatePool:
    candidates = tuple(
        relaxed_candidate(f"c{k}", crystal, ROCKSALT, -3.0).candidate for k, crystal in enumerate(crystals)
    )
    return CandidatePool("NaCl", "NaCl", candidates)


def certain(limit: float) -> RelaxSettings:
    return RelaxSettings(prerelax="deeprelax", prerelax_max_uncertainty_ang=limit)


def test_every_candidate_is_moved_and_gets_its_uncertainty():
    before = pool(rocksalt(), low_symmetry(1))
    (after,) = prerelax_pools([before], certain(100.0), model())
    assert [c.id for c in after.candidates] == ["c0", "c1"]
    for old, new in zip(before.candidates, after.candidates):
        assert new.prerelax_uncertainty_ang > 0
        assert new.crystal.species == old.crystal.species
        assert abs(new.crystal.volume_ang3 / old.crystal.volume_ang3 - 1) > 1e-3
        assert (new.label, new.fitness, new.seed) == (old.label, old.fitness, old.seed)


def test_an_uncertain_candidate_keeps_its_crystal_and_says_how_uncertain():
    before = pool(rocksalt(), low_symmetry(1))
    (all_moved,) = prerelax_pools([before], certain(100.0), model())
    first, second = (c.prerelax_uncertainty_ang for c in all_moved.candidates)
    (after,) = prerelax_pools([before], certain((first + second) / 2), model())
    kept, moved = (0, 1) if first > second else (1, 0)
    assert np.array_equal(
        after.candidates[kept].crystal.lattice_ang, before.candidates[kept].crystal.lattice_ang
    )
    assert after.candidates[kept].prerelax_uncertainty_ang == max(first, second)
    assert np.array_equal(
        after.candidates[moved].crystal.lattice_ang, all_moved.candidates[moved].crystal.lattice_ang
    )


def test_the_stage_without_a_model_passes_pools_on(tmp_path: Path):
    write_records(tmp_path / "pool.jsonl", CandidatePool, [pool(rocksalt())])
    write_json(tmp_path / "relax.json", json.loads(RelaxSettings(prerelax="none").model_dump_json()))
    run_prerelax(tmp_path / "pool.jsonl", tmp_path / "relax.json", tmp_path / "out.jsonl")
    (after,) = read_records(tmp_path / "out.jsonl", CandidatePool)
    assert after.candidates[0].prerelax_uncertainty_ang is None
    assert np.array_equal(after.candidates[0].crystal.lattice_ang, rocksalt().lattice_ang)


def test_the_shipped_model_relaxes_pools_the_same_way_twice(tmp_path: Path):
    stretched = Crystal(rocksalt().lattice_ang * 1.2, rocksalt().species, rocksalt().frac_coords)
    write_records(tmp_path / "pool.jsonl", CandidatePool, [pool(stretched)])
    write_json(tmp_path / "relax.json", json.loads(RelaxSettings(prerelax="deeprelax").model_dump_json()))
    for name in ("one", "two"):
        run_prerelax(tmp_path / "pool.jsonl", tmp_path / "relax.json", tmp_path / f"{name}.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    (after,) = read_records(tmp_path / "one.jsonl", CandidatePool)
    (candidate,) = after.candidates
    # NaCl's primitive cell holds 44.8 Å³; the candidate had 77.5.
    assert candidate.crystal.volume_ang3 == pytest.approx(44.8, rel=0.1)
    assert 0 < candidate.prerelax_uncertainty_ang < 0.3


def test_a_model_that_is_none_is_named():
    with pytest.raises(
        UserError, match="relax.prerelax: 'maps' is not one of its models; choose one of deeprelax"
    ):
        default_weights("maps")


def write_cif(folder: Path, name: str, crystal: Crystal) -> None:
    folder.mkdir(exist_ok=True)
    to_structure(crystal).to(str(folder / f"{name}.cif"), fmt="cif")


def test_own_pairs_come_from_two_folders_of_cif_files(tmp_path: Path):
    start, end = low_symmetry(1), low_symmetry(2)
    write_cif(tmp_path / "before", "b", start)
    write_cif(tmp_path / "after", "b", end)
    write_cif(tmp_path / "before", "a", perovskite())
    write_cif(tmp_path / "after", "a", shaken(perovskite(), 0.02, 3))
    first, second = read_own_pairs(tmp_path / "before", tmp_path / "after")
    assert (first.id, first.formula, second.id) == ("a", "SrTiO3", "b")
    step = (first.frac_coords - first.initial.frac_coords) @ first.lattice_ang
    assert np.abs(step).max() < 0.1
    assert second.relaxed.volume_ang3 == pytest.approx(end.volume_ang3, rel=1e-4)
    assert second.initial.volume_ang3 == pytest.approx(start.volume_ang3, rel=1e-4)


def test_own_pairs_come_from_a_parquet_table(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    start, end = low_symmetry(1), low_symmetry(2)
    row = {"id": "p1", "species": list(start.species), "relaxed_species": list(end.species)}
    row |= {"lattice": start.lattice_ang.tolist(), "frac_coords": start.frac_coords.tolist()}
    row |= {"relaxed_lattice": end.lattice_ang.tolist(), "relaxed_frac_coords": end.frac_coords.tolist()}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "pairs.parquet")
    (pair,) = read_own_pairs(tmp_path / "pairs.parquet")
    assert pair.formula == "SrTiO3"
    assert pair.relaxed.volume_ang3 == pytest.approx(end.volume_ang3, rel=1e-9)
    pq.write_table(pa.Table.from_pylist([{"id": "p1"}]), tmp_path / "poor.parquet")
    with pytest.raises(UserError, match="lacks the columns"):
        read_own_pairs(tmp_path / "poor.parquet")


def test_own_pairs_that_do_not_fit_are_named(tmp_path: Path):
    write_cif(tmp_path / "before", "x", rocksalt())
    write_cif(tmp_path / "after", "x", perovskite())
    with pytest.raises(UserError, match="pair x: the relaxed crystal cannot be laid over"):
        read_own_pairs(tmp_path / "before", tmp_path / "after")
    write_cif(tmp_path / "before", "lonely", rocksalt())
    with pytest.raises(UserError, match="without a partner: \\['lonely'\\]"):
        read_own_pairs(tmp_path / "before", tmp_path / "after")
    with pytest.raises(UserError, match="is no folder"):
        read_own_pairs(tmp_path / "before", tmp_path / "nowhere")


def test_models_say_what_volumes_they_start_from():
    made: RelaxModel = model()
    assert made.element_volume_ang3.shape == (95,)
    assert made.element_volume_ang3[0] == pytest.approx(8.0)

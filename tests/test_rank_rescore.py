"""The rescore stage: who gets a second energy, and that SevenNet's energies alone are its energies."""

import dataclasses
import json

import known_pools as known
import numpy as np
import pytest
from mapcsp.errors import UnsupportedElementError, UserError
from mapcsp.records import RelaxedPool
from mapcsp.relax.rescore import distinct_crystals, rescore_pool, run_rescore
from mapcsp.settings import RescoreSettings
from mapcsp.store import read_records, write_records

ENERGY_TOLERANCE_EV_PER_ATOM = 1e-5


class VolumeEnergy:
    """A potential whose energy is the volume an atom has; it does not know the elements in `unknown`."""

    name, content_hash = "volume", "0" * 64

    def __init__(self, unknown: str = "") -> None:
        self.unknown, self.asked = unknown, []

    def energies_ev_per_atom(self, crystals):
        if any(self.unknown in crystal.species for crystal in crystals):
            raise UnsupportedElementError("volume does not know it")
        self.asked += crystals
        return np.array([crystal.volume_ang3 / crystal.n_atoms for crystal in crystals])


def test_twins_are_found_in_any_cell_and_the_likeliest_crystal_comes_first():
    found = distinct_crystals(known.salt_pool().candidates)
    assert sorted(map(sorted, found)) == [[0, 1, 4], [2], [3]]
    assert [members[0] for members in found] == [0, 2, 3]


def test_only_the_likeliest_get_a_second_energy_and_twins_share_it():
    model, steps = VolumeEnergy(), []
    pool = rescore_pool(known.salt_pool(), 2, model, steps.append)
    energies = [r.rescored_energy_ev_per_atom for r in pool.candidates]
    assert len(model.asked) == 2 and steps == [1, 1]
    rocksalt = known.rocksalt().volume_ang3 / 2
    assert energies[0] == energies[1] == energies[4] == pytest.approx(rocksalt)
    assert energies[2] == pytest.approx(known.cesium_chloride_type().volume_ang3 / 2)
    assert energies[3] is energies[5] is None
    assert [r.rescored_by for r in pool.candidates] == ["volume 000000000000"] * 3 + [
        "",
        "volume 000000000000",
        "",
    ]


def test_a_second_energy_changes_nothing_else():
    pool = known.salt_pool()
    for before, after in zip(pool.candidates, rescore_pool(pool, 10, VolumeEnergy()).candidates):
        blank = dataclasses.replace(after, rescored_energy_ev_per_atom=None, rescored_by="")
        assert all(getattr(blank, f.name) is getattr(before, f.name) for f in dataclasses.fields(before))


def test_a_formula_with_an_unknown_element_keeps_its_pool():
    pool = known.salt_pool()
    assert rescore_pool(pool, 10, VolumeEnergy(unknown="Cl")) is pool


def test_without_a_second_potential_the_stage_says_so(tmp_path):
    settings = tmp_path / "rescore.json"
    settings.write_text(json.dumps(RescoreSettings(potential="none").model_dump(mode="json")))
    with pytest.raises(UserError, match="nothing to do"):
        run_rescore(tmp_path / "relaxed.jsonl", settings, tmp_path / "out.jsonl", "cpu")
    assert RescoreSettings(potential="none").second_potential() is None
    assert RescoreSettings(potential="sevennet-l3i5").second_potential() == "sevennet-l3i5"


def test_the_device_of_the_relaxation_holds_for_the_second_potential(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = tmp_path / "rescore.json"
    settings.write_text(json.dumps(RescoreSettings(potential="sevennet-l3i5").model_dump(mode="json")))
    with pytest.raises(
        UserError, match="relax.device is `cuda`, but torch finds none; set it to auto or cpu"
    ):
        run_rescore(tmp_path / "relaxed.jsonl", settings, tmp_path / "out.jsonl", "cuda")


def test_sevennet_without_forces_gives_the_energies_that_it_gives_with_them(tmp_path):
    pytest.importorskip("sevenn")
    from mapcsp.relax.ase_calculators import load_sevennet
    from mapcsp.relax.potential import evaluate

    settings = tmp_path / "rescore.json"
    settings.write_text(json.dumps(RescoreSettings(potential="auto").model_dump(mode="json")))
    write_records(tmp_path / "relaxed.jsonl", RelaxedPool, [known.salt_pool(), known.oxide_pool()])
    run_rescore(tmp_path / "relaxed.jsonl", settings, tmp_path / "out.jsonl", "cpu")
    salt, oxide = read_records(tmp_path / "out.jsonl", RelaxedPool)
    crystals = [known.rocksalt(), known.cesium_chloride_type(), known.perovskite()]
    full = [
        e.energy_ev / c.n_atoms
        for e, c in zip(evaluate(load_sevennet("sevennet-l3i5", "cpu"), crystals), crystals)
    ]
    found = [salt.candidates[0], salt.candidates[2], oxide.candidates[0]]
    for relaxed, energy in zip(found, full):
        assert relaxed.rescored_energy_ev_per_atom == pytest.approx(energy, abs=ENERGY_TOLERANCE_EV_PER_ATOM)
        assert relaxed.rescored_by.startswith("sevennet-l3i5 ")

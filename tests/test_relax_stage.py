"""The relaxation stage as a job: what it keeps, writes on request and says of energies and symmetry."""

import json
from pathlib import Path

import numpy as np
import pytest
from known_pools import rocksalt
from mapcsp.errors import UserError
from mapcsp.records import Candidate, CandidatePool, Crystal, FitnessTerms, Label, RelaxedPool
from mapcsp.relax import relax
from mapcsp.relax.fetch import default_weights_path
from mapcsp.relax.hull import KEY_VARIABLE
from mapcsp.relax.references import References
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.symmetry.detect import find_space_group

pytest.importorskip("ase")
EMT = RelaxSettings(potential="ase:ase.calculators.emt:EMT", max_steps=40)


def copper(name: str, cell_ang: float, shift: float = 0.0) -> Candidate:
    frac = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, shift]])
    crystal = Crystal(np.eye(3) * cell_ang, ("Cu",) * 4, frac)
    return Candidate(
        name, "t", name[0], "Cu", 1, Label(225, (("Cu", "a"),)), 0, -1.0, "prototype", crystal,
        np.array([cell_ang] * 3 + [90.0] * 3), np.zeros(0), FitnessTerms(0.0), 1,
    )  # fmt: skip


POOLS = [
    CandidatePool("a", "Cu", (copper("a1", 3.8), copper("a2", 3.5, 0.02))),
    CandidatePool("b", "Cu", (copper("b1", 3.7, 0.05),)),
]


class Job:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, pools=POOLS, settings=EMT, **places) -> tuple[list[RelaxedPool], str]:
        write_records(self.folder / "pools.jsonl", CandidatePool, pools)
        write_json(self.folder / "relax.json", json.loads(settings.model_dump_json()))
        files = self.folder / "pools.jsonl", self.folder / "relax.json", None, self.folder / "out.jsonl"
        words = relax.run_relax([files[0]], *files[1:], **places)
        return list(read_records(files[3], RelaxedPool)), words


@pytest.fixture
def relaxed(monkeypatch) -> list[str]:
    """Ids of the formulas that are really relaxed, and not found finished."""
    done: list[str] = []
    original = relax.relax_pools

    def counted(pools, *rest):
        done.extend(p.formula_id for p in pools)
        return original(pools, *rest)

    monkeypatch.setattr(relax, "relax_pools", counted)
    return done


def test_a_killed_chunk_goes_on_where_it_was(tmp_path, relaxed, monkeypatch):
    job, kept = Job(tmp_path), tmp_path / "finished"
    expected, _ = job.run()
    (tmp_path / "out.jsonl").unlink()
    with monkeypatch.context() as kill, pytest.raises(KeyboardInterrupt):
        counted = relax.relax_pools

        def killed(pools, *rest):
            if pools[0].formula_id == "b":
                raise KeyboardInterrupt
            return counted(pools, *rest)

        kill.setattr(relax, "relax_pools", killed)
        job.run(finished_dir=kept)
    assert not (tmp_path / "out.jsonl").exists()
    relaxed.clear()
    found, _ = job.run(finished_dir=kept)
    assert relaxed == ["b"]
    assert [c.energy_ev_per_atom for p in found for c in p.candidates] == [
        c.energy_ev_per_atom for p in expected for c in p.candidates
    ]


def test_other_settings_or_another_pool_are_relaxed_anew(tmp_path, relaxed):
    job, kept = Job(tmp_path), tmp_path / "finished"
    job.run(finished_dir=kept)
    relaxed.clear()
    job.run(finished_dir=kept)
    assert relaxed == []
    changed = [CandidatePool("a", "Cu", (copper("a1", 3.81),)), POOLS[1]]
    job.run(changed, finished_dir=kept)
    assert relaxed == ["a"]
    relaxed.clear()
    job.run(changed, EMT.model_copy(update={"fmax_ev_per_ang": 0.06}), finished_dir=kept)
    assert relaxed == ["a", "b"]


def test_trajectories_are_written_where_they_are_asked_for(tmp_path):
    from ase.io import read

    job, folder = Job(tmp_path), tmp_path / "trajectories"
    job.run(trajectories_dir=folder)
    assert not folder.exists()
    pools, _ = job.run(settings=EMT.model_copy(update={"trajectory": True}), trajectories_dir=folder)
    for pool in pools:
        for end in pool.candidates:
            frames = read(folder / pool.formula_id / f"{end.candidate.id}.extxyz", index=":")
            assert len(frames) == end.n_steps + 1
            assert frames[0].get_potential_energy() / 4 == pytest.approx(end.initial_energy_ev_per_atom)
            assert frames[-1].get_potential_energy() / 4 == pytest.approx(end.energy_ev_per_atom)
            assert frames[-1].get_volume() == pytest.approx(end.crystal.volume_ang3)
            largest = np.linalg.norm(frames[-1].get_forces(), axis=1).max()
            assert largest == pytest.approx(end.max_force_ev_per_ang, abs=1e-6)


def test_a_space_group_that_is_lost_is_recorded(tmp_path):
    (pool,) = Job(tmp_path).run([CandidatePool("a", "Cu", (copper("a1", 3.6), copper("a2", 3.6, 0.2)))],
                                EMT.model_copy(update={"max_steps": 0}))[0]  # fmt: skip
    assert [find_space_group(c.crystal, 0.1) == 225 for c in pool.candidates] == [True, False]
    assert [c.symmetry_kept for c in pool.candidates] == [True, False]


def test_the_job_says_that_there_is_no_hull(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    pools, words = Job(tmp_path).run(phases_dir=tmp_path / "phases")
    assert words.startswith("no energies above the hull")
    assert {c.energy_above_hull_ev_per_atom for p in pools for c in p.candidates} == {None}
    with pytest.raises(UserError, match="none.csv"):
        Job(tmp_path).run(settings=EMT.model_copy(update={"hull_table": str(tmp_path / "none.csv")}))


@pytest.mark.skipif(not default_weights_path().exists(), reason="the M3GNet weights are not fetched")
def test_energies_above_the_hull_follow_from_a_table(tmp_path):
    (tmp_path / "phases.csv").write_text("formula,formation_energy_per_atom\nNaCl,-2.1\nNaCl,-1.9\n")
    salt = copper("s1", 5.6)
    salt = Candidate(**{**salt.__dict__, "crystal": rocksalt(), "formula": "NaCl"})
    settings = RelaxSettings(hull_table=str(tmp_path / "phases.csv"), max_steps=0)
    (pool,), words = Job(tmp_path).run([CandidatePool("s", "NaCl", (salt,))], settings)
    (end,) = pool.candidates
    assert "phases.csv" in words
    assert end.energy_above_hull_ev_per_atom == pytest.approx(end.formation_energy_ev_per_atom + 2.1)


def test_formation_energies_of_elements_the_potential_gets_wrong_are_doubted():
    references = References("m3gnet", "0", True, {})
    assert "Pu: -0.1 to +2.1 eV an atom" in references.doubt(("Pu", "O", "Pu"))
    assert references.doubt(("Na", "Cl")) == ""
    assert References("sevennet-l3i5", "0", True, {}).doubt(("Pu",)) == ""

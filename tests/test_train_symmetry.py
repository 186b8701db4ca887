from pathlib import Path

import mapcsp.training.symmetry.train_labels as module
import numpy as np
import pytest
import torch
from mapcsp.records import Crystal, Label
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.memory import read_memory, write_memory
from mapcsp.training.encoded import EncodedKnown, encode_known
from mapcsp.training.geometries import build_memory, volume_per_atom_ang3
from mapcsp.training.symmetry.train_cells import CellTraining, train_cells
from mapcsp.training.symmetry.train_labels import SymmetryTraining, prepare_classes, train_symmetry
from mapcsp.training.tables import KnownCrystal

ALKALI, HALOGENS = ("Li", "Na", "K", "Rb", "Cs"), ("F", "Cl", "Br", "I")
RADIUS_ANG = dict(zip(ALKALI + HALOGENS, (0.76, 1.02, 1.38, 1.52, 1.67, 1.33, 1.81, 1.96, 2.2)))


def halides() -> list[EncodedKnown]:
    """Alkali halides in both of their structures, with lattice constants from ionic radii."""
    known = []
    for a in ALKALI:
        for x in HALOGENS:
            bond = RADIUS_ANG[a] + RADIUS_ANG[x]
            rock_salt = Crystal(
                (np.ones((3, 3)) - np.eye(3)) * bond, (a, x), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
            )
            chloride = Crystal(np.eye(3) * bond * 2 / 3**0.5, (a, x), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
            crystal = chloride if a == "Cs" and x != "F" else rock_salt
            known.append(KnownCrystal(f"mp-{a}{x}", f"{a}{x}", crystal, None, None))
    encoded, failed = encode_known(known, 1e-3)
    assert not failed
    return encoded


def test_a_memory_holds_each_label_once_and_survives_its_file(tmp_path: Path) -> None:
    memory = build_memory(halides())
    assert sorted(label.space_group for label in memory.labels) == [221, 225]
    assert memory.mode_count.sum() == len(memory.example_label) == 20
    write_memory(tmp_path / "memory.safetensors", memory)
    again = read_memory(tmp_path / "memory.safetensors")
    assert again.labels == memory.labels
    assert again.symmetric_roles == memory.symmetric_roles
    assert (again.example_elements == memory.example_elements).all()


def test_every_training_crystal_finds_its_own_candidate() -> None:
    rows = halides()
    (group,) = prepare_classes(build_memory(rows), rows, 24)
    assert len(group.target) == 20
    assert (group.known.z == 1).all()
    # Both roles of these labels can be exchanged, so that each label is one candidate.
    assert len(group.known.label) == 2


def test_a_killed_training_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path, monkeypatch) -> None:
    torch.set_num_threads(1)
    rows = halides()
    memory = build_memory(rows)
    settings = SymmetryTraining(epochs=2, batch=8)
    whole = train_symmetry(memory, rows, settings, tmp_path / "a.pt", tmp_path / "a.csv", progress=False)

    judge, calls = module._judge, []

    def killed_in_the_second_epoch(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(module, "_judge", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train_symmetry(memory, rows, settings, tmp_path / "b.pt", tmp_path / "b.csv", progress=False)
    monkeypatch.setattr(module, "_judge", judge)
    again = train_symmetry(memory, rows, settings, tmp_path / "b.pt", tmp_path / "b.csv", progress=False)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_cell_network_learns_the_sizes_of_ions(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = halides()
    memory = build_memory(rows)
    labels = train_symmetry(
        memory,
        rows,
        SymmetryTraining(epochs=1, batch=8),
        tmp_path / "c.pt",
        tmp_path / "c.csv",
        progress=False,
    )
    cells = train_cells(memory, labels, rows, CellTraining(epochs=3, batch=8), tmp_path / "cells.csv")
    assert all(torch.isfinite(p).all() for p in cells.parameters())
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert len(lines) == 4


def test_volumes_of_encoded_crystals_are_those_of_the_crystals() -> None:
    for row in halides():
        crystal = label_geometry(Label.from_key(row.label_key)).decode(row.cell, row.free_coords)
        assert abs(crystal.volume_ang3 / crystal.n_atoms - volume_per_atom_ang3(row)) < 1e-9

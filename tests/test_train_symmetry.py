import json
import re
from dataclasses import replace
from pathlib import Path

import mapcsp.training.symmetry.train_labels as module
import numpy as np
import pytest
import torch
from mapcsp.errors import StoreError
from mapcsp.records import Crystal, Label
from mapcsp.store import read_tensors, write_tensors
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
    whole = train_symmetry(
        memory, rows, settings, tmp_path / "a.safetensors", tmp_path / "a.csv", progress=False
    )

    judge, calls = module._judge, []

    def killed_in_the_second_epoch(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(module, "_judge", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train_symmetry(memory, rows, settings, tmp_path / "b.safetensors", tmp_path / "b.csv", progress=False)
    monkeypatch.setattr(module, "_judge", judge)
    again = train_symmetry(
        memory, rows, settings, tmp_path / "b.safetensors", tmp_path / "b.csv", progress=False
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_a_checkpoint_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = halides()
    path = tmp_path / "c.safetensors"
    train_symmetry(build_memory(rows), rows, SymmetryTraining(1, 8), path, tmp_path / "c.csv", progress=False)
    tensors, metadata = read_tensors(path)
    assert set(metadata) == {"state"} and json.loads(metadata["state"])["epoch"] == 1
    assert {name.partition("/")[0] for name in tensors} == {"network", "mean", "best", "optimiser", "rng"}


@pytest.mark.parametrize("changed", ["settings", "crystals"])
def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path, changed, capsys) -> None:
    torch.set_num_threads(1)
    rows = halides()
    memory, settings = build_memory(rows), SymmetryTraining(epochs=1, batch=8)
    path, curve = tmp_path / "c.safetensors", tmp_path / "c.csv"
    train_symmetry(memory, rows, settings, path, curve, progress=False)
    if changed == "settings":
        settings = replace(settings, seed=2)
    else:
        rows = rows[:-1]
    again = train_symmetry(memory, rows, settings, path, curve, progress=False)
    assert "c.safetensors is of another training; starting anew" in capsys.readouterr().out
    alone = train_symmetry(
        memory, rows, settings, tmp_path / "d.safetensors", tmp_path / "d.csv", progress=False
    )
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in alone.state_dict().items())
    assert curve.read_text() == (tmp_path / "d.csv").read_text()


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "c.safetensors", {"x": np.zeros(2)})
    rows = halides()
    with pytest.raises(StoreError, match="c.safetensors is no checkpoint of a training; delete it"):
        train_symmetry(
            build_memory(rows),
            rows,
            SymmetryTraining(1, 8),
            tmp_path / "c.safetensors",
            tmp_path / "c.csv",
            progress=False,
        )


def test_nothing_reads_or_writes_pickles() -> None:
    """A pickle runs code when it is read; safetensors, JSON and parquet do not."""
    package = Path(module.__file__).parents[2]
    pickling = re.compile(
        r"torch\.(save|load)\(|import pickle|pickle\.\w+\(|joblib|allow_pickle|shelve|np\.(save|load)\(|read_pickle"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if pickling.search(line)
    ]
    assert found == []


def test_the_cell_network_learns_the_sizes_of_ions(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = halides()
    memory = build_memory(rows)
    labels = train_symmetry(
        memory,
        rows,
        SymmetryTraining(epochs=1, batch=8),
        tmp_path / "c.safetensors",
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

"""Known geometries and the user's crystals as starting points."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from known_tasks import KNOWN, known_crystal, known_task
from mapcsp.crystals import to_structure
from mapcsp.errors import UserError
from mapcsp.ga.genes import gene_layout, sound_cells
from mapcsp.ga.reconstruct import reconstruct_task
from mapcsp.ga.seeds import label_seeds, random_genes, read_user_seeds, seed_crystals, seeded_genes
from mapcsp.records import Label, LabelPrediction
from mapcsp.settings import ReconstructSettings
from mapcsp.symmetry.cells import cell_volume_ang3
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter


def write_cif(path: Path, name: str, elements: dict[str, str]) -> str:
    structure: Structure = to_structure(known_crystal(name))
    structure.replace_species(elements)
    CifWriter(structure).write_file(path)
    return str(path)


def test_the_first_individuals_are_the_seeds_themselves() -> None:
    task = known_task("baddeleyite ZrO2", spread=0.1, with_seed=True)
    layout = gene_layout(task.labels[0], search_cell=True)
    genes = seeded_genes(layout, label_seeds(task.labels[0], {}), 30, np.random.default_rng(0))
    cells, free = layout.decode(genes)
    assert genes.shape == (30, 13)
    assert free[0] == pytest.approx(task.labels[0].seeds[0].free_coords)
    assert cells[0] == pytest.approx(task.labels[0].seeds[0].cell)
    spread = layout.difference(genes, genes[:1])[:, :9].std()
    assert 0.01 < spread < 0.05


def test_random_cells_of_a_triclinic_label_are_possible() -> None:
    cell = np.array([4.0, 5.0, 6.0, 95.0, 100.0, 117.0])
    layout = gene_layout(
        LabelPrediction(Label.from_key("1:Fe-a,O-a"), 1, -1, "trained", cell, 0.2, 0.4), True
    )
    cells, _ = layout.decode(random_genes(layout, 500, np.random.default_rng(0)))
    assert sound_cells(cells).all()
    assert cells[:, 3].std() > 5


def test_a_users_crystal_of_another_compound_takes_the_elements_and_the_volume(tmp_path: Path) -> None:
    cif = write_cif(tmp_path / "SnO2.cif", "rutile TiO2", {"Ti": "Sn"})
    task = known_task("rutile TiO2")
    found = read_user_seeds((cif,), {"O": 4, "Ti": 2}, task.labels)
    (geometry,) = found["136:O-f,Ti-a"]
    assert cell_volume_ang3(geometry.cell) == pytest.approx(cell_volume_ang3(task.labels[0].cell))
    assert geometry.count == 0


def test_a_users_crystal_is_a_candidate(tmp_path: Path) -> None:
    cif = write_cif(tmp_path / "SnO2.cif", "rutile TiO2", {"Ti": "Sn"})
    settings = ReconstructSettings(max_evaluations=0, seed_structures=(cif,))
    (candidate,) = reconstruct_task(known_task("rutile TiO2"), settings).candidates
    assert candidate.origin == "user_seed"
    assert min(candidate.free_coords[0], 1 - candidate.free_coords[0]) == pytest.approx(
        KNOWN["rutile TiO2"][2][0], abs=1e-3
    )


def test_equal_amounts_are_tried_in_every_role(tmp_path: Path) -> None:
    cif = write_cif(tmp_path / "ZnS.cif", "wurtzite ZnS", {})
    labels = known_task("wurtzite ZnS").labels
    renamed = LabelPrediction(Label.from_key("186:Ga-b,N-b"), 2, -1.0, "trained", labels[0].cell, 0.1, 0.1)
    assert len(read_user_seeds((cif,), {"Ga": 2, "N": 2}, (renamed,))["186:Ga-b,N-b"]) == 2


def test_a_users_crystal_of_another_composition_is_passed_over(tmp_path: Path) -> None:
    cif = write_cif(tmp_path / "ZnS.cif", "wurtzite ZnS", {})
    assert read_user_seeds((cif,), {"O": 4, "Ti": 2}, known_task("rutile TiO2").labels) == {}


def test_a_missing_seed_file_is_named() -> None:
    with pytest.raises(UserError, match="nowhere.cif"):
        read_user_seeds(("nowhere.cif",), {"O": 2, "Ti": 1}, known_task("rutile TiO2").labels)


def test_each_crystal_of_a_seed_file_is_a_seed_and_cautions_are_warnings(tmp_path: Path) -> None:
    one = Path(write_cif(tmp_path / "one.cif", "rutile TiO2", {"Ti": "Sn"})).read_text()
    (tmp_path / "two.cif").write_text(one + one.replace("0.305", "0.310"))
    found = read_user_seeds((str(tmp_path / "two.cif"),), {"O": 4, "Ti": 2}, known_task("rutile TiO2").labels)
    assert len(found["136:O-f,Ti-a"]) == 2
    unstated = re.sub(r"(?s)loop_\s+_symmetry.*?(?=loop_)|_symmetry_(space|Int)[^\n]*", "", one)
    (tmp_path / "unstated.cif").write_text(unstated)
    with pytest.warns(UserWarning, match="unstated.cif: no symmetry is stated"):
        seed_crystals(tmp_path / "unstated.cif")
    (tmp_path / "bad.cif").write_text(one.replace("data_", "nothing_"))
    with pytest.raises(UserError, match="seed_structures: .*bad.cif cannot be read as a crystal .not CIF"):
        seed_crystals(tmp_path / "bad.cif")

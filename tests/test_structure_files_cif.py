"""CIF as people have it: each crystal is read as the file states it, or refused with the cause."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import gemmi
import numpy as np
import pytest
from mapcsp.crystals import to_structure
from mapcsp.records import Crystal
from mapcsp.structure_files.cif_block import read_blocks
from mapcsp.structure_files.cif_symmetry import possible_settings
from mapcsp.structure_files.read import read_crystals
from mapcsp.structure_files.record import ReadCrystal
from mapcsp.symmetry.detect import find_space_group
from pymatgen.core import Lattice, Structure

CUBE, SALT_CELL = (4.2,) * 3 + (90,) * 3, (5.64,) * 3 + (90,) * 3
CUBIC_SI, CALCITE_R = (5.431,) * 3 + (90,) * 3, (6.375,) * 3 + (46.08,) * 3
HEXAGONAL_CALCITE = (4.99, 4.99, 17.06, 90, 90, 120)
CALCITE = ("Ca1 Ca 0 0 0", "C1 C .25 .25 .25", "O1 O .507 .993 .25")
CALCITE_IN_HEXAGONAL_AXES = ("Ca1 Ca 0 0 0", "C1 C 0 0 .25", "O1 O .257 0 .25")
SALT = ("Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5")
NAME = "_symmetry_space_group_name_H-M '{}'"
IDENTITY = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n"


def block(cell, sites, *items: str, columns: tuple[str, ...] = (), name: str = "x") -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"data_{name}", *(f"_cell_{n} {v}" for n, v in zip(names, cell)), *items, "loop_"]
    lines += [f"_atom_site_{n}" for n in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", *columns)]
    return "\n".join([*lines, *sites, ""])


@pytest.fixture
def read(tmp_path):
    def call(*texts: str) -> list[ReadCrystal]:
        path = tmp_path / "x.cif"
        path.write_text("\n".join(texts), encoding="utf-8")
        return read_crystals(path)

    return call


def content(crystal: Crystal | None) -> dict[str, int]:
    assert crystal is not None
    return dict(Counter(crystal.species))


SETTINGS = [
    (CUBIC_SI, ("Si1 Si 0 0 0",), NAME.format("F d -3 m :1"), {"Si": 8}, 227),
    (CUBIC_SI, ("Si1 Si .125 .125 .125",), NAME.format("F d -3 m :2"), {"Si": 8}, 227),
    (CUBIC_SI, ("Si1 Si .125 .125 .125",), NAME.format("F d -3 m Z"), {"Si": 8}, 227),
    (CUBIC_SI, ("Si1 Si 0 0 0",), "_space_group_name_H-M_alt 'Fd-3m:1'", {"Si": 8}, 227),
    (CUBIC_SI, ("Si1 Si 0 0 0",), "_space_group_name_H-M_alt 'F d 3 m S'", {"Si": 8}, 227),
    (CUBIC_SI, ("Si1 Si 0 0 0",), "_space_group_name_Hall 'F 4d 2 3 -1d'", {"Si": 8}, 227),
    (
        CUBIC_SI,
        ("Si1 Si 0 0 0",),
        "_space_group_IT_number 227\n_space_group_IT_coordinate_system_code 1",
        {"Si": 8},
        227,
    ),
    (CALCITE_R, CALCITE, NAME.format("R -3 c :R"), {"Ca": 2, "C": 2, "O": 6}, 167),
    (CALCITE_R, CALCITE, NAME.format("R -3 c"), {"Ca": 2, "C": 2, "O": 6}, 167),
    (
        HEXAGONAL_CALCITE,
        CALCITE_IN_HEXAGONAL_AXES,
        NAME.format("R -3 c :H"),
        {"Ca": 6, "C": 6, "O": 18},
        167,
    ),
    (HEXAGONAL_CALCITE, CALCITE_IN_HEXAGONAL_AXES, NAME.format("R-3cH"), {"Ca": 6, "C": 6, "O": 18}, 167),
    (CUBIC_SI, ("Si1 Si 0 0 0",), NAME.format("F 41/d -3 2/m :1"), {"Si": 8}, 227),
    (HEXAGONAL_CALCITE, CALCITE_IN_HEXAGONAL_AXES, NAME.format("R -3 c HR"), {"Ca": 6, "C": 6, "O": 18}, 167),
    ((5, 6, 7, 90, 90, 90), ("Na1 Na .1 .2 .3",), NAME.format("P 21/n 21/m 21/a"), {"Na": 8}, 62),
    ((5, 5, 7, 90, 90, 90), ("Na1 Na 0 0 0",), NAME.format("P 42/m 21/n 2/m"), {"Na": 2}, 139),
    (SALT_CELL, SALT, "_space_group_name_H-M 'F m -3 m'", {"Na": 4, "Cl": 4}, 225),
    (HEXAGONAL_CALCITE, CALCITE_IN_HEXAGONAL_AXES, NAME.format("R -3 2/c"), {"Ca": 6, "C": 6, "O": 18}, 167),
    ((5, 6, 7, 90, 100, 90), ("Na1 Na .1 .2 .3",), NAME.format("P2(1)/c"), {"Na": 4}, 14),
    ((5, 6, 7, 90, 100, 90), ("Na1 Na .1 .2 .3",), NAME.format("P 1 2~1~/c 1"), {"Na": 4}, 14),
    (SALT_CELL, SALT, "_symmetry_Int_Tables_number 225", {"Na": 4, "Cl": 4}, 225),
    (SALT_CELL, SALT, NAME.format("FM3M"), {"Na": 4, "Cl": 4}, 225),
    # The tables have these groups in larger cells, too (C 1, F -1, F 4 2 2), which no number alone means.
    (
        (5, 6, 7, 80, 85, 95),
        ("Na1 Na .1 .2 .3", "Cl1 Cl 0 0 0"),
        "_space_group_IT_number 1",
        {"Na": 1, "Cl": 1},
        1,
    ),
    ((5, 6, 7, 80, 85, 95), ("Na1 Na .1 .2 .3",), "_space_group_IT_number 2", {"Na": 2}, 2),
    ((5, 5, 7, 90, 90, 90), ("Na1 Na .1 .2 .3",), "_symmetry_Int_Tables_number 97", {"Na": 16}, 97),
    ((5, 6, 7, 90, 100, 90), ("Na1 Na .1 .2 .3",), NAME.format("P 1 21/n 1"), {"Na": 4}, 14),
    ((5, 6, 7, 90, 100, 90), ("Na1 Na .1 .2 .3",), NAME.format("P2_1/n"), {"Na": 4}, 14),
    ((5, 6, 7, 90, 90, 100), ("Na1 Na .1 .2 .3",), NAME.format("P 21/b"), {"Na": 4}, 14),
    ((5, 6, 7, 90, 90, 90), ("Na1 Na .1 .2 .3",), NAME.format("P b n m"), {"Na": 8}, 62),
    ((5, 6, 7, 90, 90, 90), ("Na1 Na .1 .2 .3",), NAME.format("C m c e"), {"Na": 16}, 64),
]


@pytest.mark.parametrize(("cell", "sites", "symmetry", "expected", "space_group"), SETTINGS)
def test_a_named_setting_without_operations_is_expanded(read, cell, sites, symmetry, expected, space_group):
    (found,) = read(block(cell, sites, symmetry))
    assert content(found.crystal) == expected
    assert find_space_group(found.crystal, 0.01) == space_group
    assert found.cautions == ()


def test_two_settings_of_one_group_are_two_crystals(read):
    cell, sites = (5, 6, 7, 90, 100, 90), ("Na1 Na .1 .2 .3",)
    (c,), (n,) = (read(block(cell, sites, NAME.format(name))) for name in ("P 1 21/c 1", "P 1 21/n 1"))
    expected = Structure.from_spacegroup("P2_1/c", Lattice.from_parameters(*cell), ["Na"], [[0.1, 0.2, 0.3]])
    same = np.sort(to_structure(c.crystal).distance_matrix.round(6).ravel())
    assert same == pytest.approx(np.sort(expected.distance_matrix.round(6).ravel()))
    assert np.sort(to_structure(n.crystal).distance_matrix.round(6).ravel()) != pytest.approx(same)


@pytest.mark.parametrize("n", range(0, 564, 3))
def test_every_setting_of_the_tables_is_found_by_its_name(n):
    group = list(gemmi.spacegroup_table())[n]
    (stated,) = read_blocks(f"data_x\n_space_group_name_H-M_alt '{group.xhm()}'\n")
    (setting,) = possible_settings(stated, _lattice_of(group), [])
    operations = {(tuple(map(tuple, o.rot)), tuple(o.tran)) for o in group.operations()}
    rotations = np.rint(setting.rotations * 24).astype(int).tolist()
    translations = (np.rint(setting.translations * 24).astype(int) % 24).tolist()
    assert {(tuple(map(tuple, r)), tuple(t)) for r, t in zip(rotations, translations)} == operations


def _lattice_of(group: gemmi.SpaceGroup) -> np.ndarray:
    system = group.crystal_system_str()
    if system == "monoclinic":
        angles = [100 if axis == group.monoclinic_unique_axis() else 90 for axis in "abc"]
        return np.array(Lattice.from_parameters(5, 6, 7, *angles).matrix)
    lattices = {
        "triclinic": (5, 6, 7, 80, 85, 95),
        "orthorhombic": (5, 6, 7, 90, 90, 90),
        "tetragonal": (5, 5, 7, 90, 90, 90),
        "trigonal": (5, 5, 5, 70, 70, 70) if group.ext == "R" else (5, 5, 7, 90, 90, 120),
        "hexagonal": (5, 5, 7, 90, 90, 120),
        "cubic": (5, 5, 5, 90, 90, 90),
    }
    return np.array(Lattice.from_parameters(*lattices[system]).matrix)


def test_a_full_statement_agrees_with_its_sites(read):
    stated = (
        "_chemical_formula_moiety 'Na 1+, Cl 1-'",
        "_chemical_formula_weight 58.44",
        "_cell_formula_units_Z 4",
        "_exptl_crystal_density_diffrn 2.164",
        "_cell_volume 179.4",
        "_symmetry_cell_setting cubic",
        "_space_group_name_H-M_alt 'F m -3 m'",
        "_space_group_IT_number 225",
        "_space_group_name_Hall '-F 4 2 3'",
    )
    (found,) = read(block(SALT_CELL, SALT, NAME.format("Fm-3m"), *stated))
    assert content(found.crystal) == {"Na": 4, "Cl": 4}
    assert found.cautions == ()


Z8 = ("_chemical_formula_sum Si", "_cell_formula_units_Z 8")
SETTLED = [
    ("Si1 Si 0 0 0", Z8, "F d -3 m:1"),
    ("Si1 Si .125 .125 .125", Z8, "F d -3 m:2"),
    ("Si1 Si 0 0 0", ("_exptl_crystal_density_diffrn 2.33",), "F d -3 m:1"),
    ("Si1 Si .125 .125 .125", ("_exptl_crystal_density_diffrn 2.33",), "F d -3 m:2"),
]


@pytest.mark.parametrize(("site", "stated", "setting"), SETTLED)
def test_an_origin_that_is_not_stated_is_settled_by_what_else_the_file_states(read, site, stated, setting):
    (found,) = read(block(CUBIC_SI, (site,), NAME.format("F d -3 m"), *stated))
    assert content(found.crystal) == {"Si": 8}
    assert f"of 2 readings of its symmetry {setting} is taken" in found.cautions[0]


def test_the_multiplicity_of_a_site_settles_the_origin_too(read):
    text = block(CUBIC_SI, ("Si1 Si 0 0 0 8",), NAME.format("F d -3 m"), columns=("symmetry_multiplicity",))
    assert content(read(text)[0].crystal) == {"Si": 8}


OPEN = [
    (CUBIC_SI, NAME.format("F d -3 m"), r"2 ways \(F d -3 m:1, F d -3 m:2\)"),
    (CUBIC_SI, "_space_group_IT_number 227", r"2 ways \(F d -3 m:1, F d -3 m:2\)"),
    ((5, 6, 7, 90, 90, 90), "_space_group_IT_number 62", r"6 ways \(P n m a, "),
    ((5, 6, 7, 90, 100, 90), "_space_group_IT_number 14", r"ways \(P 1 21/c 1, P 1 21/n 1"),
    (
        CUBIC_SI,
        NAME.format("F m -3 m") + "\n" + IDENTITY,
        "the listed operations, of P 1, contradict .*F m -3 m",
    ),
]


@pytest.mark.parametrize(("cell", "symmetry", "message"), OPEN)
def test_a_symmetry_that_can_be_read_in_several_ways_is_refused(read, cell, symmetry, message):
    (found,) = read(block(cell, ("Si1 Si 0 0 0", "Si2 Si .1 .2 .3"), symmetry))
    assert found.crystal is None
    assert re.search(message, found.reason)


def test_operations_and_a_name_that_contradict_each_other_are_said(read):
    stated = ("_chemical_formula_sum 'Na Cl'", "_cell_formula_units_Z 4")
    (found,) = read(block(SALT_CELL, SALT, NAME.format("F m -3 m"), IDENTITY, *stated))
    assert content(found.crystal) == {"Na": 4, "Cl": 4}
    assert any("contradict the named space group F m -3 m; F m -3 m is taken" in c for c in found.cautions)
    everywhere = [f"{e}{i} {e} {x} {y} {z}" for i, (e, x, y, z) in enumerate(
        [("Na", 0, 0, 0), ("Na", 0, 0.5, 0.5), ("Na", 0.5, 0, 0.5), ("Na", 0.5, 0.5, 0),
         ("Cl", 0.5, 0.5, 0.5), ("Cl", 0.5, 0, 0), ("Cl", 0, 0.5, 0), ("Cl", 0, 0, 0.5)])]  # fmt: skip
    (found,) = read(block(SALT_CELL, everywhere, NAME.format("F m -3 m"), IDENTITY))
    assert content(found.crystal) == {"Na": 4, "Cl": 4}
    assert any("the listed operations is taken" in c for c in found.cautions)


def test_a_file_without_symmetry_lists_all_atoms_and_it_is_said(read):
    (found,) = read(block((3.5,) * 3 + (90,) * 3, SALT))
    assert content(found.crystal) == {"Na": 1, "Cl": 1}
    assert "no symmetry is stated" in found.cautions[0]


P1 = NAME.format("P 1")
FAULTS = [
    # The composition.
    (
        block(CALCITE_R, CALCITE, P1, "_chemical_formula_sum 'Ca1 C1 O3'"),
        "the file states CaCO3, its sites give CaCO",
    ),
    (
        block(
            (6.5, 10.5, 6.5, 90, 105, 90),
            ("Na1 Na .1 .2 .3", "Cl1 Cl .5 .6 .7", "O1 O .3 .1 .9", "O2 O .7 .3 .4"),
            NAME.format("P 1 21/c 1"),
            "_chemical_formula_sum 'H4 Cl1 Na1 O2'",
        ),
        "NaH4ClO2, its sites give NaClO2; 4 H of the stated formula have no site",
    ),
    (
        block(CUBE, ("Mg1 Mg 0 0 0", "O1 O .5 .5 .5"), P1, "_chemical_formula_structural 'Mg (O H)2'"),
        r"states Mg\(HO\)2, its sites give MgO; 2 H",
    ),
    (
        block(SALT_CELL, SALT, P1, "_chemical_formula_sum 'Na Cl'", "_cell_formula_units_Z 4"),
        "states 4 formula units of Na1Cl1 in the cell, its sites give Na1Cl1",
    ),
    (block(SALT_CELL, SALT, P1, "_cell_formula_units_Z 4"), "states 4 formula units in the cell"),
    (
        block(SALT_CELL, SALT, P1, "_exptl_crystal_density_diffrn 2.16"),
        r"density of 2.16 g/cm³, .* give 0.541",
    ),
    (
        block(SALT_CELL, ("Na1 Na 0 0 0 4", "Cl1 Cl .5 .5 .5 4"), P1, columns=("symmetry_multiplicity",)),
        "states 4 atoms of the site Na1, its symmetry gives 1",
    ),
    (
        block(SALT_CELL, SALT, NAME.format("F m -3 m"), "_chemical_formula_moiety 'Na 1+, Cl 1-, 2(H2 O)'"),
        r"its sites give NaCl; 4 H and 2 O of the stated formula have no site",
    ),
    (
        block(
            SALT_CELL,
            SALT,
            NAME.format("F m -3 m"),
            "_chemical_formula_weight 94.5",
            "_cell_formula_units_Z 4",
        ),
        "a formula weight of 94.5 g/mol, its sites give 233.77 in the cell",
    ),
    (
        block(SALT_CELL, SALT, NAME.format("F m -3 m"), "_chemical_formula_weight 94.5"),
        "a formula weight of 94.5 g/mol, its sites give 233.77 in the cell",
    ),
    # Sites.
    (
        block(CUBE, ("Mg1 Mg 0 0 0", "O1 O .5 .5 .5", "O1 O .5 .5 .5"), P1),
        r"site O1 is occupied twice \(2.0\)",
    ),
    (
        block(CUBE, ("O1 O 0 .5 .5", "O2 O .5 0 .5"), NAME.format("F m -3 m")),
        "the sites O1 and O2 are one place",
    ),
    (block(CUBE, ("Mg1 Mg 0 0 0", "O1 O .5 ? .5"), P1), r"the coordinate y of O1 is \?"),
    (block(CUBE, ("Mg1 Mg 0 0 0", "O1 O .5 .5 ."), P1), r"the coordinate z of O1 is \."),
    (block(CUBE, ("Mg1 Mg 0 0 0", "O1 O 1/2 .5 .5"), P1), "the coordinate x of O1 is '1/2', no number"),
    (
        block(CUBE, ("Na1 Na 0 0 0 .5", "K1 K 0 0 0 .5"), P1, columns=("occupancy",)),
        "the site Na1 is occupied to 0.5: .*partial",
    ),
    (block(CUBE, ("O1 O 0 0 0 2",), P1, columns=("occupancy",)), "O1 is occupied to 2, more than one"),
    (
        block(
            CUBE, ("O1 O 0 0 0 A 1", "O2 O .1 .1 0 A 2"), P1, columns=("disorder_assembly", "disorder_group")
        ),
        "several groups of disordered",
    ),
    (
        block(CUBE, ("O1 O 0 0 0 2",), P1, columns=("attached_hydrogens",)),
        "2 hydrogens of the site O1 have no",
    ),
    (block(CUBE, ("M1 X 0 0 0",), P1), "the site M1: 'X' is no element"),
    (block(CUBE, ("O1 OH 0 0 0",), P1), "the site O1: 'OH' is no element"),
    (block(CUBE, ("X1 ? 0 0 0",), P1), "the site X1: its label is no element"),
    (block(CUBE, ("CA1 ? 0 0 0",), P1), "the label CA1 can mean Ca or C"),
    (
        block(CUBE, ("WAT1 ? 0 0 0",), P1),
        r"the label WAT1 names a group of atoms \(WAT\); give its type symbol",
    ),
    (block(CUBE, ("H2O ? 0 0 0",), P1), r"the label H2O names a group of atoms \(H2O\)"),
    (
        block(CUBE, ("OH1 ? 0 0 0",), P1, "_chemical_formula_sum 'H O'"),
        "1 H of the stated formula have no site",
    ),
    # The cell.
    (block((4.2, 4.2, "?", 90, 90, 90), SALT, P1), r"the cell length c is \?"),
    (block((4.2, 4.2, 4.2, 90, 90), SALT, P1), r"the cell angle gamma is missing \(_cell_angle_gamma\)"),
    (block((4.2, 4.2, 0, 90, 90, 90), SALT, P1), "a cell length of 0 Å is impossible"),
    (block((4.2, 4.2, 4.2, 120, 120, 125), SALT, P1), "no cell has the angles 120, 120, 125°"),
    (
        block((4.2, 4.2, 42, 90, 90, 90), SALT, P1, "_cell_volume 74.09"),
        "_cell_volume is 74.09 Å³, .* give 740.9 Å³",
    ),
    (
        block(HEXAGONAL_CALCITE, CALCITE, NAME.format("R -3 c :R")),
        "the cell has not the symmetry of R -3 c:R",
    ),
    (
        block((5, 6, 7, 90, 90, 90), SALT, NAME.format("F m -3 m")),
        "the cell has not the symmetry of F m -3 m",
    ),
    # The symmetry.
    (
        block(CUBIC_SI, SALT, NAME.format("Q m m m")),
        "the space group 'Q m m m' is not in the tables; list the operations",
    ),
    (block(CUBIC_SI, SALT, "_space_group_name_Hall 'nonsense'"), "the Hall symbol 'nonsense' cannot be read"),
    (block(CUBIC_SI, SALT, "_space_group_IT_number 231"), "there is no space group 231"),
    (
        block(CUBIC_SI, SALT, NAME.format("F m -3 m"), "_space_group_IT_number 62"),
        "'F m -3 m' and the number 62, which is another",
    ),
    (
        block(CUBIC_SI, SALT, "loop_\n_space_group_symop_operation_xyz\nx,y,z\n-y,x,z\n"),
        "no group: the product of the operations 2 and 2",
    ),
    (
        block(CUBIC_SI, SALT, "loop_\n_space_group_symop_operation_xyz\n-x,-y,-z\n"),
        "no group: the identity is not among them",
    ),
    (
        block(CUBIC_SI, SALT, "loop_\n_space_group_symop_operation_xyz\nx,y,w\n"),
        "the operation 'x,y,w' cannot be read",
    ),
    (block(CUBIC_SI, SALT, P1, "_cell_modulation_dimension 1"), "modulated"),
    (block(CUBIC_SI, SALT, P1, "_cell_length_a 5.5"), "_cell_length_a has two different values"),
    (
        block(CUBIC_SI, SALT, "_space_group_name_Schoenflies Oh^9"),
        r"stated only as 'Oh\^9' \(_space_group_name_schoenflies\); name the space group",
    ),
    (
        block(
            CUBIC_SI,
            SALT,
            "loop_\n_space_group_symop_ssg_operation_algebraic\nx1,x2,x3,x4\n-x1,-x2,-x3,-x4\n",
        ),
        "stated only as 'x1,x2,x3,x4'",
    ),
    (block(CUBIC_SI, SALT, "_symmetry_group_number 225"), "stated only as '225'"),
    (block(CUBIC_SI, SALT, "_symmetry_cell_setting cubic"), "stated only as 'cubic'"),
    (
        block(CUBIC_SI, SALT, NAME.format("F m -3 m"), "_space_group_name_H-M_alt 'P m -3 m'"),
        "names the space groups 'P m -3 m' and 'F m -3 m'",
    ),
    # The file.
    ("hello\n", "not CIF .*expected block header"),
    ("", "no block of this CIF lists atoms"),
    ("data_x\n_journal_year 1990\n", "no block of this CIF lists atoms"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_what_a_cif_does_not_tell_is_refused_with_the_cause(read, text, message):
    (found,) = read(text)
    assert found.crystal is None
    assert re.search(message, found.reason), found.reason


def test_each_block_with_atoms_is_a_crystal_of_its_own(read):
    silicon = block(CUBIC_SI, ("Si1 Si 0 0 0",), NAME.format("F d -3 m :1"))
    salt = block(SALT_CELL, SALT, NAME.format("F m -3 m"))
    broken = block(CUBIC_SI, ("Si1 Si 0 ? 0",), NAME.format("F d -3 m :1"))
    found = read("data_global\n_journal_year 1990\n", silicon, broken, salt)
    assert [Path(c.name).name for c in found] == ["x.cif#1", "x.cif#2", "x.cif#3"]
    assert content(found[0].crystal) == {"Si": 8}
    assert found[1].crystal is None and "coordinate y of Si1" in found[1].reason
    assert content(found[2].crystal) == {"Na": 4, "Cl": 4}


def test_rounded_coordinates_lie_on_their_special_position(read):
    cell, stated = (
        (3.25, 3.25, 5.207, 90, 90, 120),
        ("_chemical_formula_sum 'Zn O'", "_cell_formula_units_Z 2"),
    )
    sites = ("Zn1 Zn .333 .667 0", "O1 O .33 .67 .382")
    (found,) = read(block(cell, sites, NAME.format("P 63 m c"), *stated))
    assert content(found.crystal) == {"Zn": 2, "O": 2}
    assert found.crystal.frac_coords[0] == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-12)
    # The oxygen lay .02 Å off, which rounding explains.
    assert found.cautions == ()
    (found,) = read(block(cell, ("Zn1 Zn .333 .667 0", "O1 O .31 .69 .382"), NAME.format("P 63 m c")))
    assert found.cautions == ("the site O1 was moved by 0.13 Å to its special position",)


def test_deuterium_is_hydrogen_and_said(read):
    text = block((3,) * 3 + (90,) * 3, ("D1 D 0 0 0", "O1 O .5 .5 .5"), P1, "_chemical_formula_sum 'D O'")
    (found,) = read(text)
    assert content(found.crystal) == {"H": 1, "O": 1}
    assert found.cautions == ("D is read as H",)


@pytest.mark.parametrize(
    ("label", "formula", "element"),
    [
        ("CA1", "Ca O", "Ca"),
        ("Ca1", None, "Ca"),
        ("OW1", None, "O"),
        ("CO1", "C O", "C"),
        ("NA", "Na Cl", "Na"),
        ("Wat", "Ca O", "O"),
        ("OH2", "C O", "O"),
    ],
)
def test_a_label_without_a_type_symbol_is_read_by_the_formula(read, label, formula, element):
    others = {
        "Ca O": f"{'Ca9 Ca' if label == 'Wat' else 'O9 O'} .5 .5 .5",
        "C O": f"{'C9 C' if label == 'OH2' else 'O9 O'} .5 .5 .5",
        "Na Cl": "Cl9 Cl .5 .5 .5",
    }
    sites = [f"{label} ? 0 0 0", *([others[formula]] if formula else [])]
    stated = (f"_chemical_formula_sum '{formula}'",) if formula else ()
    (found,) = read(block((4,) * 3 + (90,) * 3, sites, P1, *stated))
    assert found.crystal is not None, found.reason
    assert found.crystal.species[0] == element


def test_a_label_of_another_element_than_the_type_symbol_is_said(read):
    (found,) = read(block((3.5,) * 3 + (90,) * 3, ("Cl1 Na 0 0 0", "M1 Cl .5 .5 .5"), P1))
    assert found.crystal.species == ("Na", "Cl")
    assert found.cautions == ("the site Cl1 is Na by its type symbol",)


def test_charges_dummies_and_empty_sites_are_no_atoms(read):
    sites = ("Na1 Na1+ 0 0 0 1 d", "Cl1 Cl- .5 .5 .5 . d", "Q1 Q .2 .2 .2 1 dum", "K1 K+ .1 .1 .1 0 d")
    (found,) = read(block((3.5,) * 3 + (90,) * 3, sites, P1, columns=("occupancy", "calc_flag")))
    assert content(found.crystal) == {"Na": 1, "Cl": 1}
    assert found.cautions == ("the dummy site Q1 is left out", "the empty site K1 (occupancy 0) is left out")


def test_a_magnetic_cif_is_expanded_by_its_operations_and_centrings(read):
    symmetry = (
        "loop_\n_space_group_symop_magn_operation.id\n_space_group_symop_magn_operation.xyz\n1 x,y,z,+1\n2 -x,-y,-z,+1\n"
        "loop_\n_space_group_symop_magn_centering.id\n_space_group_symop_magn_centering.xyz\n1 x,y,z,+1\n2 x,y,z+1/2,-1\n"
    )
    (found,) = read(block((4, 5, 6, 90, 90, 90), ("Mn1 Mn .1 .2 .1",), symmetry))
    assert content(found.crystal) == {"Mn": 4}
    assert found.cautions == ("magnetic moments are not read",)


def test_names_in_latin_1_and_a_byte_order_mark_do_no_harm(tmp_path):
    text = block((3.5,) * 3 + (90,) * 3, SALT, P1)
    (tmp_path / "a.cif").write_bytes(f"# Müller\n{text}".encode("latin-1"))
    (tmp_path / "b.cif").write_bytes(text.encode("utf-8-sig"))
    for name in ("a.cif", "b.cif"):
        (found,) = read_crystals(tmp_path / name)
        assert content(found.crystal) == {"Na": 1, "Cl": 1}

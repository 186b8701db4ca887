"""Structure files of every format: what was written is read, a row a crystal, and nothing is guessed in silence."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms
from known_structures import KNOWN as LISTED
from mapcsp.crystals import to_structure
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.structure_files.read import from_pymatgen, read_crystals, read_one_crystal
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar
from well_known import MORE

CRYSTALS = {
    **{name: to_structure(make()) for name, make in LISTED.items()},
    **{
        name: Structure.from_spacegroup(
            group,
            lattice,
            list(np.repeat([*sites], [len(p) for p in sites.values()])),
            sum(sites.values(), []),
        )
        for name, (group, lattice, sites) in MORE.items()
    },
}


def _ase(structure: Structure, path: Path, **options) -> None:
    with warnings.catch_warnings():
        # CASTEP's writer looks for the program.
        warnings.filterwarnings("ignore", "(?s).*CASTEP|.*plugin")
        ase.io.write(path, AseAtomsAdaptor.get_atoms(structure), **options)


DIALECTS = {
    "plain.cif": lambda s, p: CifWriter(s).write_file(p),
    "symmetric.cif": lambda s, p: CifWriter(s, symprec=0.01).write_file(p),
    "rounded.cif": lambda s, p: CifWriter(s, symprec=0.01, significant_figures=4).write_file(p),
    "ase.cif": lambda s, p: _ase(s, p),
    "POSCAR_direct": lambda s, p: p.write_text(Poscar(s).get_str(direct=True)),
    "cartesian.vasp": lambda s, p: p.write_text(Poscar(s).get_str(direct=False)),
    "x.json": lambda s, p: s.to(filename=str(p)),
    "x.xyz": lambda s, p: _ase(s, p, format="extxyz"),
    "x.xsf": lambda s, p: _ase(s, p),
    "x.res": lambda s, p: _ase(s, p),
    "x.cell": lambda s, p: _ase(s, p),
    "x.gen": lambda s, p: _ase(s, p),
    "geometry.in": lambda s, p: _ase(s, p, format="aims"),
    "x.traj": lambda s, p: _ase(s, p),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_written_in_a_dialect_is_read(dialect, tmp_path):
    same = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1, scale=False)
    for name, structure in CRYSTALS.items():
        path = tmp_path / f"{dialect}" / dialect
        path.parent.mkdir(exist_ok=True)
        DIALECTS[dialect](structure, path)
        (found,) = read_crystals(path)
        assert found.crystal is not None, f"{name}: {found.reason}"
        assert found.cautions == (), name
        assert same.fit(to_structure(found.crystal), structure), name


RUTILE = """{comment}
1.0
4.594 0 0
0 4.594 0
0 0 2.959
{elements}2 4
{selective}Direct
0 0 0 {flags}
.5 .5 .5
.305 .305 0
.695 .695 0
.195 .805 .5
.805 .195 .5
"""


def poscar(comment="rutile", elements="", selective="", flags="") -> str:
    return RUTILE.format(comment=comment, elements=elements, selective=selective, flags=flags)


@pytest.fixture
def read(tmp_path):
    def call(text: str, name: str = "POSCAR", elements: tuple[str, ...] = ()):
        (tmp_path / name).write_text(text)
        return read_crystals(tmp_path / name, elements)

    return call


def content(crystal: Crystal | None) -> dict[str, int]:
    assert crystal is not None
    return dict(Counter(crystal.species))


def test_a_poscar_without_elements_is_refused_unless_they_are_given(read):
    (found,) = read(poscar())
    assert found.crystal is None
    assert found.reason == (
        "no elements are named for its 2 counts of atoms; give them, such as --elements Ti,O"
    )
    (found,) = read(poscar(), elements=("Ti", "O"))
    assert content(found.crystal) == {"Ti": 2, "O": 4}
    assert found.cautions == ()
    (found,) = read(poscar(), elements=("Ti",))
    assert found.reason == "1 elements (Ti) for 2 counts of atoms"


def test_elements_of_a_comment_or_behind_the_coordinates_are_said(read):
    (found,) = read(poscar(comment="Ti O"))
    assert content(found.crystal) == {"Ti": 2, "O": 4}
    assert "Ti O are those of the comment line" in found.cautions[0]
    assert read(poscar(comment="TiO2 rutile"))[0].crystal is None
    lines = poscar().splitlines()
    labelled = "\n".join([*lines[:7], *(f"{li} {e}" for li, e in zip(lines[7:], ["Ti"] * 2 + ["O"] * 4))])
    (found,) = read(labelled)
    assert content(found.crystal) == {"Ti": 2, "O": 4}
    assert "those behind the coordinates" in found.cautions[0]
    (found,) = read(labelled, elements=("O", "Ti"))
    assert found.reason == "atom 1 is Ti behind its coordinates, O by the counts"


@pytest.mark.parametrize(
    ("elements", "species"),
    [("Ti O\n", "TiO"), ("Ti_sv O/8a3f2\n", "TiO"), (" Ti  O ! PBE\n", "TiO"), ("Zr S\n", "ZrS")],
)
def test_the_line_of_elements_is_read_as_vasp_does(read, elements, species):
    (found,) = read(poscar(elements=elements), elements=("Ti", "O"))
    first, second = re.findall("[A-Z][a-z]?", species)
    assert content(found.crystal) == {first: 2, second: 4}
    assert bool(found.cautions) == (species != "TiO")


def test_selective_dynamics_is_said_not_to_be_honoured(read):
    (found,) = read(poscar(elements="Ti O\n", selective="Selective dynamics\n", flags="F F T"))
    assert found.cautions == (
        "selective dynamics is not honoured: the file fixes 1 of 6 atoms, a relaxation moves all",
    )
    (found,) = read(poscar(elements="Ti O\n", selective="Selective dynamics\n", flags="T T T"))
    assert found.cautions == ()
    structure = Structure(
        np.eye(3) * 3, ["Cu"], [[0, 0, 0]], site_properties={"selective_dynamics": [[0, 1, 1]]}
    )
    assert "fixes 1 of 1 atoms" in from_pymatgen(structure).cautions[0]


@pytest.mark.parametrize(
    ("change", "volume"),
    [(("\n1.0\n", "\n2.0\n"), 8.0), (("\n1.0\n", "\n-80\n"), 80 / 62.449), (("\n1.0\n", "\n1 1 2\n"), 2.0)],
)
def test_the_scale_of_a_poscar_is_a_factor_a_volume_or_three_factors(read, change, volume):
    direct = read(poscar(elements="Ti O\n"))[0].crystal
    (found,) = read(poscar(elements="Ti O\n").replace(*change))
    assert found.crystal.volume_ang3 / direct.volume_ang3 == pytest.approx(volume, rel=1e-4)
    assert found.crystal.frac_coords == pytest.approx(direct.frac_coords)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("\n1.0\n", "\n0\n"), "the scale on line 2, '0', is not positive"),
        (("Direct", "Fractional"), "line 8 is neither `Direct` nor `Cartesian`"),
        ((".805 .195 .5\n", ""), "6 atoms are counted, but not so many lines"),
        (("2 4", "2 4.5"), "line 7 does not count the atoms of each element"),
        (("Ti O", "Ti Xx"), "'Xx' is no element from H to Pu"),
        (("Ti O", "Ti O F"), "3 elements .* for 2 counts"),
        ((".5 .5 .5", "0 0 0.01"), r"atoms 1 \(Ti\) and 2 \(Ti\) stand at one place"),
        (("0 0 0 ", "nan 0 0 "), "not a finite number"),
        (("0 0 2.959", "0 4.594 0"), "the cell has no volume"),
    ],
)
def test_what_a_poscar_does_not_tell_is_refused_with_the_cause(read, change, reason):
    (found,) = read(poscar(elements="Ti O\n").replace(*change))
    assert found.crystal is None
    assert re.search(reason, found.reason), found.reason


def frames(n: int, **options) -> list[ase.Atoms]:
    return [
        ase.Atoms("NaCl", cell=[a, a, a], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True, **options)
        for a in 3.5 + 0.1 * np.arange(n)
    ]


def test_each_frame_is_a_crystal_of_its_own(tmp_path):
    path = tmp_path / "many.xyz"
    several = frames(4)
    several[1].cell, several[1].pbc = None, False
    several[2].pbc = (True, True, False)
    ase.io.write(path, several, format="extxyz")
    found = read_crystals(path)
    assert [Path(c.name).name for c in found] == ["many.xyz#1", "many.xyz#2", "many.xyz#3", "many.xyz#4"]
    assert [c.reason for c in found] == [
        "",
        "no cell: a crystal has three lattice vectors",
        "periodic in 2 of 3 directions, which is no crystal",
        "",
    ]
    assert found[3].crystal.volume_ang3 == pytest.approx(3.8**3)


@pytest.mark.parametrize(
    ("symbol", "position", "reason"),
    [
        ("X", "2 2 2", "atom 1 is 'X', no element from H to Pu"),
        ("Na1", "2 2 2", "cannot be read as extxyz: 'Na1' is no element"),
        ("Na", "nan 0 0", "a lattice vector or a coordinate is not a finite number"),
        ("Na", "4 4 4", r"atoms 1 \(Na\) and 2 \(Cl\) stand at one place"),
    ],
)
def test_a_frame_of_no_crystal_is_refused_with_the_cause(read, symbol, position, reason):
    heading = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
    (found,) = read(f"2\n{heading}\n{symbol} {position}\nCl 0 0 0.2\n", "x.xyz")
    assert re.match(reason, found.reason), found.reason


def test_frames_before_a_damaged_one_are_kept(tmp_path):
    path = tmp_path / "cut.xyz"
    ase.io.write(path, frames(3), format="extxyz")
    path.write_text(path.read_text().rpartition("Na ")[0])
    found = read_crystals(path)
    assert [c.crystal is None for c in found] == [False, False, True]
    assert "nothing after it is read" in found[2].reason


@pytest.mark.parametrize("name", ["XDATCAR", "x.traj"])
def test_trajectories_have_a_row_for_each_step(tmp_path, name):
    moving = frames(3)
    for atoms in moving:
        atoms.cell = moving[0].cell
        atoms.positions[1] += 0.1
    ase.io.write(tmp_path / name, moving, **({"format": "vasp-xdatcar"} if name == "XDATCAR" else {}))
    assert [content(c.crystal) for c in read_crystals(tmp_path / name)] == [{"Na": 1, "Cl": 1}] * 3


def test_constraints_of_other_formats_are_said_too(tmp_path):
    (atoms,) = frames(1)
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "x.traj", atoms)
    (found,) = read_crystals(tmp_path / "x.traj")
    assert found.cautions == (
        "the file's constraint is not honoured: the file fixes 1 of 2 atoms, a relaxation moves all",
    )


LAMMPS = """x

2 atoms
2 atom types
0 3.5 xlo xhi
0 3.5 ylo yhi
0 3.5 zlo zhi
{masses}
Atoms # atomic

1 1 0 0 0
2 2 1.75 1.75 1.75
"""


def test_types_of_a_lammps_file_are_no_elements(read):
    (found,) = read(LAMMPS.format(masses=""), "x.lmp")
    assert found.reason == "no elements are named, only types; give them, such as --elements Ti,O"
    (found,) = read(LAMMPS.format(masses=""), "x.lmp", ("Na", "Cl"))
    assert content(found.crystal) == {"Na": 1, "Cl": 1}
    (found,) = read(LAMMPS.format(masses="\nMasses\n\n1 22.99\n2 35.45\n"), "x.lmp")
    assert content(found.crystal) == {"Na": 1, "Cl": 1}
    assert found.cautions == ("the elements are taken from the masses",)


PDB = """CRYST1    5.640    5.640    5.640  90.00  90.00  90.00 {group}
ATOM      1   NA MOL     1       0.000   0.000   0.000  1.00  0.00          NA
ATOM      2   CL MOL     1       2.820   2.820   2.820  1.00  0.00          CL
END
"""
SHELX = (
    "TITL x\nCELL 1.0 5.64 5.64 5.64 90 90 90\n{symmetry}SFAC Na Cl\nNa 1 0 0 0 1.0\nCl 2 .5 .5 .5 1.0\nEND\n"
)


@pytest.mark.parametrize(
    ("name", "text", "symmetry"),
    [
        ("x.pdb", PDB.format(group="F m -3 m"), "the space group F m -3 m"),
        ("x.res", SHELX.format(symmetry="LATT 4\n"), "LATT 4"),
        ("x.res", SHELX.format(symmetry="LATT -1\nSYMM -X, Y, -Z\n"), "the operation -X, Y, -Z"),
    ],
)
def test_symmetry_that_a_reader_would_pass_over_is_refused(read, name, text, symmetry):
    (found,) = read(text, name)
    assert found.reason == f"it states {symmetry}, by which its atoms are not expanded here; give a CIF"
    plain = PDB.format(group="P 1") if name == "x.pdb" else SHELX.format(symmetry="LATT -1\n")
    assert content(read(plain, name)[0].crystal) == {"Na": 1, "Cl": 1}


def test_a_disordered_structure_names_its_site(tmp_path):
    mixed = Structure(np.eye(3) * 4, [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert "site 1 (K:0.5, Na:0.5) is shared" in from_pymatgen(mixed).reason
    mixed.to(filename=str(tmp_path / "mixed.json"))
    (found,) = read_crystals(tmp_path / "mixed.json")
    assert found.crystal is None and "partial occupancies" in found.reason


def test_charges_and_isotopes_of_a_structure_are_dropped_and_dummies_refused():
    charged = Structure(np.eye(3) * 3.5, ["Na+", "D"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert content(from_pymatgen(charged).crystal) == {"Na": 1, "H": 1}
    dummy = Structure(np.eye(3) * 3.5, ["X0+"], [[0, 0, 0]])
    assert from_pymatgen(dummy).reason == "'X' is no element from H to Pu"


def test_compressed_files_and_content_without_an_ending_are_read(tmp_path):
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    CifWriter(structure).write_file(tmp_path / "x.cif")
    (tmp_path / "x.cif.gz").write_bytes(gzip.compress((tmp_path / "x.cif").read_bytes()))
    (tmp_path / "no_ending").write_bytes((tmp_path / "x.cif").read_bytes())
    (tmp_path / "x.txt").write_text(Poscar(structure).get_str())
    for name in ("x.cif.gz", "no_ending", "x.txt"):
        (found,) = read_crystals(tmp_path / name)
        assert Composition(content(found.crystal)) == structure.composition, name


def test_packing_encoding_and_ends_of_lines_are_told_by_the_content(tmp_path):
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    text = str(CifWriter(structure))
    forms = {
        "X.CIF.GZ": gzip.compress(text.encode()),
        "packed.cif": gzip.compress(text.encode()),
        "windows.cif": text.encode("utf-16"),
        "old_mac.cif": text.replace("\n", "\r").encode(),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        (found,) = read_crystals(tmp_path / name)
        assert Composition(content(found.crystal)) == structure.composition, name


def test_a_damaged_archive_is_a_row_of_its_own(tmp_path):
    packed = gzip.compress(np.random.default_rng(0).bytes(4000))
    broken = packed[:50] + b"\0" * 50 + packed[100:]
    for name, data in {"short.cif.gz": packed[:2000], "broken.cif.gz": broken}.items():
        (tmp_path / name).write_bytes(data)
        (found,) = read_crystals(tmp_path / name)
        assert found.crystal is None and found.reason.startswith("the compressed file is damaged ("), name


def test_structures_are_found_in_any_document_of_json(tmp_path):
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    one = salt.as_dict()
    documents = {
        "by_id.json": ({"mp-1": one, "mp-2": one}, 2),
        "answer.json": ({"data": [{"id": 1, "structure": one, "initial_structures": [one, one]}]}, 1),
        "gap.json": ([one, {"structure": None}, one], 3),
    }
    for name, (document, n) in documents.items():
        (tmp_path / name).write_text(json.dumps(document))
        found = read_crystals(tmp_path / name)
        assert [c.crystal is None for c in found] == [name == "gap.json" and i == 1 for i in range(n)], name
        assert Composition(content(found[0].crystal)) == salt.composition
    assert read_crystals(tmp_path / "gap.json")[1].reason == "an entry without a structure"
    (tmp_path / "lines.jsonl").write_text(f"{json.dumps(one)}\n{json.dumps({'structure': one})}\n")
    assert [len(content(c.crystal)) for c in read_crystals(tmp_path / "lines.jsonl")] == [2, 2]


def test_a_cell_of_lengths_and_angles_leaves_the_axes_of_positions_open(tmp_path):
    # ASE reads back another crystal than it wrote.
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    _ase(cubic, tmp_path / "cubic.con", format="eon")
    _ase(cubic.get_primitive_structure(), tmp_path / "primitive.con", format="eon")
    assert content(read_crystals(tmp_path / "cubic.con")[0].crystal) == {"Na": 4, "Cl": 4}
    assert "leave the axes of its positions open" in read_crystals(tmp_path / "primitive.con")[0].reason


def test_one_crystal_is_asked_of_a_file_of_several(tmp_path):
    ase.io.write(tmp_path / "two.xyz", frames(2), format="extxyz")
    with pytest.raises(UserError, match="two.xyz holds 2 crystals, expected one"):
        read_one_crystal(tmp_path / "two.xyz")
    with pytest.raises(UserError, match="elements: 'Xx' is no element"):
        read_crystals(tmp_path / "two.xyz", ("Xx",))

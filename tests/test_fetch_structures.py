"""Structures from the Materials Project's interface into the data schema, in parts that a killed fetch keeps."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from mapcsp.errors import UserError
from mapcsp.training.fetch_structures import fetch_structures
from mapcsp.training.tables import read_structures
from pymatgen.core import Lattice, Structure

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ALLOY = Structure(Lattice.cubic(3.0), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
RUTILE = Structure.from_spacegroup(
    136, Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)


class Client:
    """The part of `mp_api.client.MPRester` that is used; fails when `fails_after` parts were fetched."""

    def __init__(self, fails_after=99):
        self.documents = {
            name: SimpleNamespace(
                material_id=name,
                nsites=len(s),
                structure=s,
                formation_energy_per_atom=-1.5,
                energy_above_hull=0.0,
            )
            for name, s in {"mp-3": SALT, "mp-1": RUTILE, "mp-2": ALLOY, "mp-9": RUTILE * (3, 3, 3)}.items()
        }
        self.fetched = []
        self.fails_after = fails_after
        self.materials = SimpleNamespace(summary=SimpleNamespace(search=self.search))

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def search(self, material_ids=None, fields=(), **limits):
        if material_ids is None:
            assert limits["deprecated"] is False
            return list(self.documents.values())
        if len(self.fetched) == self.fails_after:
            raise OSError("cut off")
        self.fetched.append(tuple(material_ids))
        return [self.documents[i] for i in reversed(material_ids)]


def test_a_killed_fetch_goes_on_where_it_was(tmp_path):
    output = tmp_path / "mp.parquet"
    cut = Client(fails_after=1)
    with pytest.raises(OSError, match="cut off"):
        fetch_structures(output, crystals_per_part=1, client=cut)
    assert not output.exists()
    rest = Client()
    assert fetch_structures(output, crystals_per_part=1, client=rest) == 2
    assert (cut.fetched, rest.fetched) == ([("mp-1",)], [("mp-2",), ("mp-3",)])
    assert [p.name for p in tmp_path.iterdir()] == ["mp.parquet"]


def test_the_table_has_primitive_ordered_crystals_in_the_data_schema(tmp_path):
    output = tmp_path / "mp.parquet"
    fetch_structures(output, client=Client())
    rutile, salt = pq.read_table(output).to_pylist()
    assert (salt["material_id"], salt["formula"], salt["cell_formula"]) == ("mp-3", "NaCl", "Na1Cl1")
    assert (salt["n_sites"], salt["space_group"], salt["year"]) == (2, 225, None)
    assert (rutile["n_sites"], rutile["space_group"]) == (6, 136)
    known = read_structures([output], max_atoms=24)
    assert [k.formula for k in known] == ["TiO2", "NaCl"]
    assert known[1].crystal.volume_ang3 == pytest.approx(5.64**3 / 4, abs=1e-3)
    assert known[1].formation_energy_ev_per_atom == -1.5
    assert (np.array(rutile["frac_coords"]) < 1).all()


def test_limits_that_leave_nothing_are_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="widen"):
        fetch_structures(tmp_path / "mp.parquet", max_atoms=1 - 1, client=Client())


def test_a_missing_package_or_key_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(UserError, match="mp-api|MP_API_KEY"):
        fetch_structures(tmp_path / "mp.parquet")

"""mapcsp for Python and notebooks: the verbs of the command line as functions.

Each returns an object that prints, and shows in a notebook, as a table (`.table`, a pandas DataFrame). What a user got
wrong raises `mapcsp.errors.UserError` with one line.

>>> from mapcsp import api
>>> found = api.symmetry(["NaCl", "SrTiO3"])
>>> found.table.loc[0, ["formula", "space_group_symbol", "label"]].tolist()
['NaCl', 'Fm-3m', '225:Cl-a,Na-b']

Maps belong to labels; that of the most probable label comes first:

>>> maps = api.maps("NaCl")
>>> maps.distances().round(1)
     Cl   Na
Cl  0.0  2.8
Na  2.8  0.0

Relax pymatgen structures or files, and compare them with known ones:

>>> from pymatgen.core import Lattice, Structure
>>> guess = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
>>> known = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
>>> relaxed = api.relax(guess.get_primitive_structure())
>>> relaxed.table.loc[0, "status"]
'converged'
>>> api.score(relaxed.structures[0], known).rms_strict < 0.01
True

`predict` runs the whole workflow into a folder, with its report; called again there, it does only what is missing:

>>> results = api.predict(["NaCl", "SrTiO3"], out="my-run", top=5)      # doctest: +SKIP
>>> results.table[["formula", "rank", "probability", "space_group"]]    # doctest: +SKIP
>>> results.structures("NaCl")[0]                                       # doctest: +SKIP
>>> results.report                                                      # doctest: +SKIP
"""

from mapcsp.places import name_writable_places

# The imports below load libraries that read these variables once.
name_writable_places()

from mapcsp.api.predictions import MapResults, SymmetryResults, maps, symmetry  # noqa: E402
from mapcsp.api.run import PredictionResults, predict  # noqa: E402
from mapcsp.api.structures import RelaxResults, ScoreResults, relax, score  # noqa: E402

__all__ = [
    "MapResults",
    "PredictionResults",
    "RelaxResults",
    "ScoreResults",
    "SymmetryResults",
    "maps",
    "predict",
    "relax",
    "score",
    "symmetry",
]

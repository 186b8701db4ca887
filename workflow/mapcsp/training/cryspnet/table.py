"""Builds `resources/tables/magpie_elements.csv` from matminer's data; run once, with `pip install matminer==0.10.1`.

matminer is no dependency: it needs pandas below 3, which the rest does not have.
`python -m mapcsp.training.cryspnet.table OUTPUT`
in an environment of its own writes the table again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mapcsp.cryspnet.features import MAGPIE_PROPERTIES, TABLE_COLUMNS
from mapcsp.elements import SYMBOLS
from mapcsp.store import write_csv


def table_rows() -> list[list[float | str]]:
    """Rows of the table, H to Pu; raises ImportError without matminer.

    Missing values are matminer's (`impute_nan`): the mean over the elements that have one.
    """
    from matminer.utils.data import DemlData, MagpieData, PymatgenData
    from pymatgen.core import Element

    magpie, deml, pymatgen = (
        MagpieData(impute_nan=True),
        DemlData(impute_nan=True),
        PymatgenData(impute_nan=True),
    )
    rows: list[list[float | str]] = []
    for symbol in SYMBOLS:
        element = Element(symbol)
        states = " ".join(f"{float(s):g}" for s in pymatgen.get_oxidation_states(element))
        rows.append(
            [
                symbol,
                *(float(magpie.get_elemental_property(element, name)) for name in MAGPIE_PROPERTIES),
                float(magpie.get_elemental_property(element, "ElectronAffinity")),
                float(deml.get_elemental_property(element, "first_ioniz")) / 1000,
                float(pymatgen.get_elemental_property(element, "X")),
                states,
            ]
        )
    return rows


if __name__ == "__main__":
    write_csv(Path(sys.argv[1]), TABLE_COLUMNS, table_rows())

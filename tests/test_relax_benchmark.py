"""The structures that the relaxation benchmark measures on."""

import numpy as np
from mapcsp.relax.benchmark import benchmark_crystals
from mapcsp.relax.guards import nearest_contacts


def test_benchmark_crystals_are_the_size_that_the_bar_names_and_the_same_each_time():
    crystals = benchmark_crystals(26, seed=1)
    assert {c.n_atoms for c in crystals} == {2, 3, 4, 5, 6, 8, 10, 12}
    assert min(nearest_contacts(c)[1] for c in crystals) > 0.6
    again = benchmark_crystals(26, seed=1)
    assert all((a.frac_coords == b.frac_coords).all() for a, b in zip(crystals, again))
    assert not np.allclose(crystals[0].lattice_ang, benchmark_crystals(1, seed=2)[0].lattice_ang)

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_maps import label_prediction
from mapcsp.maps.inputs import InputBatch, build_input, stack_inputs
from mapcsp.maps.refiner import MapRefiner, RefinerConfig
from mapcsp.records import Label
from mapcsp.symmetry.geometry import label_geometry

ROUNDING = 2e-5
WURTZITE, CELL, FREE = "186:S-b,Zn-b", [3.8, 3.8, 6.2, 90, 90, 120], [0.375, 0.0]


def model(seed: int = 0) -> MapRefiner:
    torch.manual_seed(seed)
    return MapRefiner(RefinerConfig(atom_width=16, pair_width=12, triangle_width=4, n_blocks=2)).eval()


def wurtzite_input(**changes):
    prediction = label_prediction(WURTZITE, CELL, FREE)
    given = {"seed_cell": prediction.cell, "seed_free": prediction.seeds[0].free_coords, **changes}
    return build_input(label_geometry(prediction.label), prediction.cell, 0.05, 0.03, **given)


def permuted(batch: InputBatch, order: list[int]) -> InputBatch:
    return replace(
        batch,
        numbers=batch.numbers[:, order],
        orbit=batch.orbit[:, order],
        same_orbit=batch.same_orbit[:, order][:, :, order],
        distances_ang=batch.distances_ang[:, :, order][:, :, :, order],
    )


def test_exchanging_atoms_exchanges_rows_of_the_map_and_nothing_else():
    batch, order = stack_inputs([wurtzite_input()]), [2, 0, 3, 1]
    with torch.no_grad():
        first, second = model()(batch), model()(permuted(batch, order))
    for name in ("distance_ang", "log_scale", "contact_logit"):
        moved = getattr(first, name)[:, order][:, :, order]
        assert torch.allclose(getattr(second, name), moved, atol=ROUNDING), name
        assert torch.allclose(moved, moved.transpose(1, 2), atol=ROUNDING), name


def test_maps_of_a_batch_are_those_of_its_members():
    one, two = wurtzite_input(), wurtzite_input(seed_cell=None, seed_free=None)
    with torch.no_grad():
        both = model()(stack_inputs([one, two])).distance_ang
        alone = [model()(stack_inputs([i])).distance_ang[0] for i in (one, two)]
    assert torch.allclose(both, torch.stack(alone), atol=ROUNDING)


def test_inputs_of_different_size_do_not_share_a_batch():
    other = build_input(label_geometry(Label.from_key("225:Cl-b,Na-a")), np.array([5.6] * 3 + [90] * 3), 0, 0)
    with pytest.raises(ValueError, match="cannot share a batch"):
        stack_inputs([wurtzite_input(), other])


def test_symmetry_fixes_the_distances_of_rock_salt_whatever_the_seed():
    geometry = label_geometry(Label.from_key("225:Cl-b,Na-a"))
    found = build_input(geometry, np.array([5.6, 5.6, 5.6, 90, 90, 90]), 0.0, 0.0)
    assert found.distances_ang[:3, 0, 1] == pytest.approx(2.8)
    assert found.distances_ang[3].max() == pytest.approx(0, abs=1e-9)
    assert found.globals[0] == pytest.approx(np.log(5.6**3 / 8))


def test_free_coordinates_leave_a_spread_and_the_seed_its_own_distances():
    found = wurtzite_input()
    assert found.distances_ang[3].max() > 0.1
    assert found.distances_ang[0, 0, 2] == pytest.approx(0.375 * 6.2)
    assert found.orbit_size.tolist() == [2] * 4
    none = wurtzite_input(seed_cell=None, seed_free=None)
    assert (none.distances_ang[0] == none.distances_ang[2]).all() and none.globals[4] == 0


def test_a_seed_is_brought_to_the_volume_of_the_cell():
    large = wurtzite_input(seed_cell=np.array(CELL) * [2, 2, 2, 1, 1, 1])
    assert large.distances_ang[0] == pytest.approx(large.distances_ang[1])


def test_a_cell_without_volume_is_named():
    geometry = label_geometry(Label.from_key("1:H-a"))
    with pytest.raises(ValueError, match=r"1:H-a.*no volume"):
        build_input(geometry, np.array([3, 3, 3, 60, 60, 170.0]), 0, 0)

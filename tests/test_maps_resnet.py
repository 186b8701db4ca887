import numpy as np
import pytest
import torch
from mapcsp.elements import element_features
from mapcsp.maps.resnet import MaskedBatchNorm, ResidualNetwork, ResnetConfig

SPECIES = ("Ca", "Ti", "O", "O", "O")
ROUNDING = 1e-4


def features(length: int = len(SPECIES)) -> torch.Tensor:
    values = np.zeros((1, length, 11), np.float32)
    values[0, : len(SPECIES)] = element_features(SPECIES)
    return torch.from_numpy(values)


def network(n_outputs: int = 5) -> ResidualNetwork:
    torch.manual_seed(0)
    return ResidualNetwork(ResnetConfig(n_outputs, width_1d=8, width_2d=8)).eval()


def test_the_papers_network_has_nine_blocks_a_module_with_filters_doubled_every_three():
    config = ResnetConfig(1)
    assert config.widths(config.width_1d) == [32] * 3 + [64] * 3 + [128] * 3
    assert config.widths(config.width_2d) == [256] * 3 + [512] * 3 + [1024] * 3
    model = network()
    assert len(model.blocks_1d) == len(model.blocks_2d) == 9
    # Outer product and both atoms' features: L x L x 3n.
    assert model.blocks_2d[0].first.in_channels == 3 * 32


@pytest.mark.parametrize("length", [12, 24])
def test_padding_changes_nothing(length):
    model = network()
    with torch.no_grad():
        plain = model(features())
        mask = torch.arange(length)[None] < len(SPECIES)
        padded = model(features(length), mask)
    n = len(SPECIES)
    assert padded.shape == (1, length, length, 5)
    assert torch.allclose(padded[:, :n, :n], plain, atol=ROUNDING)


def test_padding_is_left_out_of_batch_statistics():
    norm = MaskedBatchNorm(3)
    x = torch.randn(4, 3, 6)
    padded = torch.cat([x, torch.zeros(4, 3, 5)], 2)
    mask = (torch.arange(11) < 6).float().expand(4, 1, 11)
    reference = torch.nn.BatchNorm1d(3)
    assert torch.allclose(norm(padded, mask)[..., :6], reference(x), atol=ROUNDING)
    assert torch.allclose(norm.mean, reference.running_mean, atol=ROUNDING)
    assert torch.allclose(norm.variance, reference.running_var, atol=ROUNDING)


def test_maps_are_symmetric_and_depend_on_the_elements():
    model = network()
    with torch.no_grad():
        logits = model(features())
        other = model(torch.from_numpy(element_features(("Sr", *SPECIES[1:])).astype(np.float32))[None])
    assert torch.equal(logits, logits.transpose(1, 2))
    assert not torch.allclose(logits, other)

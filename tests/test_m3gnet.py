"""The M3GNet port: agreement with the original program, its elements, and its weights file."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import StoreError, UnsupportedElementError, UserError
from mapcsp.records import Crystal
from mapcsp.relax.checkpoint import _masked_crc32c, read_checkpoint
from mapcsp.relax.fetch import CONTENT_HASH, content_hash, default_weights_path, fetch_m3gnet, load_weights
from mapcsp.relax.gated_bonds import EdgeGate, _Compiled, _Plain
from mapcsp.relax.m3gnet import M3GNet, bessel_norms, real_harmonics, smooth_radial_coefficients
from mapcsp.relax.potential import evaluate
from mapcsp.store import read_tensors, write_tensors

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference" / "m3gnet_tf.json"
ENERGY_BAR_EV_PER_ATOM, FORCE_BAR_EV_PER_ANG, STRESS_BAR_GPA = 1e-5, 1e-4, 1e-3

needs_weights = pytest.mark.skipif(
    not default_weights_path().exists(), reason="the M3GNet weights are not fetched"
)


@pytest.fixture(scope="module")
def m3gnet() -> M3GNet:
    return M3GNet()


@needs_weights
@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference values are not here")
def test_every_reference_crystal_agrees_with_the_original_program(m3gnet):
    entries = json.loads(REFERENCE.read_text())["crystals"]
    crystals = [
        Crystal(np.array(e["lattice"]), tuple(e["species"]), np.array(e["frac_coords"])) for e in entries
    ]
    for entry, crystal, found in zip(entries, crystals, evaluate(m3gnet, crystals)):
        energy_error = found.energy_ev / crystal.n_atoms - entry["energy_ev_per_atom"]
        assert abs(energy_error) < ENERGY_BAR_EV_PER_ATOM, entry["name"]
        forces = np.array(entry["forces_ev_per_ang"])
        assert np.abs(found.forces_ev_per_ang - forces).max() < FORCE_BAR_EV_PER_ANG, entry["name"]
        assert np.abs(found.stress_gpa - np.array(entry["stress_gpa"])).max() < STRESS_BAR_GPA, entry["name"]
    assert len(entries) == 57


@needs_weights
def test_rock_salt_has_the_energy_of_the_original_program(m3gnet):
    salt = Crystal(
        np.array([[0, 2.845, 2.845], [2.845, 0, 2.845], [2.845, 2.845, 0]]),
        ("Na", "Cl"),
        np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    )
    found = evaluate(m3gnet, [salt])[0]
    assert found.energy_ev / 2 == pytest.approx(-3.3885462, abs=ENERGY_BAR_EV_PER_ATOM)
    assert found.stress_gpa[0, 0] == pytest.approx(-0.0720251, abs=STRESS_BAR_GPA)


@needs_weights
def test_all_89_elements_of_its_training_run_and_no_others(m3gnet):
    assert m3gnet.elements == SUPPORTED_ELEMENTS
    assert len(m3gnet.elements) == 89
    cubes = [Crystal(np.eye(3) * 3.2, (e,), np.zeros((1, 3))) for e in sorted(m3gnet.elements)]
    assert all(np.isfinite(found.energy_ev) for found in evaluate(m3gnet, cubes))
    with pytest.raises(UnsupportedElementError, match="Po, Ra"):
        evaluate(m3gnet, [Crystal(np.eye(3) * 4, ("Po", "Ra", "O"), np.eye(3) * 0.5)])


@needs_weights
def test_an_atom_without_neighbours_has_an_energy_and_no_force(m3gnet):
    found = evaluate(m3gnet, [Crystal(np.eye(3) * 9, ("Xe",), np.zeros((1, 3)))])[0]
    assert np.isfinite(found.energy_ev)
    assert (found.forces_ev_per_ang == 0).all()
    assert (found.stress_gpa == 0).all()


@needs_weights
def test_another_models_weights_are_refused_with_the_command_that_gets_the_right_ones(tmp_path):
    tensors, metadata = read_tensors(default_weights_path())
    assert content_hash(tensors, metadata) == CONTENT_HASH
    name = sorted(tensors)[0]
    write_tensors(tmp_path / "other.safetensors", {**tensors, name: tensors[name] + 1}, metadata)
    with pytest.raises(UserError, match="not the original M3GNet.*fetch-potential"):
        load_weights(tmp_path / "other.safetensors")
    (tmp_path / "half.safetensors").write_bytes(default_weights_path().read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        load_weights(tmp_path / "half.safetensors")


def test_missing_weights_name_the_command_that_gets_them(tmp_path):
    with pytest.raises(UserError, match="fetch-potential"):
        load_weights(tmp_path / "m3gnet.safetensors")


def test_a_wrong_source_package_is_refused(tmp_path):
    (tmp_path / "m3gnet-0.2.4.tar.gz").write_bytes(b"not it")
    with pytest.raises(UserError, match="SHA-256"):
        fetch_m3gnet(tmp_path / "weights.safetensors", tmp_path / "m3gnet-0.2.4.tar.gz")
    assert not (tmp_path / "weights.safetensors").exists()


@needs_weights
def test_the_compiled_bonds_and_the_plain_ones_give_the_same_energies_and_gradients():
    tensors, _ = load_weights(default_weights_path())
    weights = {name: torch.as_tensor(np.array(array)) for name, array in tensors.items()}
    net = EdgeGate(weights, "graph_layers.1.bond_network.update_func.")
    generator = torch.Generator().manual_seed(5)
    centres = torch.arange(40) // 4
    neighbours = torch.randint(0, 10, (40,), generator=generator)
    shapes = (10, net.width), (40, net.width), (40, net.width)
    values = [3 * torch.randn(s, generator=generator) for s in shapes]
    results = []
    for function in (_Compiled, _Plain):
        inputs = [v.clone().requires_grad_() for v in values]
        out = function.apply(*inputs, centres, neighbours, net)
        results.append([out, *torch.autograd.grad((out * values[2]).sum(), inputs)])
    for compiled, plain in zip(*results):
        assert torch.allclose(compiled, plain, rtol=2e-5, atol=2e-5 * float(plain.abs().max()))


def test_harmonics_obey_the_addition_theorem():
    import torch

    rng = np.random.default_rng(0)
    u, v = (torch.tensor(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in rng.normal(size=(2, 50, 3)))
    products, cosine = real_harmonics(u) * real_harmonics(v), (u * v).sum(1)
    assert torch.allclose(products[:, :1].sum(1), torch.ones_like(cosine))
    assert torch.allclose(products[:, 1:4].sum(1), cosine)
    assert torch.allclose(products[:, 4:].sum(1), 1.5 * cosine**2 - 0.5)


def test_the_radial_basis_is_smooth_at_the_cutoff_and_orthonormal():
    cutoff = 5.0
    r = np.linspace(1e-4, cutoff, 20001)
    waves = np.sinc(np.arange(1, 5) * r[:, None] / cutoff)
    basis = waves @ smooth_radial_coefficients(cutoff)
    assert np.abs(basis[-1]).max() < 1e-12
    assert np.abs((basis[-1] - basis[-2]) / (r[1] - r[0])).max() < 1e-3
    overlap = np.trapezoid(basis[:, :, None] * basis[:, None] * r[:, None, None] ** 2, r, axis=0)
    assert np.allclose(overlap, np.eye(3), atol=1e-4)


def test_bessel_norms_are_those_of_the_ball():
    from scipy.special import spherical_jn

    r = np.linspace(0, 5, 20001)
    first = spherical_jn(0, np.pi * r / 5) * bessel_norms(5.0)[0, 0]
    assert np.trapezoid(4 * np.pi * first**2 * r**2, r) == pytest.approx(1.0, abs=1e-6)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def write_checkpoint(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    """A checkpoint in TensorFlow's format, as small as it can be, with prefix-compressed keys."""
    data, entries, before = b"", b"", b""
    for name, array in {"": np.zeros(0, np.float32), **dict(sorted(tensors.items()))}.items():
        raw, key = array.tobytes(), name.encode()
        dims = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in array.shape))
        value = (
            b"\x08\x01"
            + b"\x12"
            + varint(len(dims))
            + dims
            + b"\x20"
            + varint(len(data))
            + b"\x28"
            + varint(len(raw))
        )
        value += b"\x35" + struct.pack("<I", _masked_crc32c(raw))
        shared = next((i for i, (a, b) in enumerate(zip(before, key)) if a != b), min(len(before), len(key)))
        entries += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        data, before = data + raw, key
    block = entries + struct.pack("<II", 0, 1)
    handle = varint(0) + varint(len(block))
    index = varint(0) + varint(1) + varint(len(handle)) + b"z" + handle + struct.pack("<II", 0, 1)
    footer = varint(0) + varint(0) + varint(len(block) + 5) + varint(len(index))
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    table = block + b"\0" * 5 + index + b"\0" * 5 + footer.ljust(40, b"\0") + magic
    Path(f"{prefix}.index").write_bytes(table)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path):
    rng = np.random.default_rng(1)
    tensors = {
        "layer/bias": rng.normal(size=200).astype(np.float32),
        "layer/kernel": rng.normal(size=(3, 130)).astype(np.float32),
        "scale": np.float32(2.5).reshape(()),
    }
    write_checkpoint(tmp_path / "model", tensors)
    found = read_checkpoint(tmp_path / "model")
    assert {k: v for k, v in found.items() if k}.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].shape == array.shape
        assert (found[name] == array).all()


def test_a_damaged_checkpoint_is_named(tmp_path):
    write_checkpoint(tmp_path / "model", {"kernel": np.arange(6, dtype=np.float32)})
    data = tmp_path / "model.data-00000-of-00001"
    good = data.read_bytes()
    data.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(StoreError, match="checksum"):
        read_checkpoint(tmp_path / "model")
    data.write_bytes(good[:-4])
    with pytest.raises(StoreError, match="ends inside tensor kernel"):
        read_checkpoint(tmp_path / "model")
    (tmp_path / "model.index").write_bytes(b"too short")
    with pytest.raises(StoreError, match="table footer"):
        read_checkpoint(tmp_path / "model")
    with pytest.raises(StoreError, match="does not exist"):
        read_checkpoint(tmp_path / "elsewhere")


def test_checksums_are_masked_castagnoli():
    # The published check value of CRC-32C, 0xE3069283, rotated by 15 bits and shifted as LevelDB does.
    crc = 0xE3069283
    assert _masked_crc32c(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

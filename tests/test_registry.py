"""The registry of trained models: one reader, which everything that needs a model goes through."""

import re
from pathlib import Path

import pytest
from mapcsp import registry
from mapcsp.errors import UserError
from mapcsp.registry import STAGES_OF, registered_model, registered_models

REPOSITORY = Path(__file__).parents[1]
MODELS = REPOSITORY / "resources/models"


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a registry, of which everything is then read."""
    (tmp_path / "models").mkdir()

    def write(text: str) -> Path:
        (tmp_path / registry.REGISTRY).write_text(text)
        return tmp_path / "models"

    monkeypatch.setattr(registry, "resource_path", lambda name: tmp_path / name)
    return write


def test_every_shipped_folder_is_registered_and_every_model_serves_something():
    folders = {path.name for path in MODELS.iterdir() if path.is_dir()}
    models = registered_models()
    assert {model.folder.name for model in models.values()} == folders
    assert {model.stage for model in models.values()} == {s for stages in STAGES_OF.values() for s in stages}


def test_the_files_of_a_model_are_what_decides_its_output():
    def names(name: str, asked_by: str) -> list[str]:
        return [str(f.relative_to(MODELS)) for f in registered_model(name, asked_by).files]

    assert names("symmetry", "symmetry.model") == [
        "symmetry/memory.safetensors",
        "symmetry/weights.safetensors",
    ]
    # CRYSPNet enumerates labels with the letters that the other model's memory counts.
    assert names("cryspnet", "symmetry.model") == [
        "cryspnet/weights.safetensors",
        "symmetry/memory.safetensors",
    ]
    assert names("ranker", "ranker") == ["ranker/coefficients.json"]


def test_a_name_stands_for_its_folder_whatever_that_is_called(written):
    models = written("mine: {stage: maps, folder: trained on oxides}\n")
    assert registered_model("mine", "maps.model").folder == models / "trained on oxides"


def test_a_model_without_weights_is_named(written):
    written("mine: {stage: maps, folder: empty}\n")
    with pytest.raises(UserError, match="model mine has no weights in .*empty; restore them"):
        assert registered_model("mine", "maps.model").files


@pytest.mark.parametrize(
    "text", ["mine: {stage: maps}", "a: {stage: cryspnet, folder: a, memory: b}", "a: b"]
)
def test_a_registry_that_is_not_well_formed_is_one_line(written, text):
    written(text)
    with pytest.raises(UserError, match="registry.yaml: an entry needs `stage` and `folder`"):
        registered_models()


@pytest.mark.parametrize("asked_by", sorted(STAGES_OF))
def test_a_model_of_another_purpose_is_refused_with_those_that_fit(asked_by):
    fitting = ", ".join(sorted(n for n, m in registered_models().items() if m.stage in STAGES_OF[asked_by]))
    with pytest.raises(
        UserError, match=f"{asked_by}: 'none' is not one of its models; choose one of {fitting} "
    ):
        registered_model("none", asked_by)


def test_nothing_else_reads_the_registry_or_builds_the_path_of_a_model():
    """Else a model whose folder is not called as it is, or that borrows files of another, works in one place alone."""
    by_hand = re.compile(r"""registry\.yaml(?!`)|resource_path\(f?"models/""")
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for suffix in ("*.py", "*.smk")
        for path in sorted((REPOSITORY / "workflow").rglob(suffix))
        for line in path.read_text().splitlines()
        if by_hand.search(line) and path.name not in ("registry.py", "settings.py")
    ]
    assert found == []

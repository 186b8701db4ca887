"""The settings: bounds, unknown keys, frozen sections, and the files generated from them."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from mapcsp import settings_docs
from mapcsp.errors import UserError
from mapcsp.settings import SECTIONS, RankingSettings, Settings, parse_settings, read_section
from pydantic import ValidationError

REPOSITORY = Path(__file__).parents[1]


def test_an_empty_config_gives_the_defaults():
    assert parse_settings({}) == Settings()


def test_the_shipped_config_is_the_defaults():
    assert parse_settings(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())) == Settings()


def test_values_from_a_command_line_are_text_and_become_numbers():
    parsed = parse_settings(
        {"ranking": {"top_k": "3"}, "relax": {"keep_symmetry": "true", "fmax_ev_per_ang": "0.1"}}
    )
    assert (parsed.ranking.top_k, parsed.relax.keep_symmetry, parsed.relax.fmax_ev_per_ang) == (3, True, 0.1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ranking": {"topk": 3}}, "config: ranking.topk: unknown setting; see config/README.md"),
        ({"rankings": {}}, "config: rankings: unknown setting; see config/README.md"),
        (
            {"ranking": {"top_k": 0}},
            "config: ranking.top_k: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            {"ranking": 5},
            "config: ranking: this is a section and needs settings of its own, such as {key: value}; see config/README.md",
        ),
    ],
)
def test_a_fault_names_the_key_what_was_expected_and_what_was_got(config, message):
    with pytest.raises(UserError) as raised:
        parse_settings(config)
    assert str(raised.value) == message


def test_all_faults_are_told_at_once():
    with pytest.raises(UserError, match=r"relax\.max_steps.*; ranking\.topk"):
        parse_settings({"ranking": {"topk": 3}, "relax": {"max_steps": -1}})


def test_settings_cannot_be_changed_after_parsing():
    with pytest.raises(ValidationError):
        Settings().ranking.top_k = 3


def test_a_section_survives_its_file(tmp_path):
    file = tmp_path / "ranking.json"
    file.write_text(json.dumps(RankingSettings(top_k=7).model_dump(mode="json")))
    assert read_section(file, RankingSettings).top_k == 7


def test_a_section_file_with_a_foreign_key_is_refused_by_name(tmp_path):
    file = tmp_path / "ranking.json"
    file.write_text('{"top_k": 3, "k": 1}')
    with pytest.raises(UserError, match=re.escape(str(file))):
        read_section(file, RankingSettings)


def test_every_setting_says_when_to_change_it():
    for name, section in {"run": Settings, **SECTIONS}.items():
        for key, info in section.model_fields.items():
            if key not in SECTIONS:
                assert info.description and info.description.endswith("."), f"{name}.{key}"


def test_every_number_has_a_bound():
    for name, section in SECTIONS.items():
        for key, info in section.model_fields.items():
            if info.annotation in (int, float):
                assert info.metadata, f"{name}.{key}"


def test_the_generated_files_are_those_of_the_settings():
    settings_docs.check_settings_docs(REPOSITORY)


def test_a_generated_file_that_differs_is_named_with_the_command_that_renews_it(tmp_path):
    settings_docs.write_settings_docs(tmp_path)
    settings_docs.check_settings_docs(tmp_path)
    (tmp_path / "config/README.md").write_text("edited")
    with pytest.raises(UserError, match=r"config/README\.md: .*mapcsp settings-docs"):
        settings_docs.check_settings_docs(tmp_path)


def test_the_schema_knows_every_section():
    schema = json.loads(settings_docs.config_schema())
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["additionalProperties"] is False


def test_the_constraints_fit_the_dependencies():
    import tomllib

    from packaging.requirements import Requirement

    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    constraints = {name.lower().replace("_", "-"): version for name, version in pairs}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["test"], *extras["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(constraints[requirement.name.lower()]), text


def test_the_constraints_hold_no_path():
    assert "/" not in re.sub(r"(?m)^#.*", "", (REPOSITORY / "constraints.txt").read_text())


def test_every_setting_is_read_by_code():
    """A setting that is accepted and read by nothing would leave its user with another run than was asked for."""
    read: set[str] = set()
    for path in sorted((REPOSITORY / "workflow").rglob("*.py")):
        if path.name not in ("settings.py", "settings_docs.py"):
            read |= {n.attr for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Attribute)}
    for path in sorted((REPOSITORY / "workflow").rglob("*.smk")):
        read |= set(re.findall(r"(?:SETTINGS\.\w+|BENCHMARK)\.(\w+)", path.read_text()))
    settings = {f"{name}.{key}": key for name, section in SECTIONS.items() for key in section.model_fields}
    assert [name for name, key in settings.items() if key not in read] == []

"""Every mistake that a user can make ends with status 2 and one line that names the thing and what to do.

The table below is the list of these mistakes; add a row with each new one. Mistakes in a list of formulas, which are
reasons in rejected.csv, are in test_intake.py; damaged files and full disks in test_faults.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mapcsp import cli
from pipeline import SNAKEMAKE

REPOSITORY = Path(__file__).parents[1]

CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
{sites}
"""

FILES = {
    "salt.cif": CIF.format(name="salt", a=3.5, sites="Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"),
    "sylvite.cif": CIF.format(name="sylvite", a=3.9, sites="K1 K 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1"),
    "mixed.cif": CIF.format(name="mixed", a=3.7, sites="Na1 Na 0 0 0 0.5\nCl1 Cl 0.5 0.5 0.5 1"),
    "two.cif": CIF.format(name="one", a=3.5, sites="Na1 Na 0 0 0 1") * 2,
    "text.cif": "hello\n",
    "empty.cif": "",
    "empty.csv": "",
    "bad.csv": "formula\nNa(Cl\nXx2\n",
    "typo.csv": "fromula,z\nNaCl,1\n",
    "two.csv": "formula,Formula\nNaCl,Na4Cl4\n",
    "table.parquet": b"PAR1rest",
    "no_formula.csv": "id,z\na,1\n",
    "sheet.xlsx": b"PK\x03\x04rest",
    "broken.yaml": "ranking:\n  top_k: [1\n",
    "list.yaml": "- 1\n",
    "text.json": "no",
    "empty.json": "{}",
    "other.json": '{"nonsense": 1}',
    "text.parquet": "no",
}

# Command line, and what its one line must say: the thing, and what to do. {} is the folder of the test.
COMMANDS = {
    "": [
        ("nonsense", "No such command 'nonsense'.*see `mapcsp --help`"),
        ("predict --nonsense", "No such option '--nonsense'.*see `mapcsp predict --help`"),
        ("--threads none predict", "'none' is not a valid.*see `mapcsp --help`"),
        ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
    "formulas by hand": [
        ("predict", "give formulas, such as NaCl SrTiO3, or --list FILE"),
        ("symmetry NaCl --list bad.csv", r"formulas.*or --list FILE \(one of both\)"),
        ("symmetry MgO NaCl2)", r"formula 2: 'NaCl2\)' is not a formula \(unbalanced.*correct it"),
        ("predict NaCl Xx", "formula 2: 'Xx'.*not an element.*correct it or leave it out"),
        ("maps nacl", "'nacl'.*begins with a capital letter"),
        ("maps Na+Cl-", "charges and oxidation states are no part of a formula"),
        ("maps Na0.5Cl", "amounts must be whole numbers"),
        ("maps PoCl", "'PoCl' holds Po, which the potential was not trained on.*leave it out"),
        ("maps NaCl NaCl", "formula 2: 'NaCl' asks for the same as formula 1"),
        (
            "maps K2NaAl3Si5O30",
            "one formula unit of .* is 41 atoms.*intake.max_atoms is 12, and 24 is the most.*leave it out",
        ),
        ("maps Ti2O4 --z 3", "'Ti2O4' is 2 formula units of TiO2, but z is given as 3; make them agree"),
        (
            "maps NaCl --space-group 230",
            "space group 230 holds NaCl with z = 8 .16 atoms .*raise it to 16, or correct space_group",
        ),
        (
            "maps NaCl --space-group 231",
            "'--space-group': the space group is '231', expected a number from 1",
        ),
        ("maps NaCl --space-group fm-3m", "'--space-group': .*symbol such as P2_1/c; did you mean Fm-3m"),
        ("maps NaCl --space-group cubic", "'--space-group': .*is a crystal system, expected a number from 1"),
        ("maps CaO.2SiO2", "'.' at character 4: .*write an adduct such as a hydrate with '·'.*correct it"),
        ("maps K0.5Na0.5NbO3", "disordered .* not supported; an ordered crystal .* would be KNaNb2O6"),
        ("maps Fe(III)2O3", "a roman numeral in brackets is an oxidation state"),
        ("maps YBa2Cu3O7-x", "x, y and δ stand for unknown amounts; write whole numbers"),
        ("maps nacl", "did you mean NaCl"),
        ("maps NaCl O2Ti TiO2", "formula 3: 'TiO2' asks for the same as formula 2"),
        (
            "maps Ti2O4 --formula-unit --z 5",
            "5 formula units of Ti2O4 are 30 atoms .*and 24 is the most; leave it out",
        ),
        ("maps NaCl --z 0", "'--z': 0 is not in the range x>=1"),
    ],
    "lists": [
        ("predict --list none.csv", "'--list': File 'none.csv' does not exist"),
        ("predict --list .", "'--list': File '.' is a directory"),
        ("predict --list empty.csv", "empty.csv has no formula; write one a line, or CSV"),
        ("predict --list bad.csv", r"bad.csv: no row can be used; line 2: 'Na\(Cl'"),
        (
            "predict --list no_formula.csv",
            r"the header has no column `formula` \(its columns are 'id', 'z'\)",
        ),
        (
            "predict --list typo.csv",
            "no column `formula` .*; did you mean 'fromula'.*; name that column `formula`",
        ),
        (
            "predict --list two.csv",
            "several columns for formulas, 'formula', 'Formula'; expected one",
        ),
        ("predict --list table.parquet", "table.parquet is a parquet table, expected text; write it as CSV"),
        ("predict --list sheet.xlsx", "sheet.xlsx is a spreadsheet or archive.*save it as CSV UTF-8"),
        (
            "predict --list bad.csv --z 2",
            "z, space group and content go with formulas given by hand.*columns",
        ),
        ("predict --list bad.csv --content", "z, space group and content go with formulas given by hand"),
    ],
    "settings": [
        ("predict NaCl --set ranking.top_q=3", "ranking.top_q: unknown setting; see config/README.md"),
        ("predict NaCl --set rank.top_k=3", "rank: unknown setting; see config/README.md"),
        ("predict NaCl --set ranking.top_k=0", r"ranking.top_k: .*greater than or equal to 1 \(got 0\)"),
        ("predict NaCl --set ranking.top_k=x", r"ranking.top_k: .*valid integer.*\(got 'x'\)"),
        ("predict NaCl --set ranking=3", "ranking: this is a section and needs settings of its own"),
        ("predict NaCl --set ranking.top_k", "--set ranking.top_k: expected KEY=VALUE, such as"),
        ("predict NaCl --set seed=1 --set seed.x=1", "seed.x=1: seed is no section"),
        ("predict NaCl --set reconstruct.mode=x", "reconstruct.mode: .*'full', 'cmcrystal' or 'dmcrystal'"),
        (
            "predict NaCl --set maps.model=x",
            "maps.model: 'x' is not one of its models; choose one of alphacrystal",
        ),
        ("predict NaCl --config none.yaml", "'--config': File 'none.yaml' does not exist"),
        ("predict NaCl --config broken.yaml", "broken.yaml line 3 is not YAML.*correct it"),
        (
            "predict NaCl --config list.yaml",
            "list.yaml holds no settings; write them as in config/config.yaml",
        ),
        ("predict NaCl --top 0", "'--top': 0 is not in the range 1<=x<=100"),
        ("predict NaCl --cores 0", "'--cores': 0 is not in the range x>=1"),
        (
            "symmetry NaCl --set symmetry.model=x",
            "symmetry.model: 'x' is not one of its models; choose one of cryspnet, symmetry",
        ),
        (
            "maps NaCl --set maps.model=x",
            "maps.model: 'x' is not one of its models; choose one of alphacrystal",
        ),
        ("maps NaCl --set maps.model=symmetry", "maps.model: 'symmetry' is not one of its models"),
    ],
    "crystals": [
        ("relax", "Missing argument 'FILES...'; see `mapcsp relax --help`"),
        ("relax none.cif", "File 'none.cif' does not exist"),
        ("relax .", "File '.' is a directory"),
        (
            "relax salt.cif --elements Xx",
            "elements: 'Xx' is no element from H to Pu; give symbols, such as Ti,O",
        ),
        ("score salt.cif", "Missing argument 'TRUE'; see `mapcsp score --help`"),
        ("score salt.cif none.cif", "File 'none.cif' does not exist"),
        (
            "score salt.cif text.cif",
            r"text.cif cannot be read as a crystal \(not CIF.*give an ordered crystal",
        ),
        ("score salt.cif empty.cif", r"empty.cif cannot be read .*\(no block of this CIF lists atoms\)"),
        ("score salt.cif empty.json", "empty.json cannot be read as a crystal"),
        ("score salt.cif mixed.cif", "mixed.cif .*the site Na1 is occupied to 0.5.*give an ordered crystal"),
        ("score salt.cif two.cif", "two.cif holds 2 crystals, expected one; write the one that is meant"),
        (
            "score salt.cif sylvite.cif",
            "salt.cif is NaCl and sylvite.cif is KCl; only crystals of one formula",
        ),
        (
            "predict NaCl --set reconstruct.seed_structures=[none.cif]",
            "reconstruct.seed_structures: .*none.cif is not a file; give a structure file",
        ),
        (
            "predict NaCl --set reconstruct.seed_structures=[text.cif]",
            "reconstruct.seed_structures: .*text.cif cannot be read as a crystal",
        ),
    ],
    "known compounds": [
        (
            "evaluate-known-compounds O2Zr --work work --output out.json",
            "tables/known_compounds.csv has no O2Zr; write formulas as its first column does",
        ),
    ],
    "potentials": [
        ("relax salt.cif --potential best", "'best' is not a potential; choose one of m3gnet, chgnet"),
        ("relax salt.cif --set relax.potential=best", "'best' is not a potential; choose one of m3gnet"),
        ("relax salt.cif --potential ase:none:None", "'ase:none:None' cannot be imported.*give ase:<module>"),
        ("relax salt.cif --potential ase:math", "'ase:math' cannot be imported.*give ase:<module>"),
        ("relax salt.cif --potential ase:math:pi", "'ase:math:pi' cannot be imported.*pi cannot be called"),
        ("score salt.cif salt.cif --potential best", "'best' is not a potential; choose one of m3gnet"),
        ("references --potential best", "'best' is not a potential; choose one of m3gnet"),
        ("fetch-potential --sdist none.gz --output w", "'--sdist': File 'none.gz' does not exist"),
        ("fetch-potential --sdist text.cif --output w", "text.cif is not the published m3gnet==0.2.4"),
    ],
    "outputs": [
        ("predict NaCl --out salt.cif", "'--out': Directory 'salt.cif' is a file"),
        ("predict NaCl --out salt.cif/run", "salt.cif/run/formulas.csv cannot be written.*another folder"),
        ("score salt.cif salt.cif --out salt.cif/a.csv", "salt.cif/a.csv cannot be written.*another --out"),
        ("score salt.cif salt.cif --out .", "'--out': File '.' is a directory"),
    ],
    "stages and training": [
        ("stage rank", "Missing option '--intake'; see `mapcsp stage rank --help`"),
        (
            "stage intake --formulas bad.csv --settings none.json --output o",
            "none.json does not exist; run snakemake",
        ),
        (
            "stage intake --formulas bad.csv --settings text.json --output o",
            "text.json is not JSON.*run snakemake",
        ),
        (
            "stage intake --formulas bad.csv --settings other.json --output o",
            "other.json is not a valid IntakeSettings.*run snakemake to rebuild it",
        ),
        (
            "stage intake --formulas bad.csv --settings empty.json --output o",
            r"bad.csv: none of its 2 rows can be used; line 2: 'Na\(Cl'",
        ),
        (
            "stage symmetry --intake none --settings empty.json --output o",
            "none/index.json does not exist; run snakemake to build it",
        ),
        ("train-symmetry none.parquet", "'TABLES...': File 'none.parquet' does not exist"),
        (
            "train-symmetry text.parquet --validation text.parquet --work w --output o",
            "text.parquet is not a parquet file.*name one in the data schema",
        ),
    ],
}
CASES = [pytest.param(*case, id=case[0]) for cases in COMMANDS.values() for case in cases]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the users' files, good and bad, where the command runs."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line(monkeypatch, capfd, command: str) -> str:
    """Run a command that must end as a user's mistake does; its message."""
    monkeypatch.setattr(sys, "argv", ["mapcsp", *command.split()])
    for variable in cli.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capfd.readouterr()
    assert stopped.value.code == 2
    lines = [line for line in printed.err.splitlines() if not line.startswith("rejected:")]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("mapcsp: error: ")
    return lines[0].removeprefix("mapcsp: error: ")


@pytest.mark.parametrize(("command", "message"), CASES)
def test_a_users_mistake_is_one_line_that_names_it(folder, monkeypatch, capfd, command, message):
    assert re.search(message, one_line(monkeypatch, capfd, command))


@pytest.mark.parametrize(
    ("potential", "package", "advice"),
    [
        ("chgnet", "chgnet", r"pip install 'mapcsp\[chgnet\]'"),
        ("sevennet-0", "sevenn", r"pip install 'mapcsp\[sevennet\]'"),
    ],
)
def test_a_missing_package_names_the_extra_that_has_it(
    folder, monkeypatch, capfd, potential, package, advice
):
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    found = one_line(monkeypatch, capfd, f"relax salt.cif --potential {potential}")
    assert re.search(f"{potential} needs .*{advice}", found)


def test_every_extra_that_a_message_names_is_one_of_the_package():
    text = (REPOSITORY / "pyproject.toml").read_text()
    extras = set(re.findall(r"^(\w+) = \[", text.partition("[project.optional-dependencies]")[2], re.M))
    named = {
        name
        for path in (REPOSITORY / "workflow/mapcsp").rglob("*.py")
        for name in re.findall(r"mapcsp\[(\w+)\]'?", path.read_text(encoding="utf-8"))
    }
    assert {"chgnet", "sevennet"} <= named <= extras


def test_missing_weights_name_the_command_that_gets_them(folder, monkeypatch, capfd):
    resources = folder / "resources"
    (resources / "tables").mkdir(parents=True)
    monkeypatch.setenv("MAPCSP_RESOURCES", str(resources))
    found = one_line(monkeypatch, capfd, "relax salt.cif --potential m3gnet")
    assert re.search(r"m3gnet.safetensors does not exist; run `mapcsp fetch-potential`", found)


def test_a_wrong_resources_folder_is_named_with_its_variable(folder, monkeypatch, capfd):
    monkeypatch.setenv("MAPCSP_RESOURCES", str(folder / "nowhere"))
    found = one_line(monkeypatch, capfd, "relax salt.cif --potential m3gnet")
    assert re.search(r"nowhere holds no tables/; install mapcsp .* or set MAPCSP_RESOURCES", found)


def test_asking_for_a_gpu_that_is_not_there_says_what_to_set(folder, monkeypatch, capfd):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = one_line(monkeypatch, capfd, "relax salt.cif --set relax.device=cuda")
    assert re.search("relax.device is `cuda`, but torch finds none; set it to auto or cpu", found)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("formulas=none.csv", "formulas: none.csv is not a file .*; give its path with --config"),
        ("reconstruct={seed_structures: [none.cif]}", "seed_structures: none.cif is not a file; name CIF"),
        ("relax={hull_table: none.csv}", "relax.hull_table: none.csv is not a file; name a table"),
    ],
)
def test_snakemake_itself_says_a_users_mistake_in_one_line(folder, config, message):
    command = [*SNAKEMAKE, "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1"]
    done = subprocess.run(
        [*command, "--dry-run", "--directory", str(folder), "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [li for li in done.stderr.splitlines() if "mapcsp: error: " in li]
    assert done.returncode == 2
    assert re.search(message, line)
    assert "Traceback" not in done.stderr

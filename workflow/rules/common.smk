# Everything that rules share: the config, the interpreter, paths of the repository, and the tables of the plan.
import json
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(os.path.abspath(str(workflow.current_basedir))).parent.parent
sys.path.insert(0, str(REPOSITORY / "workflow"))

from mapcsp.errors import UserError
from mapcsp.places import check_run_folder, check_weights_place
from mapcsp.provenance import code_id, file_sha256, imported_modules
from mapcsp.registry import registered_model
from mapcsp.resources import resources_dir
from mapcsp.settings import parse_settings
from mapcsp.unused_code import other_potentials, unused_by_relax, unused_by_symmetry

# The command `mapcsp` of the rules: the package beside this Snakefile, whatever is installed, run by the interpreter
# that runs Snakemake (activating its environment is not needed), or by that of the job's own conda environment.
CONDA = any(
    str(method).lower().endswith("conda") for method in workflow.deployment_settings.deployment_method
)
PYTHON = "python" if CONDA else shlex.quote(sys.executable)
ENVIRONMENT = shlex.join(["env", f"PYTHONPATH={REPOSITORY / 'workflow'}", "PYTHONSAFEPATH=1"])
# Snakemake formats the prefix once more, hence the doubled braces.
shell.prefix(" ".join(["mapcsp() {{", ENVIRONMENT, PYTHON, "-m mapcsp", '"$@"; }}; ']))


configfile: str(REPOSITORY / "config" / "config.yaml")


def stop_on_user_error(function, *arguments):
    """Call a function; end Snakemake with one line and status 2 if it raises a UserError."""
    try:
        return function(*arguments)
    except UserError as error:
        print(f"mapcsp: error: {error}", file=sys.stderr)
        sys.exit(2)


# Jobs on other nodes only repeat their own command.
if workflow.is_main_process:
    stop_on_user_error(check_run_folder, Path())


def stage_code(*modules, without=frozenset()):
    """Hash of the modules that a stage runs, with all they import: an edit reruns the stage and what follows.

    without: modules that are imported for other settings than these.
    """
    return code_id(*imported_modules(*modules, without=without))


def model_files(name, asked_by):
    """Files of a trained model that decide its output; asked_by: the setting that names it, or what else needs it."""
    return list(map(str, stop_on_user_error(lambda: registered_model(name, asked_by).files)))


# Where the commands of the rules look, too.
RESOURCES = stop_on_user_error(resources_dir)


def tables(*names):
    """Shipped tables that a stage reads."""
    return [str(RESOURCES / "tables" / name) for name in names]


SETTINGS = stop_on_user_error(parse_settings, dict(config))
# Decided once, for all jobs: their conda environment for second energies holds SevenNet, whatever is installed here.
SETTINGS = SETTINGS.model_copy(
    update={"rescore": SETTINGS.rescore.decided(CONDA or find_spec("sevenn") is not None)}
)
SECTIONS = {
    name: value for name, value in SETTINGS.model_dump(mode="json").items() if isinstance(value, dict)
}
SECTIONS["run"] = {"seed": SETTINGS.seed}

# Of jobs that run the chosen potential. One of ASE's that another package brings is added to networks.yaml by its user.
_potential = SETTINGS.relax.potential.partition("-")[0].partition(":")[0]
POTENTIAL_ENVIRONMENT = (
    f"../../envs/{_potential if _potential in ('chgnet', 'sevennet', 'matgl') else 'networks'}.yaml"
)

CRYSTAL_TABLES = tables("element_features.csv", "normalisers.json", "wyckoff.json")


_plan_tables = {}


def plan_table(name):
    """A table of the plan stage, `buckets` or `chunks`; before the plan is there, Snakemake comes back for it."""
    path = Path(checkpoints.plan.get().output.folder) / f"{name}.json"
    stamp = path.stat().st_mtime_ns, path.stat().st_size
    if _plan_tables.get(name, (None,))[0] != stamp:
        _plan_tables[name] = stamp, json.loads(path.read_text(encoding="utf-8"))
    return _plan_tables[name][1]


wildcard_constraints:
    section="|".join(SECTIONS),
    bucket="[0-9a-f]{2}/[^/]+",
    chunk="[0-9a-f]{2}/[^/]+",

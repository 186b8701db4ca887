# Files that the user names: the formula list, what its length asks for, crystals to start from, and known phases.


def find_formulas(name):
    """The formula list: in the run's folder, else where snakemake was called, else in the repository."""
    if os.path.isabs(name) or os.path.exists(name):
        found = name
    else:
        places = [Path(folder) / name for folder in (os.environ.get("PWD", "."), REPOSITORY)]
        found = next((str(place) for place in places if place.exists()), name)
    # A job on another node only repeats its own command, and may see other folders.
    if not os.path.isfile(found) and workflow.is_main_process:
        raise UserError(
            f"config: formulas: {name} is not a file in {os.getcwd()}, nor where snakemake was called, nor in "
            f"{REPOSITORY}; give its path with --config formulas=PATH"
        )
    return found


def find_seed_structures(names):
    """The user's crystals to start from, which must be there before anything runs."""
    missing = [name for name in names if not os.path.isfile(name)]
    if missing and workflow.is_main_process:
        raise UserError(f"config: reconstruct.seed_structures: {missing[0]} is not a file; name CIF files")
    return names


def find_hull_table(name):
    """The user's table of known phases, which must be there before anything runs; nothing where none is named."""
    if name and not os.path.isfile(name) and workflow.is_main_process:
        raise UserError(f"config: relax.hull_table: {name} is not a file; name a table of known phases")
    return name or []


def for_list(base, per_1000_rows):
    """Memory or time of a stage that takes the whole list: more for a longer list, and with each attempt."""
    rows = sum(1 for _ in open(FORMULAS, "rb")) if os.path.isfile(FORMULAS) else 0
    return lambda wildcards, attempt: (base + per_1000_rows * rows // 1000) * attempt


FORMULAS = stop_on_user_error(find_formulas, SETTINGS.formulas)
SEED_STRUCTURES = stop_on_user_error(find_seed_structures, SETTINGS.reconstruct.seed_structures)
HULL_TABLE = stop_on_user_error(find_hull_table, SETTINGS.relax.hull_table)

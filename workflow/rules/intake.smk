# Reads the formula list: one file for each accepted formula, a reason for each rejected row.


localrules:
    intake,


checkpoint intake:
    input:
        formulas=FORMULAS,
        settings="results/settings/intake.json",
        tables=CRYSTAL_TABLES + tables("cell_sizes.json"),
    output:
        folder=directory("results/intake"),
        manifest="results/manifests/intake.json",
    log:
        "results/logs/intake.log",
    conda:
        "../../envs/crystals.yaml"
    params:
        code=stage_code("formulas/intake"),
        # As of the start: a list edited while it is read is read again by the next run.
        formulas=file_sha256(FORMULAS) if os.path.isfile(FORMULAS) else "",
    message:
        "Intake: reading {input.formulas}"
    shell:
        "mapcsp stage intake --formulas {input.formulas:q} --settings {input.settings:q}"
        " --output {output.folder:q} --manifest {output.manifest:q} --earlier results/ranking/ranking.csv"
        # How formulas and columns were understood, and what the list no longer asks for, is for the user, too.
        " > {log:q} 2>&1 && sed -n 's/^note: /mapcsp: note: /p' {log:q} >&2"

# Cuts the predictions into searches, one a (formula, space group), and deals them into jobs.


localrules:
    plan,


checkpoint plan:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        symmetry=lambda wildcards: checkpoints.symmetry.get().output.manifest,
        maps=lambda wildcards: checkpoints.maps.get().output.manifest,
        settings="results/settings/plan.json",
        run="results/settings/run.json",
    output:
        folder=directory("results/plan"),
    log:
        "results/logs/plan.log",
    conda:
        "../../envs/crystals.yaml"
    params:
        code=stage_code("planning/plan"),
    message:
        "Plan: one search for each formula and space group"
    shell:
        "mapcsp stage plan --intake results/intake --symmetry results/symmetry --maps results/maps"
        " --settings {input.settings:q} --run {input.run:q} --output {output.folder:q} > {log:q} 2>&1"

# Elemental features of each formula, the input of the map networks.


checkpoint features:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        settings="results/settings/features.json",
        tables=tables("element_features.csv"),
    output:
        folder=directory("results/features"),
        manifest="results/manifests/features.json",
    log:
        "results/logs/features.log",
    conda:
        "../../envs/crystals.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=for_list(20, 1),
    params:
        code=stage_code("features/tensors"),
    message:
        "Features of all formulas"
    shell:
        "mapcsp stage features --intake results/intake --settings {input.settings:q}"
        " --output {output.folder:q} --manifest {output.manifest:q} > {log:q} 2>&1"

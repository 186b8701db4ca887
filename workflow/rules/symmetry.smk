# Predicts Z, symmetry labels, space groups and cells of each formula.


checkpoint symmetry:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        settings="results/settings/symmetry.json",
        model=model_files(SETTINGS.symmetry.model, "symmetry.model"),
        tables=CRYSTAL_TABLES + tables("cell_sizes.json"),
    output:
        folder=directory("results/symmetry"),
        manifest="results/manifests/symmetry.json",
    log:
        "results/logs/symmetry.log",
    benchmark:
        "results/benchmarks/symmetry.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=for_list(60, 4),
    params:
        code=stage_code("symmetry/predict", without=unused_by_symmetry(SETTINGS.symmetry)),
    message:
        "Symmetry of all formulas"
    shell:
        "mapcsp --threads {threads} stage symmetry --intake results/intake --settings {input.settings:q}"
        " --output {output.folder:q} --manifest {output.manifest:q} > {log:q} 2>&1"

# Predicts distance and contact maps for the labels of each formula.


checkpoint maps:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        features=lambda wildcards: checkpoints.features.get().output.manifest,
        symmetry=lambda wildcards: checkpoints.symmetry.get().output.manifest,
        settings="results/settings/maps.json",
        tables=CRYSTAL_TABLES,
        model=model_files(SETTINGS.maps.model, "maps.model"),
    output:
        folder=directory("results/maps"),
        manifest="results/manifests/maps.json",
    log:
        "results/logs/maps.log",
    benchmark:
        "results/benchmarks/maps.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=for_list(60, 4),
    params:
        code=stage_code("maps/run"),
    message:
        "Maps of all formulas"
    shell:
        "mapcsp --threads {threads} stage maps --intake results/intake --features results/features"
        " --symmetry results/symmetry --settings {input.settings:q} --output {output.folder:q} --manifest {output.manifest:q}"
        " > {log:q} 2>&1"

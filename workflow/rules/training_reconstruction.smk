# Judges the genetic search before any relaxation (target `evaluate_reconstruction` of workflow/Snakefile.training).


rule evaluate_reconstruction:
    input:
        table=f"{SETTINGS.training.data}/{SETTINGS.training.validation}",
        symmetry=model_files("symmetry", "symmetry.model"),
        maps=model_files("maps", "maps.model"),
    output:
        str(REPOSITORY / "resources/benchmarks/reconstruction.json"),
    log:
        "results/logs/evaluate_reconstruction.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=180,
    params:
        code=stage_code("training/reconstruction/evaluate"),
    message:
        "Judging the genetic search (about 20 minutes on one core)"
    shell:
        "mapcsp evaluate-reconstruction --work results/training/reconstruction --output {output:q}"
        " {input.table:q} > {log:q} 2>&1"

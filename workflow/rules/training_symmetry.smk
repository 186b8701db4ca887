# Trains and evaluates the shipped symmetry model (target `train_symmetry` of workflow/Snakefile.training).


rule train_symmetry:
    input:
        tables=[f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables],
        validation=f"{SETTINGS.training.data}/{SETTINGS.training.validation}",
    output:
        str(REPOSITORY / "resources/models/symmetry/weights.safetensors"),
        str(REPOSITORY / "resources/models/symmetry/memory.safetensors"),
        str(REPOSITORY / "resources/models/symmetry/metrics.json"),
        str(REPOSITORY / "resources/models/symmetry/card.md"),
        report(str(REPOSITORY / "resources/models/symmetry/curve.svg"), category="Training"),
        report(str(REPOSITORY / "resources/models/symmetry/curve_cells.svg"), category="Training"),
    log:
        "results/logs/train_symmetry.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=180,
    message:
        "Training the symmetry model (about 15 minutes on one core)"
    shell:
        "mapcsp train-symmetry --validation {input.validation:q} --work results/training/symmetry"
        " --output $(dirname {output[0]:q}) {input.tables:q} > {log:q} 2>&1"

# Fits the ranking's coefficients, and runs the benchmark. Both run the stages of a prediction in one process.

RANKER = REPOSITORY / "resources" / "models" / "ranker"


rule train_ranker:
    input:
        tables=[f"{SETTINGS.training.data}/{SETTINGS.training.tables[0]}"],
        symmetry=REPOSITORY / "resources/models/symmetry/weights.safetensors",
        maps=REPOSITORY / "resources/models/maps/weights.safetensors",
        potential=REPOSITORY / "resources/potentials/m3gnet.safetensors",
    output:
        RANKER / "coefficients.json",
    log:
        "results/logs/train_ranker.log",
    resources:
        mem_mb=8000,
        runtime=240,
    message:
        "Fitting the ranking (about 15 minutes on one core)"
    shell:
        "mapcsp train-ranker --work results/training/ranker --output $(dirname {output:q})"
        " {input.tables:q} > {log:q} 2>&1"


rule benchmark:
    input:
        table=f"{SETTINGS.training.data}/{SETTINGS.training.validation}",
        ranker=RANKER / "coefficients.json",
    output:
        figures="results/benchmark/figures.json",
        table="results/benchmark/table.md",
    log:
        "results/logs/benchmark.log",
    resources:
        mem_mb=8000,
        runtime=120,
    message:
        "Benchmark on known crystals"
    shell:
        "mapcsp benchmark --work results/training/benchmark --output $(dirname {output.table:q})"
        " {input.table:q} > {log:q} 2>&1"

# Grows and judges MLatticeABC's forests, the reference for cells (target `train_mlatticeabc` of workflow/Snakefile.training).

MLATTICEABC_MODEL = REPOSITORY / "resources" / "models" / "mlatticeabc"


rule train_mlatticeabc:
    input:
        tables=[f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables],
        validation=f"{SETTINGS.training.data}/{SETTINGS.training.validation}",
    output:
        weights=MLATTICEABC_MODEL / "weights.safetensors",
        training=MLATTICEABC_MODEL / "training.json",
        metrics=MLATTICEABC_MODEL / "metrics.json",
        card=MLATTICEABC_MODEL / "card.md",
    log:
        "results/logs/train_mlatticeabc.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        tables=lambda wildcards, input: [part for table in input.tables for part in ("--train", table)],
    message:
        "Growing MLatticeABC's forests (about 3 minutes on one core)"
    shell:
        "{ENVIRONMENT} {PYTHON} -m mapcsp.training.mlatticeabc.run {params.tables:q} --test {input.validation:q}"
        " --work results/training/symmetry --output $(dirname {output.card:q}) > {log:q} 2>&1"

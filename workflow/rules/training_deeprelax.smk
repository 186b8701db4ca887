# Trains and judges one-pass relaxation: target `train_deeprelax` of workflow/Snakefile.training. A killed training goes on
# from its checkpoints in results/training.

DEEPRELAX_MODEL = REPOSITORY / "resources" / "models" / "deeprelax"
DEEPRELAX_WORK = "results/training/deeprelax"
DEEPRELAX_TRAIN = [f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables]
DEEPRELAX_TEST = f"{SETTINGS.training.data}/{SETTINGS.training.validation}"
TRAIN_DEEPRELAX = f"{ENVIRONMENT} {PYTHON} -m mapcsp.training.deeprelax.run"
DEEPRELAX_OPTIONS = (
    " ".join(f"--train {shlex.quote(table)}" for table in DEEPRELAX_TRAIN) + f" --work {DEEPRELAX_WORK}"
)


rule train_deeprelax:
    input:
        DEEPRELAX_MODEL / "card.md",


rule train_deeprelax_ensemble:
    input:
        tables=DEEPRELAX_TRAIN,
    output:
        weights=DEEPRELAX_MODEL / "weights.safetensors",
        curve=DEEPRELAX_MODEL / "curve.csv",
    log:
        "results/logs/train_deeprelax.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=180,
    message:
        "Training one-pass relaxation (about 40 minutes on one core)"
    shell:
        "{TRAIN_DEEPRELAX} train {DEEPRELAX_OPTIONS} --output $(dirname {output.weights:q}) > {log:q} 2>&1"


rule ablate_deeprelax:
    input:
        tables=[*DEEPRELAX_TRAIN, DEEPRELAX_TEST],
        # One after the other: both use the pairs in the work folder.
        weights=rules.train_deeprelax_ensemble.output.weights,
    output:
        DEEPRELAX_MODEL / "ablations.json",
    log:
        "results/logs/ablate_deeprelax.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=180,
    message:
        "Training the ablations of one-pass relaxation"
    shell:
        "{TRAIN_DEEPRELAX} ablate {DEEPRELAX_OPTIONS} --test {DEEPRELAX_TEST:q} --output $(dirname {output:q}) > {log:q} 2>&1"


rule judge_deeprelax:
    input:
        tables=[*DEEPRELAX_TRAIN, DEEPRELAX_TEST],
        weights=rules.train_deeprelax_ensemble.output.weights,
        ablations=rules.ablate_deeprelax.output,
        potential=REPOSITORY / "resources" / "potentials" / "m3gnet.safetensors",
    output:
        metrics=DEEPRELAX_MODEL / "metrics.json",
        card=DEEPRELAX_MODEL / "card.md",
    log:
        "results/logs/judge_deeprelax.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
    message:
        "Judging one-pass relaxation"
    shell:
        "({TRAIN_DEEPRELAX} evaluate {DEEPRELAX_OPTIONS} --test {DEEPRELAX_TEST:q} --output $(dirname {output.card:q})"
        " && {TRAIN_DEEPRELAX} card --model $(dirname {output.card:q})) > {log:q} 2>&1"


# No input of the model. SchNetPack beside this torch asks for a newer Python than the other jobs do.
rule baseline_deeprelax:
    input:
        tables=[*DEEPRELAX_TRAIN, DEEPRELAX_TEST],
    output:
        DEEPRELAX_MODEL / "painn.json",
    log:
        "results/logs/baseline_deeprelax.log",
    conda:
        "../../envs/painn.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    message:
        "Training the PaiNN of SchNetPack on the pairs of one-pass relaxation (about 15 minutes)"
    shell:
        "({TRAIN_DEEPRELAX} baseline {DEEPRELAX_OPTIONS} --test {DEEPRELAX_TEST:q} --output $(dirname {output:q})"
        " && {TRAIN_DEEPRELAX} card --model $(dirname {output:q})) > {log:q} 2>&1"

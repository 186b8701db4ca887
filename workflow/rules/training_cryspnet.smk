# Trains and judges CRYSPNet, the reference for symmetry (target `train_cryspnet` of workflow/Snakefile.training).

CRYSPNET_MODEL = REPOSITORY / "resources" / "models" / "cryspnet"
CRYSPNET_TABLES = [f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables]
CRYSPNET_TEST = f"{SETTINGS.training.data}/{SETTINGS.training.validation}"
CRYSPNET_OPTIONS = " ".join(f"--train {shlex.quote(table)}" for table in CRYSPNET_TABLES)
# The symmetry model's training encodes the same tables; whoever comes first writes them there.
CRYSPNET_WORK = "results/training/symmetry"
TRAIN_CRYSPNET = f"{ENVIRONMENT} {PYTHON} -m mapcsp.training.cryspnet.run"


rule train_cryspnet:
    input:
        CRYSPNET_MODEL / "card.md",


rule train_cryspnet_networks:
    input:
        tables=CRYSPNET_TABLES,
    output:
        weights=CRYSPNET_MODEL / "weights.safetensors",
        training=CRYSPNET_MODEL / "training.json",
    log:
        "results/logs/train_cryspnet.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    message:
        "Training CRYSPNet (about 3 minutes on one core)"
    shell:
        "{TRAIN_CRYSPNET} train {CRYSPNET_OPTIONS} --work {CRYSPNET_WORK} --output $(dirname {output.weights:q}) > {log:q} 2>&1"


rule judge_cryspnet:
    input:
        tables=[*CRYSPNET_TABLES, CRYSPNET_TEST],
        weights=rules.train_cryspnet_networks.output.weights,
        training=rules.train_cryspnet_networks.output.training,
    output:
        metrics=CRYSPNET_MODEL / "metrics.json",
        card=CRYSPNET_MODEL / "card.md",
    log:
        "results/logs/judge_cryspnet.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=4000,
    message:
        "Judging CRYSPNet"
    shell:
        "{TRAIN_CRYSPNET} evaluate {CRYSPNET_OPTIONS} --test {CRYSPNET_TEST:q} --work {CRYSPNET_WORK}"
        " --output $(dirname {output.card:q}) > {log:q} 2>&1"

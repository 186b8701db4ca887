# Trains and judges the default map network; `train_maps` of workflow/Snakefile.training asks for it and for the papers' main
# two (training_maps_papers.smk). A killed training goes on from its checkpoint in results/training.

MAPS_MODELS = REPOSITORY / "resources" / "models"
MAPS_WORK = "results/training/maps"
MAPS_TRAIN = [f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables]
MAPS_TEST = f"{SETTINGS.training.data}/{SETTINGS.training.validation}"
# Experiments whose networks are shipped, by the model's folder; see mapcsp/training/maps/experiments.py for all of them.
MAPS_SHIPPED = {"alphacrystal": "contact_all", "alphacrystal2": "groups20_10k"}
TRAIN_MAPS = f"{ENVIRONMENT} {PYTHON} -m mapcsp.training.maps.run"
MAPS_TRAIN_OPTIONS = " ".join(f"--train {shlex.quote(table)}" for table in MAPS_TRAIN)


rule train_maps:
    input:
        [MAPS_MODELS / name / "card.md" for name in ("maps", *MAPS_SHIPPED)],


rule train_default_maps:
    input:
        tables=MAPS_TRAIN,
    output:
        weights=MAPS_MODELS / "maps" / "weights.safetensors",
        curve=MAPS_MODELS / "maps" / "curve.csv",
    log:
        "results/logs/train_maps.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=180,
    message:
        "Training the default map network (about 40 minutes on one core)"
    shell:
        "{TRAIN_MAPS} default {MAPS_TRAIN_OPTIONS} --work {MAPS_WORK} --output $(dirname {output.weights:q}) > {log:q} 2>&1"


rule judge_default_maps:
    input:
        tables=[*MAPS_TRAIN, MAPS_TEST],
        weights=rules.train_default_maps.output.weights,
        symmetry=MAPS_MODELS / "symmetry" / "weights.safetensors",
        scrambling=MAPS_MODELS / "maps" / "scrambling.json",
    output:
        metrics=MAPS_MODELS / "maps" / "metrics.json",
        card=MAPS_MODELS / "maps" / "card.md",
        picture=report(MAPS_MODELS / "maps" / "curve.svg", category="Training"),
    log:
        "results/logs/judge_maps.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=8000,
    message:
        "Judging the default map network"
    shell:
        "({TRAIN_MAPS} evaluate {MAPS_TRAIN_OPTIONS} --test {MAPS_TEST:q} --work {MAPS_WORK} --output $(dirname {output.card:q})"
        " && {TRAIN_MAPS} card --model $(dirname {output.card:q})) > {log:q} 2>&1"


rule scramble_default_maps:
    input:
        tables=[*MAPS_TRAIN, MAPS_TEST],
        # Targets are worked out by the training; both must not do it at the same time.
        weights=rules.train_default_maps.output.weights,
    output:
        MAPS_MODELS / "maps" / "scrambling.json",
    log:
        "results/logs/scramble_maps.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    message:
        "Training the default map network shortly on true and on scrambled maps (about 20 minutes on one core)"
    shell:
        "{TRAIN_MAPS} scramble {MAPS_TRAIN_OPTIONS} --test {MAPS_TEST:q} --work {MAPS_WORK} --epochs 6 --limit 2000"
        " --output $(dirname {output:q}) > {log:q} 2>&1"

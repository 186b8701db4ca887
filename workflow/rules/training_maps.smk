# Trains and judges the map networks: targets of workflow/Snakefile.training, `train_maps` (default network and the papers'
# main two) and `train_maps_table` (every experiment of the papers). A killed training goes on from its checkpoint in
# results/training.

MAPS_MODELS = REPOSITORY / "resources" / "models"
MAPS_WORK = "results/training/maps"
MAPS_TRAIN = [f"{SETTINGS.training.data}/{name}" for name in SETTINGS.training.tables]
MAPS_TEST = f"{SETTINGS.training.data}/{SETTINGS.training.validation}"
# Experiments whose networks are shipped, by the model's folder; see mapcsp/training/maps_papers.py for all of them.
MAPS_SHIPPED = {"alphacrystal": "contact", "alphacrystal2": "groups20_10k"}
MAPS_TABLE = (
    "groups5_1k groups5_10k groups10_1k groups10_10k groups10_cubic groups10_binary groups10_ternary"
    " groups10_1k_scrambled groups20_10k_scrambled contact_scrambled"
).split()
TRAIN_MAPS = f"{ENVIRONMENT} {PYTHON} -m mapcsp.training.maps_run"
MAPS_TRAIN_OPTIONS = " ".join(f"--train {shlex.quote(table)}" for table in MAPS_TRAIN)


wildcard_constraints:
    paper_model="|".join(MAPS_SHIPPED),
    experiment="|".join(MAPS_TABLE),


rule train_maps:
    input:
        [MAPS_MODELS / name / "card.md" for name in ("maps", *MAPS_SHIPPED)],


rule train_maps_table:
    input:
        [f"{MAPS_WORK}/papers/{experiment}.json" for experiment in MAPS_TABLE],
        [MAPS_MODELS / name / "card.md" for name in MAPS_SHIPPED],


rule train_default_maps:
    input:
        tables=MAPS_TRAIN,
    output:
        weights=MAPS_MODELS / "maps" / "weights.safetensors",
        curve=MAPS_MODELS / "maps" / "curve.csv",
    log:
        "results/logs/train_maps.log",
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
    output:
        metrics=MAPS_MODELS / "maps" / "metrics.json",
        card=MAPS_MODELS / "maps" / "card.md",
        picture=report(MAPS_MODELS / "maps" / "curve.svg", category="Training"),
    log:
        "results/logs/judge_maps.log",
    resources:
        mem_mb=8000,
    message:
        "Judging the default map network"
    shell:
        "({TRAIN_MAPS} evaluate {MAPS_TRAIN_OPTIONS} --test {MAPS_TEST:q} --work {MAPS_WORK} --output $(dirname {output.card:q})"
        " && {TRAIN_MAPS} card --model $(dirname {output.card:q})) > {log:q} 2>&1"


rule train_shipped_paper_maps:
    input:
        tables=[*MAPS_TRAIN, MAPS_TEST],
    output:
        weights=MAPS_MODELS / "{paper_model}" / "weights.safetensors",
        curve=MAPS_MODELS / "{paper_model}" / "curve.csv",
    log:
        "results/logs/train_{paper_model}.log",
    resources:
        mem_mb=8000,
        runtime=180,
    params:
        experiment=lambda wildcards: MAPS_SHIPPED[wildcards.paper_model],
    message:
        "Training the network {wildcards.paper_model}"
    shell:
        "{TRAIN_MAPS} paper --experiment {params.experiment:q} {MAPS_TRAIN_OPTIONS} --test {MAPS_TEST:q} --work {MAPS_WORK}/papers"
        " --output $(dirname {output.weights:q}) > {log:q} 2>&1"


rule train_paper_maps:
    input:
        tables=[*MAPS_TRAIN, MAPS_TEST],
    output:
        f"{MAPS_WORK}/papers/{{experiment}}.json",
    log:
        "results/logs/train_{experiment}.log",
    resources:
        mem_mb=8000,
        runtime=180,
    message:
        "Training the papers' network: {wildcards.experiment}"
    shell:
        "{TRAIN_MAPS} paper --experiment {wildcards.experiment:q} {MAPS_TRAIN_OPTIONS} --test {MAPS_TEST:q}"
        " --work {MAPS_WORK}/papers > {log:q} 2>&1"


rule card_of_paper_maps:
    input:
        weights=MAPS_MODELS / "{paper_model}" / "weights.safetensors",
    output:
        metrics=MAPS_MODELS / "{paper_model}" / "metrics.json",
        card=MAPS_MODELS / "{paper_model}" / "card.md",
        picture=report(MAPS_MODELS / "{paper_model}" / "curve.svg", category="Training"),
    log:
        "results/logs/card_{paper_model}.log",
    params:
        experiment=lambda wildcards: MAPS_SHIPPED[wildcards.paper_model],
    shell:
        "{TRAIN_MAPS} card --model $(dirname {output.card:q}) --results {MAPS_WORK}/papers --main-experiment {params.experiment:q}"
        " > {log:q} 2>&1"

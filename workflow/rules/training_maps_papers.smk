# Trains and judges the papers' map networks: `train_maps_table` of workflow/Snakefile.training runs every experiment of the
# papers, `train_maps` (training_maps.smk) only the two whose networks are shipped.

MAPS_TABLE = (
    "groups5_1k groups5_10k groups10_1k groups10_10k groups10_cubic groups10_binary groups10_ternary"
    " groups10_1k_scrambled groups20_10k_scrambled contact contact_scrambled contact_1k contact_3k"
).split()


wildcard_constraints:
    paper_model="|".join(MAPS_SHIPPED),
    experiment="|".join(MAPS_TABLE),


rule train_maps_table:
    input:
        [f"{MAPS_WORK}/papers/{experiment}.json" for experiment in MAPS_TABLE],
        [MAPS_MODELS / name / "card.md" for name in MAPS_SHIPPED],


rule train_shipped_paper_maps:
    input:
        tables=[*MAPS_TRAIN, MAPS_TEST],
    output:
        weights=MAPS_MODELS / "{paper_model}" / "weights.safetensors",
        curve=MAPS_MODELS / "{paper_model}" / "curve.csv",
    log:
        "results/logs/train_{paper_model}.log",
    conda:
        "../../envs/networks.yaml"
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
    conda:
        "../../envs/networks.yaml"
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
    conda:
        "../../envs/networks.yaml"
    params:
        experiment=lambda wildcards: MAPS_SHIPPED[wildcards.paper_model],
    shell:
        "{TRAIN_MAPS} card --model $(dirname {output.card:q}) --results {MAPS_WORK}/papers --main-experiment {params.experiment:q}"
        " > {log:q} 2>&1"

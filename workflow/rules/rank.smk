# Ranks the relaxed candidates of every formula and writes the top K as CIF.


rule rank:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        pools=lambda wildcards: [f"results/pools/{chunk}.jsonl" for chunk in plan_table("chunks")],
        relaxed=lambda wildcards: [f"results/relax/{chunk}.jsonl" for chunk in plan_table("chunks")],
        settings="results/settings/ranking.json",
        ranker=model_files("ranker"),
    output:
        table="results/ranking/ranking.csv",
        failed="results/ranking/failed.csv",
        outcomes="results/ranking/outcomes.jsonl",
        candidates="results/ranking/candidates.jsonl",
        cif=directory("results/ranking/cif"),
    log:
        "results/logs/rank.log",
    conda:
        "../../envs/crystals.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        code=stage_code("ranking/run"),
    message:
        "Rank all formulas"
    shell:
        "mapcsp rank --intake results/intake --plan results/plan --pools results/pools"
        " --relaxed results/relax --settings {input.settings:q} --output results/ranking > {log:q} 2>&1"

# Ranks the relaxed candidates of every formula and writes the top K as CIF.


rule rank:
    input:
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        symmetry=lambda wildcards: checkpoints.symmetry.get().output.manifest,
        pools=lambda wildcards: [f"results/pools/{chunk}.jsonl" for chunk in plan_table("chunks")],
        relaxed=lambda wildcards: [f"{RANKED_POOLS}/{chunk}.jsonl" for chunk in plan_table("chunks")],
        settings="results/settings/ranking.json",
        ranker=model_files("ranker", "ranker"),
    output:
        table=report(
            "results/ranking/ranking.csv",
            caption="../report/ranking.rst",
            category="Ranking",
            labels={"result": "ranked structures"},
        ),
        failed=report(
            "results/ranking/failed.csv",
            caption="../report/failed.rst",
            category="Left out",
            labels={"result": "formulas without a structure"},
        ),
        outcomes="results/ranking/outcomes.jsonl",
        candidates="results/ranking/candidates.jsonl",
        cif=directory("results/ranking/cif"),
    log:
        "results/logs/rank.log",
    conda:
        "../../envs/crystals.yaml"
    resources:
        mem_mb=for_list(2000, 800),
        runtime=for_list(60, 4),
    params:
        code=stage_code("ranking/run"),
        relaxed=RANKED_POOLS,
    message:
        "Rank all formulas"
    shell:
        "mapcsp stage rank --intake results/intake --symmetry results/symmetry --plan results/plan"
        " --pools results/pools --relaxed {params.relaxed:q} --settings {input.settings:q} --output results/ranking > {log:q} 2>&1"

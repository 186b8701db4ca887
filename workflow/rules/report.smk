# One HTML page with the ranking, its structures and where they came from.


report: "../report/workflow.rst"


rule report:
    input:
        ranking="results/ranking/ranking.csv",
        outcomes="results/ranking/outcomes.jsonl",
        candidates="results/ranking/candidates.jsonl",
        intake=lambda wildcards: checkpoints.intake.get().output.manifest,
        maps=lambda wildcards: checkpoints.maps.get().output.manifest,
        settings=expand("results/settings/{section}.json", section=SECTIONS),
        # It holds the files that the settings name, for those who repeat the run.
        seed_structures=SEED_STRUCTURES,
        phases=HULL_TABLE,
    output:
        report(
            "results/report/index.html",
            caption="../report/page.rst",
            category="Ranking",
            labels={"result": "page to look at"},
        ),
    log:
        "results/logs/report.log",
    conda:
        "../../envs/crystals.yaml"
    resources:
        mem_mb=for_list(2000, 800),
        runtime=for_list(60, 4),
    params:
        code=stage_code("report/run"),
    message:
        "Report"
    shell:
        "mapcsp stage report --ranking results/ranking --intake results/intake --maps results/maps"
        " --settings results/settings/report.json --output {output:q} > {log:q} 2>&1"

# Merges the searches of each formula of one chunk into the candidates to relax.


rule pool:
    input:
        searches=lambda wildcards: [
            f"results/reconstruct/{bucket}.jsonl"
            for bucket in plan_table("chunks")[wildcards.chunk]["buckets"]
        ],
        settings="results/settings/pool.json",
        tables=tables("element_features.csv"),
    output:
        "results/pools/{chunk}.jsonl",
    log:
        "results/logs/pool/{chunk}.log",
    conda:
        "../../envs/crystals.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        code=stage_code("ga/pool"),
        formulas=lambda wildcards: plan_table("chunks")[wildcards.chunk]["formulas"],
    message:
        "Pool {wildcards.chunk}"
    shell:
        "mapcsp stage pool --plan results/plan --chunk {wildcards.chunk:q} --searches results/reconstruct"
        " --settings {input.settings:q} --output {output:q} > {log:q} 2>&1"

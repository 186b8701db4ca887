# Genetic searches: one job holds the (formula, space group) tasks of one bucket.


rule reconstruct:
    input:
        tasks=lambda wildcards: [f"results/plan/{file}" for file in plan_table("buckets")[wildcards.bucket]],
        settings="results/settings/reconstruct.json",
        tables=CRYSTAL_TABLES,
        seed_structures=SEED_STRUCTURES,
    output:
        "results/reconstruct/{bucket}.jsonl",
    log:
        "results/logs/reconstruct/{bucket}.log",
    benchmark:
        "results/benchmarks/reconstruct/{bucket}.tsv"
    conda:
        "../../envs/crystals.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        code=stage_code("ga/reconstruct"),
    message:
        "Reconstruct {wildcards.bucket}"
    shell:
        "mapcsp stage reconstruct --plan results/plan --bucket {wildcards.bucket:q}"
        " --settings {input.settings:q} --finished results/finished/reconstruct --output {output:q} > {log:q} 2>&1"

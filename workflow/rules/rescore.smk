# Gives the likeliest relaxed candidates of one chunk the energy of a second potential, where there is one.
# The rank stage reads RANKED_POOLS: the rescored pools, or the relaxed ones as they are.
RANKED_POOLS = "results/rescore" if SETTINGS.rescore.second_potential() else "results/relax"


rule rescore:
    input:
        relaxed="results/relax/{chunk}.jsonl",
        settings="results/settings/rescore.json",
        tables=tables("element_features.csv"),
    output:
        "results/rescore/{chunk}.jsonl",
    log:
        "results/logs/rescore/{chunk}.log",
    benchmark:
        "results/benchmarks/rescore/{chunk}.tsv"
    conda:
        "../../envs/sevennet.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        code=stage_code("relax/rescore"),
        device=SETTINGS.relax.device,
    message:
        "Rescore {wildcards.chunk} by a second potential"
    shell:
        "mapcsp --threads {threads} stage rescore --relaxed {input.relaxed:q} --settings {input.settings:q}"
        " --device {params.device:q} --output {output:q} > {log:q} 2>&1"

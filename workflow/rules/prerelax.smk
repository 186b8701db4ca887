# Relaxes the candidates of one chunk in one pass by DeepRelax, where `relax.prerelax` asks for it.
# The relax stage reads POOLS_TO_RELAX: what this rule makes, or the pools as they are.
POOLS_TO_RELAX = "results/pools" if SETTINGS.relax.prerelax == "none" else "results/prerelax"
PRERELAX_MODEL = (
    [] if SETTINGS.relax.prerelax == "none" else model_files(SETTINGS.relax.prerelax, "relax.prerelax")
)


rule prerelax:
    input:
        pool="results/pools/{chunk}.jsonl",
        settings="results/settings/relax.json",
        model=PRERELAX_MODEL,
        tables=tables("element_features.csv"),
    output:
        "results/prerelax/{chunk}.jsonl",
    log:
        "results/logs/prerelax/{chunk}.log",
    benchmark:
        "results/benchmarks/prerelax/{chunk}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        code=stage_code("deeprelax/run"),
    message:
        "Relax {wildcards.chunk} in one pass"
    shell:
        "mapcsp --threads {threads} stage prerelax --pool {input.pool:q} --settings {input.settings:q}"
        " --output {output:q} > {log:q} 2>&1"

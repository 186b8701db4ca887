# Predicts crystals with known structures from their formulas and judges the answers: `snakemake benchmark`.
localrules:
    benchmark,


wildcard_constraints:
    source="|".join(sorted({variant.source for variant in VARIANTS.values()})),
    crystals="[0-9]+",


rule benchmark:
    input:
        "results/benchmark/table.md",


checkpoint benchmark_sample:
    input:
        table=find_table(BENCHMARK.table),
        settings=expand("results/settings/{section}.json", section=["benchmark", "symmetry"]),
        model=model_files(SETTINGS.symmetry.model, "symmetry.model"),
    output:
        folder=directory("results/benchmark/sample"),
    log:
        "results/logs/benchmark/sample.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=stage_code("benchmark/targets"),
    message:
        "Benchmark: draw known crystals"
    shell:
        "mapcsp stage benchmark-sample --table {input.table:q} --settings results/settings"
        " --output {output.folder:q} > {log:q} 2>&1"

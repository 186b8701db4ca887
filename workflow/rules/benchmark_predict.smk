# The benchmark's jobs: the crystals of one chunk, from one source of candidates, predicted, relaxed and judged.


rule benchmark_templates:
    input:
        lambda wildcards: find_table(BENCHMARK.templates[int(wildcards.number)]),
    output:
        "results/benchmark/templates/{number}.jsonl",
    log:
        "results/logs/benchmark/templates-{number}.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=stage_code("training/encoded", "training/tables"),
    message:
        "Benchmark: labels of the known crystals in {input}"
    shell:
        "mapcsp stage benchmark-templates --table {input:q} --output {output:q} > {log:q} 2>&1"


rule benchmark_predict:
    input:
        targets=benchmark_targets,
        settings=expand("results/settings/{section}.json", section=BENCHMARK_SECTIONS),
        models=[
            *model_files(SETTINGS.symmetry.model, "symmetry.model"),
            *model_files(SETTINGS.maps.model, "maps.model"),
            *PRERELAX_MODEL,
        ],
        weights=WEIGHTS,
        tables=[*CRYSTAL_TABLES, *REFERENCE_ENERGIES],
        extras=benchmark_extras,
    output:
        pools="results/benchmark/pools/{source}/{crystals}.jsonl",
        cost="results/benchmark/cost/{source}/{crystals}.jsonl",
    log:
        "results/logs/benchmark/predict/{source}/{crystals}.log",
    conda:
        POTENTIAL_ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        code=stage_code(
            "benchmark/predict",
            without=unused_by_relax(SETTINGS.relax) | unused_by_symmetry(SETTINGS.symmetry),
        ),
        extras=lambda wildcards, input: [
            part for path in input.extras for part in (extra_option(wildcards), path)
        ],
    message:
        "Benchmark: predict {wildcards.source} {wildcards.crystals}"
    shell:
        "mapcsp --threads {threads} stage benchmark-predict --targets {input.targets:q}"
        " --source {wildcards.source:q} --settings results/settings --weights {input.weights:q}"
        " --output {output.pools:q} --cost {output.cost:q} {params.extras:q} > {log:q} 2>&1"

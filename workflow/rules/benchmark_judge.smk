# The benchmark's answers: second energies, matches with the known crystals, tables.


rule benchmark_rescore:
    input:
        pools="results/benchmark/pools/{source}/{crystals}.jsonl",
        settings="results/settings/rescore.json",
    output:
        pools="results/benchmark/rescored/{source}/{crystals}.jsonl",
        cost="results/benchmark/rescore_cost/{source}/{crystals}.jsonl",
    log:
        "results/logs/benchmark/rescore/{source}/{crystals}.log",
    conda:
        "../../envs/sevennet.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        code=stage_code("benchmark/rescored"),
        device=SETTINGS.relax.device,
    message:
        "Benchmark: second energies {wildcards.source} {wildcards.crystals}"
    shell:
        "mapcsp --threads {threads} stage benchmark-rescore --pools {input.pools:q}"
        " --settings {input.settings:q} --device {params.device:q} --output {output.pools:q} --cost {output.cost:q}"
        " > {log:q} 2>&1"


rule benchmark_judge:
    input:
        targets=benchmark_targets,
        pools=judged_pools,
        cost="results/benchmark/cost/{source}/{crystals}.jsonl",
        settings="results/settings/ranking.json",
        ranker=model_files("ranker", "ranker"),
        weights=WEIGHTS,
    output:
        "results/benchmark/judged/{source}/{crystals}.jsonl",
    log:
        "results/logs/benchmark/judge/{source}/{crystals}.log",
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        code=stage_code("benchmark/judge", without=other_potentials("m3gnet")),
        variants=variant_options,
        distances="--distances" if BENCHMARK.distances else "--no-distances",
    message:
        "Benchmark: judge {wildcards.source} {wildcards.crystals}"
    shell:
        "mapcsp --threads {threads} stage benchmark-judge --targets {input.targets:q} --pools {input.pools:q}"
        " --cost {input.cost:q} --settings {input.settings:q} --weights {input.weights:q} {params.variants:q}"
        " {params.distances:q} --output {output:q} > {log:q} 2>&1"


rule benchmark_summary:
    input:
        judged=lambda wildcards: benchmark_files("judged", BENCHMARK_SOURCES),
        cost=lambda wildcards: benchmark_files("cost", BENCHMARK_SOURCES),
        rescore_cost=lambda wildcards: benchmark_files("rescore_cost", RESCORED_SOURCES),
        settings=expand(
            "results/settings/{section}.json",
            section=[*BENCHMARK_SECTIONS, "rescore", "ranking", "benchmark"],
        ),
        template=str(REPOSITORY / "workflow/report/benchmark.html.j2"),
    output:
        expand(
            "results/benchmark/{name}",
            name=["table.md", "figures.json", "crystals.csv", "crystals.parquet", "index.html"],
        ),
    log:
        "results/logs/benchmark/summary.log",
    conda:
        "../../envs/networks.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=stage_code("benchmark/summary"),
        variants=[part for name in BENCHMARK_VARIANTS for part in ("--variant", name)],
    message:
        "Benchmark: tables"
    shell:
        "mapcsp stage benchmark-summary --benchmark results/benchmark --settings results/settings"
        " {params.variants:q} --output results/benchmark > {log:q} 2>&1"

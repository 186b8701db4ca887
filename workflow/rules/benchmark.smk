# Predicts crystals with known structures from their formulas and judges the answers: `snakemake benchmark`.
from mapcsp.benchmark.variants import VARIANTS, runnable, sources_of

BENCHMARK = SETTINGS.benchmark
BENCHMARK_SECTIONS = ["symmetry", "maps", "reconstruct", "pool", "relax", "run"]
BENCHMARK_VARIANTS = runnable(SETTINGS)
BENCHMARK_SOURCES = sources_of(BENCHMARK_VARIANTS)
# Sources of which some variant goes by second energies.
RESCORED_SOURCES = [
    source
    for source in BENCHMARK_SOURCES
    if SETTINGS.rescore.second_potential()
    and any(VARIANTS[name].source == source and VARIANTS[name].rescored for name in BENCHMARK_VARIANTS)
]


def find_table(name):
    """A structure table: in the run's folder, else where snakemake was called, else in the repository."""
    places = [Path(name), Path(os.environ.get("PWD", ".")) / name, REPOSITORY / name]
    return str(next((place for place in places if place.exists()), name))


def benchmark_chunks(source):
    """Chunks of the sample that a source runs on; before the sample is drawn, Snakemake comes back for it."""
    sample = json.loads(
        (Path(checkpoints.benchmark_sample.get().output.folder) / "sample.json").read_text(encoding="utf-8")
    )
    count = BENCHMARK.count if source == "full" else BENCHMARK.variant_count
    return [chunk for chunk, first in sample["chunks"].items() if first < count]


def benchmark_files(kind, sources):
    """Files of one kind for every chunk of some sources."""
    return [
        f"results/benchmark/{kind}/{source}/{chunk}.jsonl"
        for source in sources
        for chunk in benchmark_chunks(source)
    ]


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
        model=lambda wildcards: model_files(SETTINGS.symmetry.model),
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

# What the benchmark's rules read: variants and where their candidates come from, chunks of the sample, files.
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


def benchmark_targets(wildcards):
    """The crystals of a chunk, once the sample is drawn."""
    folder = checkpoints.benchmark_sample.get().output.folder
    return f"{folder}/targets/{wildcards.crystals}.jsonl"


def benchmark_extras(wildcards):
    """What a source needs beside the crystals: random ones are as many as the full pool's, templates come from tables."""
    if wildcards.source == "random":
        return [f"results/benchmark/pools/full/{wildcards.crystals}.jsonl"]
    if wildcards.source == "template":
        return [f"results/benchmark/templates/{number}.jsonl" for number in range(len(BENCHMARK.templates))]
    return []


def extra_option(wildcards):
    """The name of the command's option for these files."""
    return {"random": "--full-pools", "template": "--template"}.get(wildcards.source, "")


def judged_pools(wildcards):
    """The pools of a chunk, with second energies where a variant goes by them."""
    folder = "rescored" if wildcards.source in RESCORED_SOURCES else "pools"
    return f"results/benchmark/{folder}/{wildcards.source}/{wildcards.crystals}.jsonl"


def variant_options(wildcards):
    """Options that name the variants to judge of one source."""
    names = [name for name in BENCHMARK_VARIANTS if VARIANTS[name].source == wildcards.source]
    return [part for name in names for part in ("--variant", name)]

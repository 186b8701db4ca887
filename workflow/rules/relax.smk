# Fetches the M3GNet weights and relaxes the candidates of one chunk of formulas with them.
WEIGHTS = str(REPOSITORY / "resources/potentials/m3gnet.safetensors")
if workflow.is_main_process:
    stop_on_user_error(check_weights_place, Path(WEIGHTS))
REFERENCE_ENERGIES = [
    table
    for table in tables(f"reference_energies_{SETTINGS.relax.potential.replace('-', '_')}.json")
    if os.path.exists(table)
]


localrules:
    fetch_potential,


rule fetch_potential:
    output:
        WEIGHTS,
    log:
        "results/logs/fetch_potential.log",
    conda:
        "../../envs/networks.yaml"
    message:
        "Fetching and converting the M3GNet weights (about 10 MB, checked by its hash)"
    shell:
        "mapcsp fetch-potential --output {output:q} > {log:q} 2>&1"


rule relax:
    input:
        pool=f"{POOLS_TO_RELAX}/{{chunk}}.jsonl",
        settings="results/settings/relax.json",
        weights=WEIGHTS,
        tables=[*tables("element_features.csv"), *REFERENCE_ENERGIES],
        phases=HULL_TABLE,
    output:
        "results/relax/{chunk}.jsonl",
    log:
        "results/logs/relax/{chunk}.log",
    benchmark:
        "results/benchmarks/relax/{chunk}.tsv"
    conda:
        POTENTIAL_ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=stage_code("relax/relax", without=unused_by_relax(SETTINGS.relax)),
    message:
        "Relax {wildcards.chunk}"
    shell:
        "mapcsp --threads {threads} stage relax --pool {input.pool:q} --weights {input.weights:q}"
        " --settings {input.settings:q} --finished results/finished/relax --trajectories results/trajectories"
        " --phases results/phases --output {output:q} > {log:q} 2>&1"

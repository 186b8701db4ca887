# Fetches the M3GNet weights and relaxes the candidates of one chunk of formulas with them.
WEIGHTS = str(REPOSITORY / "resources/potentials/m3gnet.safetensors")


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
        pool="results/pools/{chunk}.jsonl",
        settings="results/settings/relax.json",
        weights=WEIGHTS,
        tables=tables("element_features.csv", "reference_energies_m3gnet.json"),
    output:
        "results/relax/{chunk}.jsonl",
    log:
        "results/logs/relax/{chunk}.log",
    benchmark:
        "results/benchmarks/relax/{chunk}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=stage_code("relax/relax"),
    message:
        "Relax {wildcards.chunk}"
    shell:
        "mapcsp --threads {threads} relax --pool {input.pool:q} --weights {input.weights:q}"
        " --settings {input.settings:q} --output {output:q} > {log:q} 2>&1"

# Fits the ranking on pools of training formulas (target `train_ranker`); needs the extra `sevennet` for second energies.

RANKER = REPOSITORY / "resources" / "models" / "ranker"


rule train_ranker:
    input:
        tables=[f"{SETTINGS.training.data}/{SETTINGS.training.tables[0]}"],
        symmetry=REPOSITORY / "resources/models/symmetry/weights.safetensors",
        maps=REPOSITORY / "resources/models/maps/weights.safetensors",
        potential=REPOSITORY / "resources/potentials/m3gnet.safetensors",
    output:
        RANKER / "coefficients.json",
        RANKER / "metrics.json",
        RANKER / "card.md",
    log:
        "results/logs/train_ranker.log",
    conda:
        "../../envs/sevennet.yaml"
    threads: 2
    resources:
        mem_mb=12000,
        runtime=240,
    message:
        "Fitting the ranking (about 40 minutes on two cores)"
    shell:
        "mapcsp train-ranker --work results/training/ranker --processes {threads}"
        " --output $(dirname {output[0]:q}) {input.tables:q} > {log:q} 2>&1"

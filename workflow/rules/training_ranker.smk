# Fits the ranking on pools of training formulas (target `train_ranker`); needs the extra `sevennet` for second energies.

RANKER = REPOSITORY / "resources" / "models" / "ranker"


rule train_ranker:
    input:
        tables=[f"{SETTINGS.training.data}/{SETTINGS.training.tables[0]}"],
        unseen=f"{SETTINGS.training.data}/{SETTINGS.training.unseen}",
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
        "Fitting the ranking (about an hour on two cores)"
    shell:
        "mapcsp train-ranker --work results/training/ranker --processes {threads}"
        " --unseen {input.unseen:q} --output $(dirname {output[0]:q}) {input.tables:q} > {log:q} 2>&1"

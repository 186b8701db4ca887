# Freezes each section of the config, so that a change of one reruns only the stages that read it.


localrules:
    settings,


rule settings:
    output:
        "results/settings/{section}.json",
    log:
        "results/logs/settings/{section}.log",
    conda:
        "../../envs/crystals.yaml"
    params:
        text=lambda wildcards: json.dumps(SECTIONS[wildcards.section], indent=2, sort_keys=True),
    message:
        "Settings: {wildcards.section}"
    shell:
        "printf '%s\\n' {params.text:q} > {output:q} 2> {log:q}"

# mapcsp: crystal structures from formulas. Stages lie in workflow/rules, what they do in workflow/mapcsp.


include: "workflow/rules/common.smk"
include: "workflow/rules/user_files.smk"
include: "workflow/rules/settings.smk"
include: "workflow/rules/intake.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/symmetry.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/pool.smk"
include: "workflow/rules/prerelax.smk"
include: "workflow/rules/relax.smk"
include: "workflow/rules/rescore.smk"
include: "workflow/rules/rank.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/benchmark_inputs.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/benchmark_predict.smk"
include: "workflow/rules/benchmark_judge.smk"


rule all:
    default_target: True
    input:
        "results/ranking/ranking.csv",
        "results/report/index.html",

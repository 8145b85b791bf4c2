# Takes:  the calibrated model, and real images of validation and test patients
# Gives:  results/guidance_<name>.json, results/<name>/guidance.svg: what guidance gains in labels and loses in distance;
#         results/<name>/guidance_chosen.npy and .csv: the fresh samples at the chosen scale, and what they were asked for
# A job a scale (guidance.scales): a cluster runs them side by side.


rule synthesise_guided:
    input:
        model="results/{name}/model.safetensors",
        table=images(".csv"),
    output:
        samples="results/{name}/guidance_{scale}.npy",
        record="results/{name}/guidance_{scale}.record.json",
    log:
        "logs/synthesise_guided/{name}_{scale}.log",
    benchmark:
        "benchmarks/synthesise_guided/{name}_{scale}.tsv"
    wildcard_constraints:
        scale="[0-9.]+",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("synthesise_guided"),
    shell:
        "python -m scansynth.synthesise_guided --settings {params.settings:q} --scale {wildcards.scale}"
        " --model {input.model} --table {input.table}"
        " --samples {output.samples} 2>&1 | tee {log}"


rule guidance:
    input:
        **STORE,
        model="results/{name}/model.safetensors",
        weights="results/{name}/probe.safetensors",
        reader="results/{name}/reader.safetensors",
        swept=swept,
        segmenter=segmenter,
    output:
        report="results/guidance_{name}.json",
        plot="results/{name}/guidance.svg",
        samples="results/{name}/guidance_chosen.npy",
        conditions="results/{name}/guidance_chosen.csv",
        record="results/guidance_{name}.record.json",
    log:
        "logs/guidance/{name}.log",
    benchmark:
        "benchmarks/guidance/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("evaluate.guidance"),
    shell:
        "python -m scansynth.evaluate.guidance --settings {params.settings:q}"
        + options([*STORE, "model", "weights", "reader", "swept", "segmenter"])
        + " --report {output.report} --plot {output.plot}"
        " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"

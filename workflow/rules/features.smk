# Takes:  the image store, the samples and the baselines of the experiment
# Gives:  results/<name>/features.npz: all sets of images in each feature space, in which the distances are measured


# Where extract.extractors names it, and extract.inception names no file.
rule inception_weights:
    output:
        weights="data/weights/inception-2015-12-05.pth",
    log:
        "logs/inception_weights.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=500,
        runtime=60,
    params:
        settings="{}",
        code=code("acquire.weights"),
    shell:
        "python -m scansynth.acquire.weights --settings {params.settings:q}"
        " --weights {output.weights} 2>&1 | tee {log}"


rule probe:
    input:
        **STORE,
    output:
        weights="results/{name}/probe.safetensors",
        record="results/{name}/probe.record.json",
    log:
        "logs/probe/{name}.log",
    benchmark:
        "benchmarks/probe/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("evaluate.probe"),
        code=code("evaluate.probe"),
    shell:
        "python -m scansynth.evaluate.probe --settings {params.settings:q}"
        + options(STORE)
        + " --weights {output.weights} 2>&1 | tee {log}"


rule features:
    input:
        **SETS,
        weights="results/{name}/probe.safetensors",
        inception=inception_weights,
        xrv=xrv_weights,
    output:
        features="results/{name}/features.npz",
        record="results/{name}/features.record.json",
    log:
        "logs/features/{name}.log",
    benchmark:
        "benchmarks/features/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=settings("evaluate.features"),
        code=code("evaluate.features"),
    shell:
        "python -m scansynth.evaluate.features --settings {params.settings:q}"
        + options([*SETS, "weights", "inception", "xrv"])
        + " --features {output.features} 2>&1 | tee {log}"

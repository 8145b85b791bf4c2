# Takes:  the image store, the samples and the baselines of the experiment
# Gives:  results/<name>/features.npz: all sets of images in each feature space, in which the distances are measured
# The images are shared out over as many jobs as `--set-scatter features=N` says; any number gives the same bytes.


scattergather:
    features=1,


# Where extract.extractors names it, and extract.inception names no file.
rule inception_weights:
    output:
        weights="data/weights/inception-2015-12-05.pth",
    log:
        "logs/inception_weights.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(500),
        runtime=60,
    params:
        settings="{}",
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
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("evaluate.probe"),
    shell:
        "python -m scansynth.evaluate.probe --settings {params.settings:q}"
        + options(STORE)
        + " --weights {output.weights} 2>&1 | tee {log}"


EXTRACTED = {
    **SETS,
    "weights": "results/{name}/probe.safetensors",
    "inception": inception_weights,
    "xrv": xrv_weights,
}


rule extract:
    input:
        **EXTRACTED,
    output:
        features=temp("results/{name}/features_shards/{scatteritem}.npz"),
        record=temp("results/{name}/features_shards/{scatteritem}.record.json"),
    log:
        "logs/extract/{name}_{scatteritem}.log",
    benchmark:
        "benchmarks/extract/{name}_{scatteritem}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        settings=settings("evaluate.extract"),
    shell:
        "python -m scansynth.evaluate.extract --settings {params.settings:q} --shard {wildcards.scatteritem}"
        + options(EXTRACTED)
        + " --features {output.features} 2>&1 | tee {log}"


rule features:
    input:
        **EXTRACTED,
        shards=gather.features("results/{{name}}/features_shards/{scatteritem}.npz"),
        records=gather.features(
            "results/{{name}}/features_shards/{scatteritem}.record.json"
        ),
    output:
        features="results/{name}/features.npz",
        record="results/{name}/features.record.json",
    log:
        "logs/features/{name}.log",
    benchmark:
        "benchmarks/features/{name}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("evaluate.features"),
    shell:
        "python -m scansynth.evaluate.features --settings {params.settings:q}"
        + options([*EXTRACTED, "shards"])
        + " --features {output.features} 2>&1 | tee {log}"

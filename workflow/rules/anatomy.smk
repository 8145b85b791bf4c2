# Takes:  the images, the samples and the baselines
# Gives:  results/anatomy_<name>.json, results/<name>/anatomy.svg: whether the anatomy is right, and the labels to be seen


rule reader:
    input:
        **STORE,
    output:
        weights="results/{name}/reader.safetensors",
        record="results/{name}/reader.record.json",
    log:
        "logs/reader/{name}.log",
    benchmark:
        "benchmarks/reader/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("evaluate.reader"),
    shell:
        "python -m scansynth.evaluate.reader --settings {params.settings:q}"
        + options(STORE)
        + " --weights {output.weights} 2>&1 | tee {log}"


rule segmenter:
    output:
        weights="results/{name}/segmenter.safetensors",
        record="results/{name}/segmenter.record.json",
    log:
        "logs/segmenter/{name}.log",
    benchmark:
        "benchmarks/segmenter/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("evaluate.segmenter"),
    shell:
        "python -m scansynth.evaluate.segmenter --settings {params.settings:q}"
        " --weights {output.weights} 2>&1 | tee {log}"


rule anatomy:
    input:
        **SETS,
        reader="results/{name}/reader.safetensors",
        segmenter=segmenter,
    output:
        report="results/anatomy_{name}.json",
        picture="results/{name}/anatomy.svg",
        record="results/anatomy_{name}.record.json",
    log:
        "logs/anatomy/{name}.log",
    benchmark:
        "benchmarks/anatomy/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("evaluate.anatomy"),
    shell:
        "python -m scansynth.evaluate.anatomy --settings {params.settings:q}"
        + options([*SETS, "reader", "segmenter"])
        + " --report {output.report} --picture {output.picture} 2>&1 | tee {log}"

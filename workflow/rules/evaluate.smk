# Takes:  real images, samples, and the samples of the baselines
# Gives:  results/fid_<name>.json and is_<name>.json, and the pictures without which no figure is to be read


rule probe:
    input:
        pixels=images(".npy"),
        table=images(".csv"),
        manifest=images(".json"),
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
        " --pixels {input.pixels} --table {input.table} --manifest {input.manifest}"
        " --weights {output.weights} 2>&1 | tee {log}"


rule features:
    input:
        pixels=images(".npy"),
        table=images(".csv"),
        manifest=images(".json"),
        samples="results/{name}/samples.npy",
        pca="results/{name}/pca.npy",
        untrained="results/{name}/untrained.npy",
        weights="results/{name}/probe.safetensors",
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
        runtime=60,
    params:
        settings=settings("evaluate.features"),
        code=code("evaluate.features"),
    shell:
        "python -m scansynth.evaluate.features --settings {params.settings:q}"
        " --pixels {input.pixels} --table {input.table} --manifest {input.manifest}"
        " --samples {input.samples} --pca {input.pca} --untrained {input.untrained} --weights {input.weights}"
        " --features {output.features} 2>&1 | tee {log}"


rule picture:
    input:
        pixels=images(".npy"),
        table=images(".csv"),
        manifest=images(".json"),
        samples="results/{name}/samples.npy",
        conditions="results/{name}/samples.csv",
        metrics="results/{name}/train.jsonl",
    output:
        grid="results/{name}/samples.png",
        loss="results/{name}/loss.svg",
        record="results/{name}/loss.record.json",
    log:
        "logs/picture/{name}.log",
    benchmark:
        "benchmarks/picture/{name}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings("evaluate.picture"),
        code=code("evaluate.picture"),
    shell:
        "python -m scansynth.evaluate.picture --settings {params.settings:q}"
        " --pixels {input.pixels} --table {input.table} --manifest {input.manifest}"
        " --samples {input.samples} --conditions {input.conditions} --metrics {input.metrics}"
        " --grid {output.grid} --loss {output.loss} 2>&1 | tee {log}"


rule fid:
    input:
        features="results/{name}/features.npz",
        manifest=images(".json"),
        # A figure is not to be had without the images that it is about.
        pictures=rules.picture.output,
        sheet=images("_sheet.png"),
    output:
        distances="results/fid_{name}.json",
        record="results/fid_{name}.record.json",
    log:
        "logs/fid/{name}.log",
    benchmark:
        "benchmarks/fid/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("evaluate.fid"),
        code=code("evaluate.fid"),
    shell:
        "python -m scansynth.evaluate.fid --settings {params.settings:q}"
        " --features {input.features} --manifest {input.manifest}"
        " --distances {output.distances} 2>&1 | tee {log}"


rule inception_score:
    input:
        features="results/{name}/features.npz",
        manifest=images(".json"),
    output:
        scores="results/is_{name}.json",
        record="results/is_{name}.record.json",
    log:
        "logs/inception_score/{name}.log",
    benchmark:
        "benchmarks/inception_score/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("evaluate.inception_score"),
        code=code("evaluate.inception_score"),
    shell:
        "python -m scansynth.evaluate.inception_score --settings {params.settings:q}"
        " --features {input.features} --manifest {input.manifest}"
        " --scores {output.scores} 2>&1 | tee {log}"

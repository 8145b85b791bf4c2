# Takes:  the images, the samples, the baselines and their features
# Gives:  results/<name>/samples.png, loss.svg, memorization.png: to look at
#         results/fid_<name>.json, is_, coverage_, diversity_, memorization_, likelihood_: one figure a file, with what it is held against


rule picture:
    input:
        **STORE,
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
        mem_mb=memory(1000),
        runtime=10,
    params:
        settings=settings("evaluate.picture"),
    shell:
        "python -m scansynth.evaluate.picture --settings {params.settings:q}"
        + options([*STORE, "samples", "conditions", "metrics"])
        + " --grid {output.grid} --loss {output.loss} 2>&1 | tee {log}"


rule memorization:
    input:
        **SETS,
        weights="results/{name}/probe.safetensors",
    output:
        report="results/memorization_{name}.json",
        pairs="results/{name}/memorization.png",
        record="results/memorization_{name}.record.json",
    log:
        "logs/memorization/{name}.log",
    benchmark:
        "benchmarks/memorization/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("evaluate.memorization"),
    shell:
        "python -m scansynth.evaluate.memorization --settings {params.settings:q}"
        + options([*SETS, "weights"])
        + " --report {output.report} --pairs {output.pairs} 2>&1 | tee {log}"


rule fid:
    input:
        features="results/{name}/features.npz",
        manifest=images(".json"),
        copies="results/memorization_{name}.json",
        # A figure is not to be had without the images that it is about; it is not made from their pictures.
        pictures=ancient(rules.picture.output),
        sheet=ancient(images("_sheet.png")),
    output:
        distances="results/fid_{name}.json",
        record="results/fid_{name}.record.json",
    log:
        "logs/fid/{name}.log",
    benchmark:
        "benchmarks/fid/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        settings=settings("evaluate.fid"),
    shell:
        "python -m scansynth.evaluate.fid --settings {params.settings:q}"
        + options(["features", "manifest", "copies"])
        + " --distances {output.distances} 2>&1 | tee {log}"


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
    threads: CORES
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        settings=settings("evaluate.inception_score"),
    shell:
        "python -m scansynth.evaluate.inception_score --settings {params.settings:q}"
        + options(["features", "manifest"])
        + " --scores {output.scores} 2>&1 | tee {log}"


rule coverage:
    input:
        features="results/{name}/features.npz",
        manifest=images(".json"),
    output:
        coverage="results/coverage_{name}.json",
        record="results/coverage_{name}.record.json",
    log:
        "logs/coverage/{name}.log",
    benchmark:
        "benchmarks/coverage/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        settings=settings("evaluate.coverage"),
    shell:
        "python -m scansynth.evaluate.coverage --settings {params.settings:q}"
        + options(["features", "manifest"])
        + " --coverage {output.coverage} 2>&1 | tee {log}"


rule diversity:
    input:
        **SETS,
        weights="results/{name}/probe.safetensors",
    output:
        diversity="results/diversity_{name}.json",
        record="results/diversity_{name}.record.json",
    log:
        "logs/diversity/{name}.log",
    benchmark:
        "benchmarks/diversity/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        settings=settings("evaluate.diversity"),
    shell:
        "python -m scansynth.evaluate.diversity --settings {params.settings:q}"
        + options([*SETS, "weights"])
        + " --diversity {output.diversity} 2>&1 | tee {log}"


rule likelihood:
    input:
        **STORE,
        model="results/{name}/trained.safetensors",  # how samples are drawn doesn't matter
    output:
        likelihood="results/likelihood_{name}.json",
        record="results/likelihood_{name}.record.json",
    log:
        "logs/likelihood/{name}.log",
    benchmark:
        "benchmarks/likelihood/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(6000),
        runtime=120,
    params:
        settings=settings("evaluate.likelihood"),
    shell:
        "python -m scansynth.evaluate.likelihood --settings {params.settings:q}"
        + options([*STORE, "model"])
        + " --likelihood {output.likelihood} 2>&1 | tee {log}"


FIGURES = {
    key: f"results/{key}_{{name}}.json"
    for key in ("fid", "coverage", "memorization", "likelihood", "anatomy")
}


rule figures:
    input:
        **FIGURES,
    output:
        figures="results/figures_{name}.json",
        record="results/figures_{name}.record.json",
    log:
        "logs/figures/{name}.log",
    benchmark:
        "benchmarks/figures/{name}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        settings=settings("evaluate.figures"),
    shell:
        "python -m scansynth.evaluate.figures --settings {params.settings:q}"
        + options(FIGURES)
        + " --figures {output.figures} 2>&1 | tee {log}"

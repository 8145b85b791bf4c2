# Takes:  the image store of the experiment, and its model
# Gives:  results/augmentation_<name>.json, .csv, results/<name>/augmentation.svg: whether synthetic images help a classifier
#         results/<name>/subsets/<fraction>/: the store of a fraction of the training patients, a generator that has seen
#         them alone, calibrated by them, and its images
#         results/<name>/arms/<fraction>/: what each classifier says of the test patients


wildcard_constraints:
    fraction="[0-9.]+",
    arm="[a-z]+(_[0-9.]+)?(_classical)?",
    seed="[0-9]+",


rule subset:
    input:
        store=images(".npy"),
        table=images(".csv"),
        manifest=images(".json"),
    output:
        pixels="results/{name}/subsets/{fraction}/images.npy",
        rows="results/{name}/subsets/{fraction}/images.csv",
        about="results/{name}/subsets/{fraction}/images.json",
        record="results/{name}/subsets/{fraction}/images.record.json",
    log:
        "logs/subset/{name}_{fraction}.log",
    benchmark:
        "benchmarks/subset/{name}_{fraction}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        settings=settings("downstream.subset"),
    shell:
        "python -m scansynth.downstream.subset --settings {params.settings:q} --fraction {wildcards.fraction}"
        + options(["store", "table", "manifest"])
        + " --pixels {output.pixels} --rows {output.rows} --about {output.about} 2>&1 | tee {log}"


use rule train as generator with:
    input:
        **FRACTION,
    output:
        trained="results/{name}/subsets/{fraction}/trained.safetensors",
        metrics="results/{name}/subsets/{fraction}/train.jsonl",
        record="results/{name}/subsets/{fraction}/trained.record.json",
    log:
        "logs/generator/{name}_{fraction}.log",
    benchmark:
        "benchmarks/generator/{name}_{fraction}.tsv"
    params:
        settings=generator_settings,
        launcher=launcher,


use rule calibrate as calibrate_generator with:
    input:
        **FRACTION,
        trained="results/{name}/subsets/{fraction}/trained.safetensors",
    output:
        model="results/{name}/subsets/{fraction}/model.safetensors",
        record="results/{name}/subsets/{fraction}/model.record.json",
    log:
        "logs/calibrate_generator/{name}_{fraction}.log",
    benchmark:
        "benchmarks/calibrate_generator/{name}_{fraction}.tsv"


rule synthetic:
    input:
        model=generator,
        table=fraction_store(".csv"),
        manifest=fraction_store(".json"),
    output:
        samples="results/{name}/subsets/{fraction}/synthetic.npy",
        conditions="results/{name}/subsets/{fraction}/synthetic.csv",
        record="results/{name}/subsets/{fraction}/synthetic.record.json",
    log:
        "logs/synthetic/{name}_{fraction}.log",
    benchmark:
        "benchmarks/synthetic/{name}_{fraction}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        settings=settings("downstream.synthetic"),
    shell:
        "python -m scansynth.downstream.synthetic --settings {params.settings:q}"
        + options(["model", "table", "manifest"])
        + " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"


# A job each, of one thread: as many run side by side as there are cores.
rule arm:
    input:
        **FRACTION,
        samples=synthetic("synthetic.npy"),
        conditions=synthetic("synthetic.csv"),
    output:
        predictions="results/{name}/arms/{fraction}/{arm}_{seed}.npz",
        record="results/{name}/arms/{fraction}/{arm}_{seed}.record.json",
    log:
        "logs/arm/{name}_{fraction}_{arm}_{seed}.log",
    benchmark:
        "benchmarks/arm/{name}_{fraction}_{arm}_{seed}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        settings=settings("downstream.arm"),
    shell:
        "python -m scansynth.downstream.arm --settings {params.settings:q}"
        " --fraction {wildcards.fraction} --arm {wildcards.arm} --seed {wildcards.seed}"
        + options([*FRACTION, "samples", "conditions"])
        + " --predictions {output.predictions} 2>&1 | tee {log}"


rule augmentation:
    input:
        table=images(".csv"),
        manifest=images(".json"),
        arms=arms,
    output:
        report="results/augmentation_{name}.json",
        figures="results/augmentation_{name}.csv",
        plot="results/{name}/augmentation.svg",
        record="results/augmentation_{name}.record.json",
    log:
        "logs/augmentation/{name}.log",
    benchmark:
        "benchmarks/augmentation/{name}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        settings=settings("downstream.augmentation"),
    shell:
        "python -m scansynth.downstream.augmentation --settings {params.settings:q}"
        + options(["table", "manifest", "arms"])
        + " --report {output.report} --figures {output.figures} --plot {output.plot} 2>&1 | tee {log}"

# Takes:  the calibrated model, and the table of the images for the conditions to ask for
# Gives:  results/<name>/samples.npy: synthetic images; samples.csv: what each was asked to show
# The batches are shared out over as many jobs as `--set-scatter sample=N` says; any number gives the same bytes.


scattergather:
    sample=1,


rule synthesise:
    input:
        model="results/{name}/model.safetensors",
        table=images(".csv"),
    output:
        samples=temp("results/{name}/samples_shards/{scatteritem}.npy"),
        record=temp("results/{name}/samples_shards/{scatteritem}.record.json"),
    log:
        "logs/synthesise/{name}_{scatteritem}.log",
    benchmark:
        "benchmarks/synthesise/{name}_{scatteritem}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("synthesise"),
    shell:
        "python -m scansynth.synthesise --settings {params.settings:q} --shard {wildcards.scatteritem}"
        " --model {input.model} --table {input.table}"
        " --samples {output.samples} 2>&1 | tee {log}"


rule gather:
    input:
        model="results/{name}/model.safetensors",
        table=images(".csv"),
        shards=gather.sample("results/{{name}}/samples_shards/{scatteritem}.npy"),
        records=gather.sample(
            "results/{{name}}/samples_shards/{scatteritem}.record.json"
        ),
    output:
        samples="results/{name}/samples.npy",
        conditions="results/{name}/samples.csv",
        record="results/{name}/samples.record.json",
    log:
        "logs/gather/{name}.log",
    benchmark:
        "benchmarks/gather/{name}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        settings=settings("gather"),
    shell:
        "python -m scansynth.gather --settings {params.settings:q}"
        " --model {input.model} --table {input.table} --shards {input.shards}"
        " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"

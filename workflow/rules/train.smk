# Takes:  the image store of the experiment
# Gives:  results/<name>/model.safetensors: averaged and last weights; train.jsonl: the loss of each step
# A run that was killed goes on from its last checkpoint, under results/<name>/work/.


rule train:
    input:
        **STORE,
    output:
        model="results/{name}/model.safetensors",
        metrics="results/{name}/train.jsonl",
        record="results/{name}/model.record.json",
    log:
        "logs/train/{name}.log",
    benchmark:
        "benchmarks/train/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        settings=settings("train"),
        code=code("train"),
    shell:
        "python -m scansynth.train --settings {params.settings:q}"
        + options(STORE)
        + " --model {output.model} --metrics {output.metrics} 2>&1 | tee {log}"

# Takes:  the image store of the experiment
# Gives:  results/<name>/trained.safetensors: averaged and last weights; train.jsonl: the loss of each step
#         results/<name>/model.safetensors: the averaged weights, and how samples are to be drawn with them
# A run that was killed goes on from its last checkpoint, under results/<name>/work/. Where jobs have a time limit, the
# resource slice_minutes ends a slice of it sooner, and the next attempt goes on.


rule train:
    input:
        **STORE,
    output:
        trained="results/{name}/trained.safetensors",
        metrics="results/{name}/train.jsonl",
        record="results/{name}/trained.record.json",
    log:
        "logs/train/{name}.log",
    benchmark:
        "benchmarks/train/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=training_memory,
        runtime=240,
        slice_minutes="inf",
        processes=1,  # of each node; train.accumulate has to be as many as there are in all, or a larger power of two
        nodes=1,
    params:
        settings=settings("train"),
        launcher=launcher,  # derived from resources: no result depends on it
    shell:
        "export SCANSYNTH_SLICE_MINUTES=${{SCANSYNTH_SLICE_MINUTES:-{resources.slice_minutes}}};"
        " {params.launcher} -m scansynth.train --settings {params.settings:q}"
        + options(STORE)
        + " --trained {output.trained} --metrics {output.metrics} 2>&1 | tee {log}"


# A rule of its own: how samples are drawn can be changed without training anew.
rule calibrate:
    input:
        **STORE,
        trained="results/{name}/trained.safetensors",
    output:
        model="results/{name}/model.safetensors",
        record="results/{name}/model.record.json",
    log:
        "logs/calibrate/{name}.log",
    benchmark:
        "benchmarks/calibrate/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(6000),
        runtime=60,
    params:
        settings=settings("calibrate"),
    shell:
        "python -m scansynth.calibrate --settings {params.settings:q}"
        + options([*STORE, "trained"])
        + " --model {output.model} 2>&1 | tee {log}"

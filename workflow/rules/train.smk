# Takes:  the image store of the experiment
# Gives:  results/<name>/model.safetensors: averaged and last weights; train.jsonl: the loss of each step
# A run that was killed goes on from its last checkpoint, under results/<name>/work/. Where jobs have a time limit, the
# resource slice_minutes ends a slice of it sooner, and the next attempt goes on.


def launcher(wildcards, resources):
    """Python, or torchrun for the processes of a node, which srun starts on each where there are several nodes."""
    if resources.nodes > 1:
        return (
            f"srun --nodes={resources.nodes} --ntasks={resources.nodes} --cpus-per-task=$OMP_NUM_THREADS"
            f" torchrun --nnodes {resources.nodes} --nproc-per-node {resources.processes}"
            " --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname)"
        )
    if resources.processes > 1:
        # Through a file: with an address, torchrun would listen on all interfaces.
        return (
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --rdzv-backend c10d --rdzv-conf store_type=file"
            f" --nproc-per-node {resources.processes}"
        )
    return "python"


def training_memory(wildcards, attempt):
    """No more after the end of a slice, which is no lack of it."""
    log = Path("logs", "train", f"{wildcards.name}.log")
    sliced = log.exists() and "the same command goes on from there" in log.read_text()
    return memory(6000)(wildcards, 1 if sliced else attempt)


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
        + " --model {output.model} --metrics {output.metrics} 2>&1 | tee {log}"

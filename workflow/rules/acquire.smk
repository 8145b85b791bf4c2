# Takes:  nothing (phantoms), or the folder that the experiment's data.root names
# Gives:  data/raw/<dataset>/files, as upstream lays it out, with source.json and inventory.csv


def supplied_files(wildcards):
    """Names, sizes and times of the files of a supplied folder: a change there makes the inventory anew."""
    return explained(EXPERIMENTS.supplied_files, wildcards.dataset)


rule acquire:
    output:
        source="data/raw/{dataset}/source.json",
        inventory="data/raw/{dataset}/inventory.csv",
        record="data/raw/{dataset}/source.record.json",
    log:
        "logs/acquire/{dataset}.log",
    benchmark:
        "benchmarks/acquire/{dataset}.tsv"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=shared_settings("acquire"),
        code=code("acquire"),
        supplied=supplied_files,
    shell:
        "python -m scansynth.acquire --settings {params.settings:q}"
        " --source {output.source} 2>&1 | tee {log}"

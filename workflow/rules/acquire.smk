# Takes:  nothing (phantoms), or the folder that the experiment's data.root names
# Gives:  data/raw/<dataset>/files, as upstream lays it out, with source.json and inventory.csv


rule acquire:
    output:
        source="data/raw/{dataset}/source.json",
        inventory="data/raw/{dataset}/inventory.csv",
        record="data/raw/{dataset}/source.record.json",
    log:
        "logs/acquire/{dataset}.log",
    benchmark:
        "benchmarks/acquire/{dataset}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        settings=shared_settings("acquire"),
    shell:
        "python -m scansynth.acquire --settings {params.settings:q}"
        " --source {output.source} 2>&1 | tee {log}"

# Takes:  data/raw/<dataset>/
# Gives:  data/images/<dataset>_<size>.npy, .csv and .json: normalised images, their table, and how they were made


rule prepare:
    input:
        source="data/raw/{dataset}/source.json",
        inventory="data/raw/{dataset}/inventory.csv",
    output:
        pixels="data/images/{dataset}_{size}.npy",
        table="data/images/{dataset}_{size}.csv",
        manifest="data/images/{dataset}_{size}.json",
        record="data/images/{dataset}_{size}.record.json",
    log:
        "logs/prepare/{dataset}_{size}.log",
    benchmark:
        "benchmarks/prepare/{dataset}_{size}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=shared_settings("prepare"),
        code=code("prepare"),
    shell:
        "python -m scansynth.prepare --settings {params.settings:q}"
        " --source {input.source} --inventory {input.inventory}"
        " --pixels {output.pixels} --table {output.table} --manifest {output.manifest} 2>&1 | tee {log}"

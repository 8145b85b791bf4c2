# Takes:  data/raw/<dataset>/
# Gives:  data/images/<dataset>_<size>.npy, _masks.npy, .csv and .json: normalised images, their table, and how they were
#         made; _sheet.png and _histogram.svg: a look at them
# The items are shared out over as many jobs as `--set-scatter prepare=N` says; any number gives the same bytes.


scattergather:
    prepare=1,


rule listing:
    input:
        source="data/raw/{dataset}/source.json",
        inventory="data/raw/{dataset}/inventory.csv",
    output:
        listing="data/raw/{dataset}/listing.json",
        record="data/raw/{dataset}/listing.record.json",
    log:
        "logs/listing/{dataset}.log",
    benchmark:
        "benchmarks/listing/{dataset}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        settings=shared_settings("prepare.listing"),
    shell:
        "python -m scansynth.prepare.listing --settings {params.settings:q}"
        " --source {input.source} --inventory {input.inventory}"
        " --listing {output.listing} 2>&1 | tee {log}"


rule shard:
    input:
        source="data/raw/{dataset}/source.json",
        listing="data/raw/{dataset}/listing.json",
    output:
        pixels=temp("data/images/{dataset}_{size}_shards/{scatteritem}.npy"),
        masks=temp("data/images/{dataset}_{size}_shards/{scatteritem}.masks.npy"),
        table=temp("data/images/{dataset}_{size}_shards/{scatteritem}.json"),
        record=temp("data/images/{dataset}_{size}_shards/{scatteritem}.record.json"),
    log:
        "logs/shard/{dataset}_{size}_{scatteritem}.log",
    benchmark:
        "benchmarks/shard/{dataset}_{size}_{scatteritem}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        settings=shared_settings("prepare.shard"),
    shell:
        "python -m scansynth.prepare.shard --settings {params.settings:q} --shard {wildcards.scatteritem}"
        " --source {input.source} --listing {input.listing}"
        " --pixels {output.pixels} --masks {output.masks} --table {output.table} 2>&1 | tee {log}"


rule prepare:
    input:
        source="data/raw/{dataset}/source.json",
        inventory="data/raw/{dataset}/inventory.csv",
        listing="data/raw/{dataset}/listing.json",
        shards=gather.prepare(
            "data/images/{{dataset}}_{{size}}_shards/{scatteritem}.json"
        ),
        pixels=gather.prepare(
            "data/images/{{dataset}}_{{size}}_shards/{scatteritem}.npy"
        ),
        masks=gather.prepare(
            "data/images/{{dataset}}_{{size}}_shards/{scatteritem}.masks.npy"
        ),
    output:
        pixels="data/images/{dataset}_{size}.npy",
        masks="data/images/{dataset}_{size}_masks.npy",
        table="data/images/{dataset}_{size}.csv",
        manifest="data/images/{dataset}_{size}.json",
        record="data/images/{dataset}_{size}.record.json",
    log:
        "logs/prepare/{dataset}_{size}.log",
    benchmark:
        "benchmarks/prepare/{dataset}_{size}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=shared_settings("prepare"),
    shell:
        "python -m scansynth.prepare --settings {params.settings:q}"
        " --source {input.source} --inventory {input.inventory} --listing {input.listing} --shards {input.shards}"
        " --pixels {output.pixels} --masks {output.masks}"
        " --table {output.table} --manifest {output.manifest} 2>&1 | tee {log}"


rule contact_sheet:
    input:
        pixels="data/images/{dataset}_{size}.npy",
        table="data/images/{dataset}_{size}.csv",
        manifest="data/images/{dataset}_{size}.json",
    output:
        sheet="data/images/{dataset}_{size}_sheet.png",
        histogram="data/images/{dataset}_{size}_histogram.svg",
        record="data/images/{dataset}_{size}_sheet.record.json",
    log:
        "logs/contact_sheet/{dataset}_{size}.log",
    benchmark:
        "benchmarks/contact_sheet/{dataset}_{size}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        settings=shared_settings("prepare.contact_sheet"),
    shell:
        "python -m scansynth.prepare.contact_sheet --settings {params.settings:q}"
        " --pixels {input.pixels} --table {input.table} --manifest {input.manifest}"
        " --sheet {output.sheet} --histogram {output.histogram} 2>&1 | tee {log}"

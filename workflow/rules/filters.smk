# Takes:  the samples, the images, and the networks that look for copies and read labels
# Gives:  results/<name>/filtered.npy, filtered.csv: the samples that the section `filters` lets pass; refused.csv: the rest, and why
#         results/filters_<name>.json: how many each filter refuses, by class, and how many real images it would


rule filters:
    input:
        **STORE,
        samples="results/{name}/samples.npy",
        conditions="results/{name}/samples.csv",
        weights="results/{name}/probe.safetensors",
        reader="results/{name}/reader.safetensors",
    output:
        report="results/filters_{name}.json",
        filtered="results/{name}/filtered.npy",
        kept="results/{name}/filtered.csv",
        refused="results/{name}/refused.csv",
        record="results/filters_{name}.record.json",
    log:
        "logs/filters/{name}.log",
    benchmark:
        "benchmarks/filters/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("evaluate.filters"),
    shell:
        "python -m scansynth.evaluate.filters --settings {params.settings:q}"
        + options([*STORE, "samples", "conditions", "weights", "reader"])
        + " --report {output.report} --filtered {output.filtered}"
        " --kept {output.kept} --refused {output.refused} 2>&1 | tee {log}"

# Takes:  the image store of the experiment
# Gives:  results/<name>/pca.npy and untrained.npy: what the trained model has to beat, in the form of its samples


rule pca:
    input:
        **STORE,
    output:
        samples="results/{name}/pca.npy",
        conditions="results/{name}/pca.csv",
        record="results/{name}/pca.record.json",
    log:
        "logs/pca/{name}.log",
    benchmark:
        "benchmarks/pca/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        settings=settings("baselines.pca"),
    shell:
        "python -m scansynth.baselines.pca --settings {params.settings:q}"
        + options(STORE)
        + " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"


rule untrained:
    input:
        **STORE,
    output:
        samples="results/{name}/untrained.npy",
        conditions="results/{name}/untrained.csv",
        record="results/{name}/untrained.record.json",
    log:
        "logs/untrained/{name}.log",
    benchmark:
        "benchmarks/untrained/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("baselines.untrained"),
    shell:
        "python -m scansynth.baselines.untrained --settings {params.settings:q}"
        + options(STORE)
        + " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"

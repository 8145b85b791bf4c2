# Takes:  real images alone
# Gives:  results/sensitivity_<name>.json, .csv, .svg: which figure sees which damage


rule sensitivity:
    input:
        **STORE,
        weights="results/{name}/probe.safetensors",
        reader="results/{name}/reader.safetensors",
        segmenter=segmenter,
        inception=inception_weights,
        xrv=xrv_weights,
    output:
        report="results/sensitivity_{name}.json",
        responses="results/sensitivity_{name}.csv",
        plot="results/sensitivity_{name}.svg",
        record="results/sensitivity_{name}.record.json",
    log:
        "logs/sensitivity/{name}.log",
    benchmark:
        "benchmarks/sensitivity/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        settings=settings("evaluate.sensitivity"),
    shell:
        "python -m scansynth.evaluate.sensitivity --settings {params.settings:q}"
        + options([*STORE, "weights", "reader", "segmenter", "inception", "xrv"])
        + " --report {output.report} --responses {output.responses} --plot {output.plot} 2>&1 | tee {log}"

# Takes:  the trained model, and the table of the images for the conditions to ask for
# Gives:  results/<name>/samples.npy: synthetic images; samples.csv: what each was asked to show


rule sample:
    input:
        model="results/{name}/model.safetensors",
        table=images(".csv"),
    output:
        samples="results/{name}/samples.npy",
        conditions="results/{name}/samples.csv",
        record="results/{name}/samples.record.json",
    log:
        "logs/sample/{name}.log",
    benchmark:
        "benchmarks/sample/{name}.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=settings("sample"),
        code=code("sample"),
    shell:
        "python -m scansynth.sample --settings {params.settings:q}"
        " --model {input.model} --table {input.table}"
        " --samples {output.samples} --conditions {output.conditions} 2>&1 | tee {log}"

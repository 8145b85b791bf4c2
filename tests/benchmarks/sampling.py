"""Images sampled a second, beside MONAI and diffusers, and what our few evaluations of the network cost in quality.

``python tests/benchmarks/sampling.py [--store F] [--peers PYTHON] [--count 64] [--repeats 3] [--model F] [--output F]``

What is compared, and how the peers' environment is made, is told in ``peers.py``. Each draws ``--count`` images in
batches of 16: ours by DPM-Solver++ 2M with 16 evaluations of the network, the peers' by their DDIM with 50; DDPM takes
1,000, twenty times as long. The networks are untrained: the time is the same. Each measurement is a process of its own
on all cores (or the GPU), and draws one batch by two evaluations before the clock starts; the systems take turns, in
fp32 and in bf16, and a ratio is of two measurements of one round.

``--model``, a calibrated model.safetensors of ours for the store's images, is asked for ``--quality`` images by 16 and
by 250 evaluations, from the same noise: their Frechet distances to the held-out images, and the few's over 250's.

Writes JSON, and a plot beside it (``.png``).
"""

import json
import os
from pathlib import Path

import peers

BATCH = 16
MANY = 250  # evaluations that the few are compared with


def measure(task: str, store: Path, count: int) -> dict:
    """Images a second and seconds of one system."""
    system = peers.opened(task, store)
    system.begin()
    evaluations = peers.EVALUATIONS[task.split("/")[0]]
    system.sample(min(BATCH, count), 0, 2)
    batches = {start: min(BATCH, count - start) for start in range(0, count, BATCH)}
    seconds = peers.timed(lambda: [system.sample(size, 1 + start, evaluations) for start, size in batches.items()])
    rate = count / seconds
    return {"images_a_second": rate, "seconds": seconds, "evaluations": evaluations, "parameters": system.parameters}


def quality(path: Path, store: Path, count: int) -> dict:
    """Frechet distance to the held-out images by the number of evaluations."""
    from scansynth import model
    from scansynth.evaluate import extractors
    from scansynth.evaluate.frechet import Gaussian, frechet_distance
    from scansynth.sections import Sample
    from scansynth.store import open_store
    from scansynth.synthesise import draw_conditions, synthesise, wanted

    images = open_store(store)
    denoiser, about = model.load_calibrated(path)
    device = peers.best_device()
    denoiser = denoiser.to(device)
    denoiser.bf16 = peers.resolve_precision("auto", device) == "bf16"
    asked = wanted(about, draw_conditions(images.table, count, 0))
    extractor = extractors.make("radiomics", images, {})
    real = Gaussian.fitted(extractor.features(images.pixels[images.indices("test")]))
    found = {}
    for evaluations in (peers.EVALUATIONS["ours"], MANY):
        pixels = synthesise(denoiser, *asked, Sample(steps=evaluations, batch=BATCH))
        found[evaluations] = frechet_distance(Gaussian.fitted(extractor.features(pixels)), real)
    few, many = found.values()
    return {"images": count, "frechet_radiomics": found, "few_over_many": round(few / many, 3)}


def main() -> None:
    """Run all, print and write the figures; with ``--task``, be one measurement's process."""
    parser = peers.arguments(__doc__)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--quality", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("sampling.json"))
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.store, options.count)))
        return
    tasks = [f"{name}/{precision}" for name in peers.SYSTEMS for precision in ("fp32", "bf16")]
    found = peers.in_turns(__file__, ["--count", str(options.count)], options, tasks)
    result = peers.beside(found, "images_a_second")
    about = {"device": peers.best_device().type, "threads": options.threads, "batch": BATCH, "images": options.count}
    if options.model:
        about["quality"] = quality(options.model, options.store, options.quality)
    text = json.dumps(about | result, indent=2)
    print(text)
    options.output.write_text(text + "\n", encoding="utf-8")
    label = f"images sampled a second, {about['device']}"
    peers.draw_bars(options.output.with_suffix(".png"), result, "images_a_second", label)


if __name__ == "__main__":
    main()

"""How fast preparation is beside a bare loop of decoding and resizing, how it scales, and what memory it takes.

``python tests/benchmarks/prepare.py [--images 1000] [--many 20000] [--patches 50000] [--output FILE]``

Writes JSON: ratios (ours over the bare loop's images a second and core, paired and repeated), images a second by cores,
peak memory by number of images, and the same for an HDF5 file of PatchCamelyon's form.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
from PIL import Image
from scipy import ndimage

from scansynth.acquire.inventory import Entry
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.files import sha256
from scansynth.prepare.items import File, Item, Label, Listing, write_listing
from scansynth.prepare.listing import read_listing
from scansynth.prepare.read import read_item
from scansynth.sections import Images, Patches, Slices

DISTINCT = 100  # files; more images are links to them
SIDE, SMALL = 1024, 256  # as NIH's, and for the memory, which does not depend on it
REPEATS = 5
ABOUT = {"title": "benchmark", "licence": "", "citation": "", "address": ""}


def make_radiographs(folder: Path, side: int = SIDE) -> list[Path]:
    """PNG files with the size and about the entropy of NIH's: smooth shapes and a little noise, 8 bits."""
    files = []
    for i in range(DISTINCT):
        random = np.random.default_rng(i)
        shapes = ndimage.zoom(random.normal(0, 1, (16, 16)), side / 16, order=3)
        pixels = 128 + 45 * shapes + ndimage.gaussian_filter(random.normal(0, 6, (side, side)), 1)
        files.append(folder / f"{side}_{i:04}.png")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1])
    return files


def items(files: list[Path], count: int) -> list[Item]:
    """``count`` items of the files, again and again."""
    known = [File(file.name, file.stat().st_size, sha256(file)) for file in files]
    return [Item(f"i{i:06}", "raster", (known[i % len(known)],), Label(f"p_{i}")) for i in range(count)]


def bare(files: list[Path], size: int) -> None:
    """Decode and resize, and nothing else."""
    for file in files:
        with Image.open(file) as image:
            np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))


def per_core(folder: Path, files: list[Path], settings: Settings) -> dict:
    """Seconds of both loops over the same files on one core, in turns."""
    todo = items(files, len(files))
    ratios, seconds = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        bare(files, settings.images.size)
        middle = time.perf_counter()
        for item in todo:
            assert read_item(folder, item, settings).images
        end = time.perf_counter()
        ratios.append((middle - start) / (end - middle))
        seconds.append(end - middle)
    return {
        "images_a_second": round(len(files) / statistics.median(seconds), 1),
        "bare_loop_over_ours": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def shard(folder: Path, listing: Listing, settings: Settings, cores: int) -> dict:
    """The real stage in its own process: seconds, and the largest sum of memory over it and its workers."""
    write_listing(folder / "listing.json", listing)
    sections = settings.model_dump(mode="json", include={"dataset", "images", "slices", "patches"})
    command = [sys.executable, "-m", "scansynth.prepare.shard", "--settings", json.dumps(sections), "--shard", "1-of-1"]
    command += ["--source", "source.json", "--listing", "listing.json"]
    command += ["--pixels", "out.npy", "--masks", "out.masks.npy", "--table", "out.json"]
    (folder / "source.json").write_text("{}")
    start, peak = time.perf_counter(), 0
    environment = os.environ | {"OMP_NUM_THREADS": str(cores)}
    running = psutil.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    while running.poll() is None:
        peak = max(peak, memory(running))
        time.sleep(0.05)
    assert running.returncode == 0
    seconds = time.perf_counter() - start
    count = len(np.load(folder / "out.npy", mmap_mode="r"))
    return {"images": count, "cores": cores, "images_a_second": round(count / seconds, 1), "MiB": round(peak / 2**20)}


def memory(process: psutil.Process) -> int:
    """Bytes of a process and its children, shared pages counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def make_patches(folder: Path, count: int) -> None:
    """A file of PatchCamelyon's form."""
    with h5py.File(folder / "pcam_train_x.h5", "w") as file:
        data = file.create_dataset("x", (count, 96, 96, 3), np.uint8, chunks=(32, 96, 96, 3))
        for start in range(0, count, 1000):
            part = data[start : start + 1000]
            data[start : start + 1000] = np.random.default_rng(start).integers(0, 256, part.shape, dtype=np.uint8)
    with h5py.File(folder / "pcam_train_y.h5", "w") as file:
        file["y"] = (np.arange(count) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
    rows = [f"{i},0,0,{i % 2 == 1},{i % 2 == 1},slide_{i % 200:03}" for i in range(count)]
    header = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"
    (folder / "pcam_train_meta.csv").write_text("\n".join([header, *rows]) + "\n")


def patches(folder: Path, count: int, cores: int) -> dict:
    """The HDF5 file through the listing and the shard."""
    make_patches(folder, count)
    about = Dataset(**ABOUT, layout="patches_hdf5", findings=("Normal", "Tumour"), no_finding="Normal")
    entries = [Entry(file.name, file.stat().st_size, sha256(file)) for file in sorted(folder.glob("pcam_*"))]
    (folder / "files").symlink_to(".")
    listing = read_listing(folder, entries, about, b"key")
    settings = Settings(dataset=about, images=Images(size=96, channels="rgb"), slices=Slices(), patches=Patches())
    return shard(folder, listing, settings, cores) | {"file_MiB": round(count * 96 * 96 * 3 / 2**20)}


def main() -> None:
    """Run all, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--patches", type=int, default=50_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    about = Dataset(**ABOUT, layout="image_folder")
    settings = Settings(dataset=about, images=Images(), slices=Slices(), patches=Patches())
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "files").symlink_to(".")
        files = make_radiographs(folder)
        found = {"radiographs": f"{SIDE} x {SIDE} PNG to {settings.images.size}; by number: {SMALL} x {SMALL}"}
        found["one_core"] = per_core(folder, files, settings)
        listing = Listing(items(files, options.images))
        found["by_cores"] = [shard(folder, listing, settings, used) for used in sorted({1, cores})]
        small = make_radiographs(folder, SMALL)
        found["by_number"] = [
            shard(folder, Listing(items(small, count)), settings, cores) for count in (options.images, options.many)
        ]
    with tempfile.TemporaryDirectory() as scratch:
        found["patches_hdf5"] = patches(Path(scratch), options.patches, cores)
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

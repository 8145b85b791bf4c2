"""List what is to be prepared: the files of an inventory, joined with what the data set's tables say of them.

``data/raw/<dataset>/listing.json``  the items (``scansynth.prepare.items``), once for all sizes and shards. It holds
the paths of the user's folder beside the pseudonyms, so it stays with the raw data.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scansynth import stage
from scansynth.acquire import inventory
from scansynth.acquire import key as key_file
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import read_json, sha256
from scansynth.prepare import privacy, tables
from scansynth.prepare.items import Listing, write_listing
from scansynth.prepare.patients import pseudonym_key


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    stage.run("prepare.listing", work, inputs=("source", "inventory"), outputs=("listing",), argv=argv)


def work(job: stage.Job) -> None:
    """The stage.

    Raises:
        ScansynthError: if the inventory is not the one acquired, or if the layout is not as expected.
    """
    source, listed = job.inputs["source"], job.inputs["inventory"]
    facts = read_json(source)
    if sha256(listed) != facts["inventory_sha256"]:
        raise ScansynthError(f"{listed}: not the inventory that {source} speaks of: acquire the data set again")
    dataset = job.settings.dataset
    key = pseudonym_key(dataset, source.parent)
    if dataset.private and sha256(source.parent / key_file.NAME) != facts["pseudonym_key_sha256"]:
        raise ScansynthError(f"{source.parent / key_file.NAME}: not the key that {source} speaks of: put that one back")
    root, entries = source.parent / "files", inventory.read(listed)
    listing = read_listing(root, entries, dataset, key)
    if dataset.private:
        words = privacy.telling(tables.patients_of(root, entries))
        listing = replace(listing, identifiers=listing.identifiers | words)
    names = {item.name for item in listing.items}
    if len(names) < len(listing.items):
        raise ScansynthError(f"{root}: two items would have one name; this is an error of the layout")
    write_listing(job.outputs["listing"], listing)
    job.facts |= {"items": len(listing.items), "rejected": len(listing.rejected)}


def read_listing(root: Path, entries: Sequence[inventory.Entry], dataset: Dataset, key: bytes) -> Listing:
    """What the data set's layout makes of the files in ``root``.

    Raises:
        ScansynthError: if the layout is not as expected.
    """
    match dataset.layout:
        case "nih":
            from scansynth.prepare.layouts.nih import read_listing as read
        case "rsna":
            from scansynth.prepare.layouts.rsna import read_listing as read
        case "medmnist":
            from scansynth.prepare.layouts.medmnist import read_listing as read
        case "ixi":
            from scansynth.prepare.layouts.ixi import read_listing as read
        case "brats":
            from scansynth.prepare.layouts.brats import read_listing as read
        case "dicom_folder":
            from scansynth.prepare.layouts.dicom_folder import read_listing as read
        case "nifti_folder":
            from scansynth.prepare.layouts.nifti_folder import read_listing as read
        case "image_folder":
            from scansynth.prepare.layouts.image_folder import read_listing as read
        case "patches_hdf5":
            from scansynth.prepare.layouts.patches_hdf5 import read_listing as read
        case "slides":
            from scansynth.prepare.layouts.slides import read_listing as read
    return read(root, entries, dataset, key)


if __name__ == "__main__":
    main()

"""Where the files of a data set lie in its folder: what is listed, hashed and later read."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from scansynth.errors import ScansynthError


@dataclass(frozen=True)
class Layout:
    """The paths, relative to the data set's folder, that a layout reads: regular expressions, whatever the case."""

    expected: str  # what to tell a user whose folder holds no image
    images: str
    tables: str


NONE = r"$^"  # matches nothing
_LABELS = "  labels.csv    if you have labels: file, and any of patient, findings, view, sex, age, split"

LAYOUTS = {
    "nih": Layout(
        """\
  Data_Entry_2017_v2020.csv               the table (or Data_Entry_2017.csv); without it images have no labels
  train_val_list.txt, test_list.txt       the official split, if you want it
  images/                                 the images (.png, .jpg, .dcm), or, as the archives unpack,
  images_001/images/ ...                  one folder an archive""",
        # Three digits, so that neighbours such as images_64 or images_1024 are left out.
        r"(images_\d{3}/)?images/[^/]+\.(png|jpe?g|dcm)",
        r"Data_Entry_2017[^/]*\.csv|train_val_list\.txt|test_list\.txt",
    ),
    "rsna": Layout(
        """\
  stage_2_train_images/*.dcm              the radiographs
  stage_2_train_labels.csv                the boxes and targets
  stage_2_detailed_class_info.csv         the classes""",
        r"stage_2_(train|test)_images/[^/]+\.dcm",
        r"stage_2_(train_labels|detailed_class_info)\.csv",
    ),
    "medmnist": Layout(
        "  chestmnist_128.npz or another of MedMNIST's files, one only", r"[a-z]+mnist(_\d+)?\.npz", NONE
    ),
    "ixi": Layout(
        """\
  IXI002-Guys-0828-T1.nii.gz ...          the volumes, in any folder
  IXI.csv or participants.csv             sex and age, if you have them""",
        r"(.*/)?IXI\d+-[^/]+-(T1|T2|PD)\.nii(\.gz)?",
        r"(IXI|participants)\.csv",
    ),
    "brats": Layout(
        "  BraTS2021_00000/BraTS2021_00000_t1.nii.gz ...   a folder a case, as 2020, 2021 or 2023 named them",
        r"(.*/)?BraTS[^/]+/[^/]+\.nii(\.gz)?",
        NONE,
    ),
    "dicom_folder": Layout(
        f"  DICOM files of any name in any folder\n{_LABELS}",
        # With DICOM's suffixes, a number (a UID's last) or none; media directories and viewers on a disc are no images.
        r"(.*/)?(?!DICOMDIR$)([^/.]+|[^/]+\.(dcm|dicom|dc3|ima|\d+))",
        r"labels\.csv",
    ),
    "nifti_folder": Layout(
        f"  NIfTI volumes (.nii, .nii.gz) or .mgz, in any folder\n{_LABELS}", r".*\.(nii|nii\.gz|mgz)", r"labels\.csv"
    ),
    "image_folder": Layout(
        f"  images (.png, .jpg, .tif), in a folder a class or as labels.csv says\n{_LABELS}",
        r".*\.(png|jpe?g|tiff?)",
        r"labels\.csv",
    ),
    "patches_hdf5": Layout(
        """\
  ..._train_x.h5, ..._train_y.h5          patches and labels (.h5 or .h5.gz); likewise valid and test
  ..._train_meta.csv                      the slide of each patch, without which slides are not kept apart""",
        r"[^/]+_(train|valid|test)_x\.h5(\.gz)?",
        r"[^/]+_(train|valid|test)_(y\.h5(\.gz)?|meta\.csv)",
    ),
    "slides": Layout(
        f"  slides (.svs, .tif, .ndpi, .mrxs, ...), in any folder, with annotations (.xml of the same name)\n{_LABELS}",
        r".*\.(svs|tiff?|ndpi|mrxs|scn|bif|vms|svslide)",
        r"(.*/)?[^/]+\.xml|labels\.csv",
    ),
}


def find_files(root: Path, layout: str) -> list[Path]:
    """The files below ``root`` that the layout reads, its tables among them, sorted by relative path.

    Names that begin with a dot are left out, such as the ``._name`` files that macOS leaves in archives.

    Raises:
        ScansynthError: if there is no image.
        OSError: if a folder cannot be read.
    """
    known = LAYOUTS[layout]
    files = list(_walk(root))
    images = _matching(files, root, known.images)
    if not images:
        raise ScansynthError(f"{root}: no image found. It holds {_content(root)}. Expected there:\n{known.expected}")
    return sorted({*images, *_matching(files, root, known.tables)}, key=lambda file: file.relative_to(root).as_posix())


def find_tables(root: Path, layout: str) -> list[Path]:
    """The tables among them, in the folder itself."""
    return sorted(_matching([file for file in root.iterdir() if file.is_file()], root, LAYOUTS[layout].tables))


def _matching(files: Iterable[Path], root: Path, pattern: str) -> list[Path]:
    matches = re.compile(pattern, re.IGNORECASE).fullmatch
    return [file for file in files if matches(file.relative_to(root).as_posix())]


def _walk(root: Path) -> Iterator[Path]:
    """All files below ``root``, links to folders followed, each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in files if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _content(root: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in islice(root.iterdir(), 1000))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"

"""Where the files of a data set lie in its folder: what is listed, hashed and later read."""

from itertools import islice
from pathlib import Path

from scansynth.errors import ScansynthError

IMAGES = (".png", ".jpg", ".jpeg", ".dcm")

EXPECTED = f"""\
  Data_Entry_2017_v2020.csv    the table (or Data_Entry_2017.csv); without it images have no labels
  images/                      the images ({", ".join(IMAGES)}), or, as the archives unpack,
  images_001/images/ ...       one folder an archive"""


def find_files(root: Path) -> list[Path]:
    """The files below ``root`` that the NIH layout reads, the table among them, sorted by relative path.

    The numbered folders have three digits, so that neighbours such as ``images_64`` or ``images_1024`` are left out.

    Raises:
        ScansynthError: if there is no image, or more than one table.
    """
    folders = [root / "images", *root.glob("images_[0-9][0-9][0-9]/images")]
    images = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if is_image(file)]
    if not images:
        raise ScansynthError(f"{root}: no image found. It holds {_content(root)}. Expected there:\n{EXPECTED}")
    tables = sorted(root.glob("Data_Entry_2017*.csv"))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise ScansynthError(f"{root}: {len(tables)} tables ({names}): keep the one that is meant, move away the other")
    return sorted(images + tables, key=lambda file: file.relative_to(root).as_posix())


def is_image(file: Path) -> bool:
    """Whether the name is that of an image; the ``._name`` files that macOS leaves in archives are none."""
    return file.suffix.lower() in IMAGES and not file.name.startswith(".")


def _content(root: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in islice(root.iterdir(), 1000))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"

"""Which of a registered data set's files to fetch, and what to do with them."""

from pathlib import Path

from scansynth.acquire.archives import unpack
from scansynth.acquire.download import Remote, fetch, read_checksums
from scansynth.dataset import Catalogue, Dataset, Download
from scansynth.errors import ScansynthError
from scansynth.files import write_text
from scansynth.sections import Data


def chosen(dataset: Dataset, data: Data, folder: Path) -> list[Download]:
    """What ``data.parts`` names, or what a start needs where it names nothing.

    Parts that are not registered are looked up in upstream's lists of checksums, which are fetched into ``folder``.

    Raises:
        ScansynthError: if a part is not known, or none is named and none goes without saying.
    """
    offered = [*dataset.downloads, *(_catalogue(dataset.catalogue, folder) if dataset.catalogue else [])]
    names = list(dict.fromkeys(download.name for download in offered))
    parts = data.parts or tuple(download.name for download in dataset.downloads if download.default)
    unknown = [part for part in parts if part not in names]
    if unknown or not parts:
        found = f"data.parts names {', '.join(unknown)}" if unknown else "data.parts names nothing"
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise ScansynthError(f"{data.dataset}: {found}; {dataset.title} offers: {shown}")
    return [download for download in offered if download.name in parts]


def obtain(download: Download, files: Path, folder: Path) -> Path:
    """Fetch a file, or fetch an archive to ``folder`` and unpack it, unless that is done; where it is below ``files``.

    What was unpacked is noted beside the archive, which may be deleted then.
    """
    remote = Remote(download.url, download.file, download.hash, download.bytes)
    if download.folder is None:
        return fetch(remote, files)
    target, note = files / download.folder, folder / f"{download.file}.unpacked"
    made_of = download.hash or download.url
    if target.is_dir() and note.is_file() and note.read_text(encoding="utf-8") == made_of:
        return target
    archive = fetch(remote, folder)
    if target.is_dir():
        raise ScansynthError(f"{target}: not made of {archive.name} as registered: move it away, and start again")
    write_text(note, made_of)  # before: the folder appears whole, so that no kill leaves it without its note
    unpack(archive, target)
    return target


def _catalogue(catalogue: Catalogue, folder: Path) -> list[Download]:
    listed = []
    for path in catalogue.checksums:
        file = fetch(Remote(catalogue.url + path, path, None, None), folder)
        try:
            checksums = read_checksums(file.read_text(encoding="utf-8"))
        except (ScansynthError, UnicodeDecodeError) as error:
            raise ScansynthError(f"{file}: not a list of checksums ({error}): delete it, and start again") from None
        base = path.rpartition("/")[0]
        for name, checksum in checksums.items():
            part = f"{base}/{name.removeprefix('./')}"
            listed.append(Download(name=part, url=catalogue.url + part, file=part, hash=checksum))
    return listed

"""The registration of a data set: ``config/datasets/<name>.yaml``."""

from typing import Literal

from pydantic import Field, PositiveInt

from scansynth.sections import Section


class Download(Section):
    """A file that upstream offers."""

    name: str = Field(description="What data.parts calls it; files that belong together have one name.")
    url: str = Field(description="Its address.")
    file: str = Field(description="Its path below the data set's folder.")
    hash: str | None = Field(None, description="md5:... or sha256:...; null where upstream publishes none.")
    bytes: PositiveInt | None = Field(None, description="Its size, where upstream publishes it.")
    folder: str | None = Field(None, description="Where an archive is unpacked to; null: the file is used as it is.")
    default: bool = Field(True, description="Whether it is fetched where data.parts names nothing.")


class Catalogue(Section):
    """A bucket of files, too many to list here, with upstream's own lists of checksums (md5sum's form)."""

    url: str = Field(description="The address that the files' paths are appended to.")
    checksums: tuple[str, ...] = Field(description="Paths of the lists; the files in them are relative to the list.")


class Dataset(Section):
    """A source of images, as ``config/datasets/<name>.yaml`` registers it."""

    title: str = Field(description="Name of the data set, as a reader knows it.")
    layout: Literal[
        "nih",
        "rsna",
        "medmnist",
        "ixi",
        "brats",
        "dicom_folder",
        "nifti_folder",
        "image_folder",
        "patches_hdf5",
        "slides",
    ] = Field(description="How files and labels lie in the folder.")
    phantom: Literal["chest", "brain", "tissue"] | None = Field(
        None, description="The phantoms to compute; null: the images are real."
    )
    downloads: tuple[Download, ...] = Field((), description="What upstream offers without a login.")
    catalogue: Catalogue | None = Field(None, description="The same, where upstream lists the files itself.")
    how_to_get: str = Field("", description="What the user has to do where a login or a form is needed.")
    private: bool = Field(
        False, description="Patients may be identifiable: file names are not kept, and the pseudonyms' key is a secret."
    )
    split_by: Literal["patient", "subject", "slide", "study", "image"] = Field(
        "patient", description="What is kept in one split; study, image: the source does not say who is on an image."
    )
    findings: tuple[str, ...] = Field(
        (), description="The labels that the table may hold, any other one is an error; empty: those that it holds."
    )
    no_finding: str = Field("", description="The label that says that there is none of the others.")
    views: tuple[str, ...] = Field((), description="The view positions, in the same way.")
    anatomy: Literal["chest", "brain", "tissue"] | None = Field(
        None, description="What the images show, where there are measures of it."
    )
    licence: str = Field(description="The licence's name.")
    terms: str = Field("", description="What it asks of whoever uses the data.")
    citation: str = Field(description="The publication to cite.")
    address: str = Field(description="Where the data set is described.")

    @property
    def origin(self) -> Literal["phantom", "download", "supplied"]:
        """phantom: computed here, from nothing; download: fetched; supplied: a folder that the user has."""
        if self.phantom:
            return "phantom"
        return "download" if self.downloads or self.catalogue else "supplied"

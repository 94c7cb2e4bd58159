"""The slides of the Camelyon16 challenge: where they lie, what they hold, which are of no use.

    training/normal/normal_001.tif        images/{normal,tumor,test}_001.tif
    training/tumor/tumor_001.tif          annotations/{tumor,test}_001.xml
    training/lesion_annotations/*.xml     evaluation/reference.csv
    testing/images/test_001.tif
    testing/lesion_annotations/*.xml
    testing/reference.csv

On the left as the challenge gave them out, on the right as AWS and GigaDB store them. Annotations
may stay in their `lesion_annotations.zip`.
"""

import csv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from hpsearch.datasets.prepare.annotations import AnnotationFile
from hpsearch.datasets.reading import check_regular_file
from hpsearch.errors import DataError
from hpsearch.io.text import printable

_NO_TISSUE = "no usable tissue: black, blurred or empty (the paper's list)"
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(
        ("normal_027", "normal_045", "normal_108", "normal_144", "normal_150", "normal_158"),
        _NO_TISSUE,
    ),
    "normal_086": "holds a tumour, and is tumor_111 in later releases (the challenge's README)",
    "test_049": "a duplicate (the challenge's README)",
    "test_114": "its tumour is not wholly annotated (the challenge's README)",
}

Metastasis = Literal["", "macro", "micro"]

_SLIDE_FOLDERS = {
    "normal": ("training/normal", "images"),
    "tumor": ("training/tumor", "images"),
    "test": ("testing/images", "images"),
}
_ANNOTATION_FOLDERS = {
    "tumor": ("training/lesion_annotations", "annotations"),
    "test": ("testing/lesion_annotations", "annotations"),
}
_REFERENCES = ("testing/reference.csv", "evaluation/reference.csv")


@dataclass(frozen=True)
class ChallengeSlide:
    """A slide and what the challenge says of it.

    Attributes:
        name: normal_001, tumor_001, test_001.
        path: of its file.
        split: test for the challenge's test slides.
        annotation: of a slide with a tumour.
        metastasis: of a test slide with a tumour: its size, where it is known.
    """

    name: str
    path: Path
    split: Literal["train", "test"]
    annotation: AnnotationFile | None
    metastasis: Metastasis = ""

    @property
    def is_normal(self) -> bool:
        """Whether it holds no tumour."""
        return self.annotation is None


@dataclass(frozen=True)
class ReferenceRow:
    """A row of reference.csv.

    Attributes:
        is_tumour: whether the slide holds one.
        metastasis: its size.
    """

    is_tumour: bool
    metastasis: Metastasis


def find_slides(folder: Path) -> list[ChallengeSlide]:
    """Every slide below `folder` in either layout, by name, those of `LEFT_OUT` among them.

    Raises:
        DataError: a part is missing or empty, a slide with a tumour has no annotations, or a test
            slide is not in reference.csv.
    """
    if not folder.is_dir():
        raise DataError(f"{printable(folder)}: is no folder; give that of the challenge's slides")
    normal, tumour, test = (_slide_files(folder, kind) for kind in ("normal", "tumor", "test"))
    annotated = {kind: _annotation_files(folder, kind) for kind in ("tumor", "test")}
    reference = next((folder / place for place in _REFERENCES if (folder / place).exists()), None)
    if reference is None:
        what = f"holds no {' or '.join(_REFERENCES)}, which says which test slides are normal"
        raise DataError(f"{printable(folder)}: {what}; download it there")
    labels = read_reference(reference)
    slides = [ChallengeSlide(name, path, "train", None) for name, path in normal.items()]
    for name, path in tumour.items():
        slides.append(ChallengeSlide(name, path, "train", _annotation(name, annotated["tumor"])))
    for name, path in test.items():
        if name not in labels:
            what = "is not in reference.csv"
            raise DataError(f"{printable(name)}: {what}; add its row or remove the slide")
        label = labels[name]
        annotation = _annotation(name, annotated["test"]) if label.is_tumour else None
        slides.append(ChallengeSlide(name, path, "test", annotation, label.metastasis))
    return sorted(slides, key=lambda slide: slide.name)


def read_reference(path: Path) -> dict[str, ReferenceRow]:
    """What reference.csv says of each test slide, by name.

    A row is a slide's name, `Tumor` or `Normal`, and further cells, one of them `Macro` or `Micro`
    for a tumour; rows of other slides, and a header, are passed over.

    Raises:
        DataError: the file is not such a table, or says two things of a slide.
    """
    check_regular_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip().lower() for cell in cells] for cells in csv.reader(file)]
    except (csv.Error, UnicodeDecodeError) as error:
        what = f"is not a CSV file ({printable(error)})"
        raise DataError(f"{printable(path)}: {what}; download it again") from error
    labels: dict[str, ReferenceRow] = {}
    for line, cells in enumerate(rows, start=1):
        name = _slide_name(cells[0]) if cells else ""
        if not name.startswith("test_"):
            continue
        kind = cells[1] if len(cells) > 1 else ""
        if kind not in ("normal", "tumor"):
            what = f"says '{printable(kind)[:50]}' of {printable(name)[:50]}"
            raise DataError(f"{printable(path)} row {line}: {what}; write Normal or Tumor")
        sizes: list[Metastasis] = [size for size in ("macro", "micro") if size in cells[2:]]
        label = ReferenceRow(kind == "tumor", sizes[0] if sizes else "")
        if labels.setdefault(name, label) != label:
            what = f"says another thing of {printable(name)[:50]} than a row above"
            raise DataError(f"{printable(path)} row {line}: {what}; keep one")
    if not labels:
        what = "names no test slide"
        raise DataError(f"{printable(path)}: {what}; give rows such as test_001,Tumor,IDC,Macro")
    return labels


def _slide_files(folder: Path, kind: str) -> dict[str, Path]:
    for place in _SLIDE_FOLDERS[kind]:
        files = {
            name: path
            for path in sorted((folder / place).glob("*.tif"))
            if (name := _slide_name(path.name)).startswith(f"{kind}_")
        }
        if files:
            return files
    places = " or ".join(_SLIDE_FOLDERS[kind])
    what = f"holds no {kind}_*.tif in {places}"
    raise DataError(f"{printable(folder)}: {what}; download the challenge's slides there")


def _annotation_files(folder: Path, kind: str) -> dict[str, AnnotationFile]:
    for place in _ANNOTATION_FOLDERS[kind]:
        if (folder / place).is_dir():
            files = sorted((folder / place).glob("*.xml"))
            return {_slide_name(file.name): AnnotationFile(file) for file in files}
        if (archive := folder / f"{place}.zip").exists():
            check_regular_file(archive)
            try:
                with zipfile.ZipFile(archive) as opened:
                    members = [PurePosixPath(member) for member in opened.namelist()]
            except (OSError, zipfile.BadZipFile) as error:
                what = f"is not a zip file ({printable(error)})"
                raise DataError(f"{printable(archive)}: {what}; download it again") from error
            return {
                _slide_name(member.name): AnnotationFile(archive, str(member))
                for member in members
                if member.suffix.lower() == ".xml"
            }
    places = " or ".join(_ANNOTATION_FOLDERS[kind])
    what = f"holds no annotations in {places}"
    raise DataError(f"{printable(folder)}: {what}; download lesion_annotations.zip there")


def _annotation(name: str, files: Mapping[str, AnnotationFile]) -> AnnotationFile:
    if name not in files:
        raise DataError(f"{name}: has a tumour and no {name}.xml; download its annotations")
    return files[name]


def _slide_name(file_name: str) -> str:
    """`tumor_001` of `Tumor_001.tif`: the first releases wrote capitals."""
    return PurePosixPath(file_name).name.split(".")[0].lower()

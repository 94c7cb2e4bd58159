"""A CSV manifest: `image_path,label_index,split` and optional columns, one row an image.

It is also how sets are read that the user obtains and prepares; where they are missing, the error
says how to get them.
"""

import csv
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from hpsearch.datasets.reading import check_regular_file
from hpsearch.datasets.table import ANOMALY, IMAGE_COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.io.text import printable

MAX_MANIFEST_BYTES = 256 * 1024**2  # about two million rows
REQUIRED = ("image_path", "label_index", "split")
OPTIONAL: Mapping[str, str] = {
    "anomaly_type": "all anomalies are of one type",
    "group": "every image is a group of its own",
    "mask_path": "no masks are read",
}
"""Columns that may be left out, and what that means."""

MANIFEST = "manifest.csv"  # of a folder

Links = Literal["follow", "refuse"]
"""What is done with an image that is a link to a file outside of the root."""

_LABELS = {"0": NORMAL, "1": ANOMALY}
_ALIKE = 0.7  # of `difflib`: groups, Group_ID, anomaly_typ
_LISTED = 10  # columns that a note names


def load_manifest(
    manifest: Path, root: Path | None = None, *, name: str = "", links: Links = "follow"
) -> Dataset:
    """The dataset of a CSV manifest; its paths are relative to `root`, else to the CSV's folder.

    The columns are those of anomalib's tabular data: `image_path`, `label_index` (0 normal, 1
    anomaly) and `split` (train or test). Optional are `anomaly_type`, `group` and `mask_path`;
    other columns are ignored, which a note says. The path as written is the image's id, and must
    lie below the root. A file there may be a link into a store elsewhere (DVC, git-annex): a note
    says so, and `links="refuse"` refuses it.

    Raises:
        DataError: the file or a row breaks a rule; the message names the row's line in the file.
    """
    given = Path(os.path.abspath(root or manifest.parent))
    reader = _Reader(manifest, given, given.resolve(), links)
    rows, header = [], []
    try:
        for line, cells in _lines(manifest):
            rows.append(reader.row(line, cells))
            header = list(cells)
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(manifest)}: is not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        what = f"is not a well-formed CSV file ({printable(error)})"
        raise DataError(f"{printable(manifest)}: {what}; mend or export it again") from error
    if not rows:
        raise DataError(f"{printable(manifest)}: has a header and no rows; add a row an image")
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    notes = (*_column_notes(header), *reader.notes())
    place = manifest.resolve().parent.name if manifest.stem == "manifest" else manifest.stem
    return Dataset(name or place, table, root=reader.root, notes=notes)


def _lines(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's first line number and its cells by column name."""
    check_regular_file(manifest)
    if (size := manifest.stat().st_size) > MAX_MANIFEST_BYTES:
        what = f"has {size // 1024**2} MB, more than {MAX_MANIFEST_BYTES // 1024**2}"
        raise DataError(f"{printable(manifest)}: {what}; split the dataset")
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        header = [cell.strip() for cell in next(lines, [])]
        missing = [column for column in REQUIRED if column not in header]
        if missing:
            begins = printable(",".join(header)[:100] or "nothing")
            what = f"lacks {', '.join(missing)} (found: {begins})"
            rule = f"begin it with {','.join(REQUIRED)}"
            raise DataError(f"{printable(manifest)} row 1: {what}; {rule}")
        if len(set(header)) < len(header):
            raise DataError(f"{printable(manifest)} row 1: a column comes twice; rename one")
        line = lines.line_num + 1
        for cells in lines:
            if cells and len(cells) != len(header):
                what = f"has {len(cells)} cells under {len(header)} columns"
                raise DataError(f"{printable(manifest)} row {line}: {what}; mend its commas")
            if cells:
                yield line, dict(zip(header, cells, strict=True))
            line = lines.line_num + 1


def _column_notes(header: Sequence[str]) -> Iterator[str]:
    """What is not read: a line a column that may be an optional one misspelt, and one on all."""
    ignored = [column for column in header if column not in (*REQUIRED, *OPTIONAL)]
    for optional in OPTIONAL:
        alike = [column for column in ignored if _alike(column, optional)]
        if alike and optional not in header:
            yield (
                f"warning: column {printable(alike[0])} is not read, so {OPTIONAL[optional]}; "
                f"name it {optional} if that is what it holds"
            )
    if ignored:
        names = ", ".join(printable(column) or "(without a name)" for column in ignored[:_LISTED])
        more = f" and {len(ignored) - _LISTED} more" if len(ignored) > _LISTED else ""
        yield f"columns that are ignored: {names}{more}"


def _alike(column: str, optional: str) -> bool:
    """Whether a column may be meant: nearly the same name, or one of its words (`mask`, `type`)."""
    name = re.sub(r"[\W_]+", "_", column.lower()).strip("_")
    near = difflib.SequenceMatcher(None, name, optional).ratio() >= _ALIKE
    words = optional.removesuffix("_path").split("_")
    return near or name in words or optional in name.split("_")


@dataclass
class _Reader:
    """Rows of a manifest to rows of the image table.

    Attributes:
        manifest: its file.
        given: the root as it was given, absolute: absolute paths are written with it.
        root: with its own links followed.
        links: what is done with links to files outside of the root.
        seen: each file, and the row that named it.
        outside: each link that leads out of the root, and where.
    """

    manifest: Path
    given: Path
    root: Path
    links: Links
    seen: dict[Path, int] = field(default_factory=dict)
    outside: dict[Path, Path] = field(default_factory=dict)

    def row(self, line: int, cells: Mapping[str, str]) -> tuple[str | int, ...]:
        image_path = cells["image_path"]
        file = self._inside(line, "image_path", image_path)
        if file in self.seen:
            what = f"{printable(image_path)} is the file of row {self.seen[file]} again"
            raise self._error(line, what, "keep one row an image")
        self.seen[file] = line
        label = _LABELS.get(cells["label_index"].strip())
        if label is None:
            what = f"label_index is {self._quoted(cells['label_index'])}"
            raise self._error(line, what, "write 0 for normal, 1 for anomaly")
        anomaly_type = cells.get("anomaly_type", "").strip()
        if label == NORMAL and anomaly_type:
            what = f"label_index is 0 but anomaly_type is {self._quoted(anomaly_type)}"
            raise self._error(line, what, "leave the type of a normal image empty")
        split = cells["split"].strip()
        if split not in SPLITS:
            raise self._error(line, f"split is {self._quoted(split)}", "write train or test")
        mask_path = cells.get("mask_path", "")
        if mask_path:
            mask_path = str(self._inside(line, "mask_path", mask_path).relative_to(self.root))
        path = str(file.relative_to(self.root))
        group = cells.get("group", "").strip()
        return image_path, path, label, anomaly_type, group, split, mask_path

    def notes(self) -> Iterator[str]:
        """What should be said of links."""
        if self.outside:
            link, target = next(iter(self.outside.items()))
            yield (
                f"{len(self.outside):,} files in {printable(self.root)} are links to files outside "
                f"of it, the first {printable(link.relative_to(self.root))} to "
                f"{printable(target)}; "
                "--links refuse refuses such"
            )

    def _inside(self, line: int, column: str, text: str) -> Path:
        """The existing file that `text` names, by its place below the root, links not followed."""
        if not text or "\0" in text:
            what = f"{column} is empty" if not text else f"{column} holds a NUL character"
            raise self._error(line, what, "write a file's path")
        try:
            # By its name alone, below the root where it can be; else the root by another name.
            written = Path(os.path.normpath(self.given / text))
            roots = [root for root in (self.given, self.root) if written.is_relative_to(root)]
            file = self.root / written.relative_to(roots[0]) if roots else written.resolve()
            exists, target = file.exists(), file.resolve()
        except (OSError, RuntimeError) as error:  # a loop of links, a name that is too long
            what = f"{column} {self._quoted(text)} cannot be opened"
            raise self._error(line, what, "mend the path") from error
        if not file.is_relative_to(self.root):
            what = f"{column} {self._quoted(text)} leads out of {printable(self.root)}"
            raise self._error(line, what, "keep the files below it or give another --root")
        if not exists and file.is_symlink():
            what = f"{column} {self._quoted(text)} is a link to {printable(target)}, which is not"
            raise self._error(line, f"{what} there", "fetch that file or mend the link")
        if not exists:
            what = f"{column} {self._quoted(text)} does not exist in {printable(self.root)}"
            raise self._error(line, what, "mend the path or give the images' folder as --root")
        if not target.is_relative_to(self.root):
            if self.links == "refuse":
                what = f"{column} {self._quoted(text)} is a link that leads out of"
                remedy = "copy the file there, or give --links follow"
                raise self._error(line, f"{what} {printable(self.root)}", remedy)
            self.outside[file] = target
        return file

    def _quoted(self, text: str) -> str:
        return f"'{printable(text if len(text) <= 200 else text[:200] + '…')}'"

    def _error(self, line: int, what: str, remedy: str) -> DataError:
        return DataError(f"{printable(self.manifest)} row {line}: {what}; {remedy}")


@dataclass(frozen=True)
class ObtainedSet:
    """A set that the user obtains from its source.

    Attributes:
        name: that it is asked for by.
        summary: what it is, in a line.
        source: where it is obtained.
        preparation: what to make of what the source gives.
    """

    name: str
    summary: str
    source: str
    preparation: str

    @property
    def how_to_get(self) -> str:
        """The ways to get on without the images, on one line."""
        return (
            f"either download it from {self.source}, {self.preparation}, or list images of your "
            f"own with --dataset FILE.csv, or start now with --dataset synthetic-histology"
        )


OBTAINED_SETS = (
    ObtainedSet(
        "camelyon16",
        "H&E lymph nodes, with metastases of breast cancer",
        "https://camelyon16.grand-challenge.org",
        "run `hpsearch prepare camelyon16 --slides DIR --out TILES` (needs pip install "
        "'hpsearch[wsi]'; for ready-made patches: --patches DIR) and give --root TILES",
    ),
)


def load_obtained(source: ObtainedSet, *, root: Path | None) -> Dataset:
    """The dataset of `root`/manifest.csv.

    Raises:
        DataError: there is none; the message gives the images' source and the ways to get on.
    """
    if root is not None and (root / MANIFEST).is_file():
        return load_manifest(root / MANIFEST, name=source.name)
    missing = "no images here" if root is None else f"{printable(root)} holds no {MANIFEST}"
    raise DataError(f"{source.name}: {missing}; {source.how_to_get}")

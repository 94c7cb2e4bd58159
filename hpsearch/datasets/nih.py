"""NIH ChestX-ray14 (Wang et al. 2017) as the archive gives it out.

    <root>/Data_Entry_2017.csv or Data_Entry_2017_v2020.csv
    <root>/train_val_list.txt, test_list.txt        the official parting, by patient
    <root>/images/*.png, or images_001/images/*.png ... images_012/images/*.png,
           or images_001.tar.gz ... images_012.tar.gz

`nih-pa` and `nih-ap` are the images of one view (paper, section 4.1.1). `nih-subset` is what Tang
et al. 2019 [39] chose; their lists of names go beside the others:

    <root>/normal_train.txt, normal_val.txt, abnormal_val.txt, normal_test.txt, abnormal_test.txt

Its normal validation images join those to train with: our folds part them again.

Normal is 'No Finding'; a type is a finding and a group is a patient.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from hpsearch.datasets.nih_copies import nih_copies
from hpsearch.datasets.reading import check_regular_file
from hpsearch.datasets.table import ANOMALY, IMAGE_COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError, SpecError
from hpsearch.io.processes import Progress, silent
from hpsearch.io.text import printable

SOURCE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
ENTRY_TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")  # the first that is there
VIEWS = ("PA", "AP")
NO_FINDING = "No Finding"
SPLIT_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
SUBSET_LISTS = {
    "normal_train.txt": ("train", NORMAL),
    "normal_val.txt": ("train", NORMAL),
    "abnormal_val.txt": ("train", ANOMALY),
    "normal_test.txt": ("test", NORMAL),
    "abnormal_test.txt": ("test", ANOMALY),
}

MultiLabel = Literal["pure", "first"]
"""What becomes of an X-ray with several findings that a search might see.

`pure` sets it aside, so that every type that is searched with is one finding; `first` keeps it
under the first of them. Test images all stay, several findings joined by "|" with `pure`.
"""
MULTI_LABELS: tuple[MultiLabel, ...] = get_args(MultiLabel)
SEVERAL = "several findings"

_AND = "|"  # between the findings of a type
_LAST = "~"  # sorts after every finding
_NEEDED = ("Image Index", "Finding Labels", "Patient ID", "View Position")


@dataclass(frozen=True)
class Entry:
    """One X-ray of the archive's table.

    Attributes:
        name: of its file, without folders.
        findings: as listed; none for 'No Finding'.
        patient: whose it is.
        view: one of VIEWS.
    """

    name: str
    findings: tuple[str, ...]
    patient: str
    view: str


@dataclass(frozen=True)
class NihSet:
    """One of the paper's three sets.

    Attributes:
        name: that it is asked for by.
        summary: what it is, in a line.
        view: of its images; None for those of `SUBSET_LISTS`.
    """

    name: str
    summary: str
    view: Literal["PA", "AP"] | None

    @property
    def lists(self) -> tuple[str, ...]:
        """The files that name its images."""
        return tuple(SUBSET_LISTS if self.view is None else SPLIT_LISTS)

    @property
    def how_to_get(self) -> str:
        """The ways to get on without the images, on one line."""
        return (
            f"either download it from {SOURCE} and give its folder with --root ({ENTRY_TABLES[0]}, "
            f"{', '.join(self.lists)}, and images/ or images_*.tar.gz; `hpsearch prepare nih` "
            "takes the same folder and makes the small copies ahead), or start now with "
            "--dataset synthetic-histology"
        )


NIH_SETS = (
    NihSet("nih-pa", "chest X-rays, posteroanterior; a type is a finding", "PA"),
    NihSet("nih-ap", "chest X-rays, anteroposterior; a type is a finding", "AP"),
    NihSet("nih-subset", "chest X-rays, the subset of Tang et al.; a type is a finding", None),
)


def load_nih(
    source: NihSet,
    *,
    root: Path | None,
    cache_dir: Path,
    multi_label: MultiLabel = "pure",
    progress: Progress = silent,
) -> Dataset:
    """The images of a set, reduced once to 300 px.

    Raises:
        DataError: a file is missing or breaks its format; the message says what to put where.
    """
    lacking = [name for name in source.lists if root is None or not (root / name).is_file()]
    if root is None or lacking:
        what = "no images here" if root is None else f"{printable(root)} lacks {lacking[0]}"
        raise DataError(f"{source.name}: {what}; {source.how_to_get}")
    entries = read_entries(root)
    seen: set[str] = set()
    rows: list[tuple[str | int, ...]] = []
    n_aside = 0
    for file in source.lists:
        for name in read_names(root / file):
            where = f"{printable(root / file)}: {printable(name)}"
            if name not in entries:
                raise DataError(f"{where} is not in Data_Entry_2017; take all from one release")
            if name in seen:
                raise DataError(f"{where} is listed twice, here or in another list; keep one")
            seen.add(name)
            entry = entries[name]
            if source.view is None:
                split, label = SUBSET_LISTS[file]
            elif entry.view == source.view:
                split, label = SPLIT_LISTS[file], ANOMALY if entry.findings else NORMAL
            else:
                continue
            findings = entry.findings[:1] if multi_label == "first" else entry.findings
            # The subset's radiologists may call abnormal what the archive's labels do not.
            kind = "" if label == NORMAL else _AND.join(findings) or "anomaly"
            if split == "train" and _AND in kind:
                n_aside += 1
            else:
                rows.append((name, name, label, kind, entry.patient, split, ""))
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    folder = nih_copies(root, set(table["path"]), cache_dir=cache_dir, progress=progress)
    note = (
        f"{n_aside} training images with several findings are set aside, so that a type is one "
        "finding; dataset.multi_label first keeps them under their first"
    )
    return Dataset(source.name, table, root=folder, notes=(note,) * bool(n_aside))


def read_entries(root: Path) -> dict[str, Entry]:
    """Every X-ray of the table in `root`, by its name.

    The last columns differ between releases and are not read.

    Raises:
        DataError: there is no table, or a row breaks its format; the message names the row.
    """
    table = next((root / name for name in ENTRY_TABLES if (root / name).is_file()), None)
    if table is None:
        what = f"holds no {ENTRY_TABLES[0]}"
        raise DataError(f"{printable(root)}: {what}; put it there, from the archive of the images")
    entries: dict[str, Entry] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            lacking = [column for column in _NEEDED if column not in header]
            if lacking:
                raise _bad_row(table, 1, f"lacks the columns {', '.join(lacking)}")
            places = [header.index(column) for column in _NEEDED]
            for cells in filter(None, lines):
                entry = _entry(table, lines.line_num, cells, places)
                if entry.name in entries:
                    what = f"{printable(entry.name)} comes twice"
                    raise _bad_row(table, lines.line_num, what)
                entries[entry.name] = entry
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(table)}: is not UTF-8 text; download it again") from error
    except csv.Error as error:
        what = f"is not well-formed ({printable(error)})"
        raise _bad_row(table, lines.line_num, what) from error
    return entries


def read_names(path: Path) -> list[str]:
    """The names in a list, one a line.

    Raises:
        DataError: the list is missing or is not text.
    """
    check_regular_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)}: is not UTF-8 text; download it again") from error
    return [line.strip() for line in lines if line.strip()]


def parse_multi_label(text: str) -> MultiLabel:
    """The way of that name.

    Raises:
        SpecError: there is none.
    """
    for way in MULTI_LABELS:
        if way == text:
            return way
    raise SpecError(
        f"multi-label '{printable(text)[:50]}': unknown; give {', '.join(MULTI_LABELS)}"
    )


def finding_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Images by finding (rows) and split (columns).

    The first row is "", the normals; X-rays of several findings are in the row `SEVERAL`, the last.
    """
    several = table["anomaly_type"].str.contains(_AND, regex=False)
    findings = table["anomaly_type"].mask(several, SEVERAL)
    counts = pd.crosstab(findings, table["split"]).reindex(columns=list(SPLITS), fill_value=0)
    return counts.sort_index(key=lambda index: index.where(index != SEVERAL, _LAST))


def _entry(table: Path, line: int, cells: list[str], places: list[int]) -> Entry:
    if len(cells) <= max(places):
        raise _bad_row(table, line, f"has {len(cells)} cells")
    name, labels, patient, view = (cells[place].strip() for place in places)
    if Path(name).name != name or "\0" in name or name.startswith(".") or not name:
        raise _bad_row(table, line, f"'{printable(name):.80}' is no file name")
    if view not in VIEWS:
        raise _bad_row(table, line, f"'{printable(view):.80}' is no view, PA or AP")
    findings = tuple(label.strip() for label in labels.split("|"))
    if not patient or not all(findings):
        raise _bad_row(table, line, f"lacks a {'finding' if patient else 'patient'}")
    return Entry(name, () if findings == (NO_FINDING,) else findings, patient, view)


def _bad_row(table: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(table)} row {line}: {what}; download it again")

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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from hpsearch.datasets.nih_copies import nih_copies
from hpsearch.datasets.nih_entries import Entry, read_entries, read_names
from hpsearch.datasets.table import ANOMALY, COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import printable
from hpsearch.io.processes import Progress, silent

SOURCE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
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


@dataclass(frozen=True)
class NihSet:
    """One of the paper's three sets."""

    name: str
    summary: str
    view: Literal["PA", "AP"] | None  # None: those of `SUBSET_LISTS`

    @property
    def lists(self) -> tuple[str, ...]:
        """The files that name its images."""
        return tuple(SUBSET_LISTS if self.view is None else SPLIT_LISTS)


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
        raise DataError(f"{source.name}: {what}; {how_to_get(source)}")
    rows = [
        _row(entry, *role, multi_label)
        for file, entry in _listed(root, source.lists, read_entries(root))
        if (role := _role(source, file, entry)) is not None
    ]
    kept = [row for row in rows if not (row[5] == "train" and _AND in str(row[3]))]
    table = pd.DataFrame(kept, columns=list(COLUMNS))
    folder = nih_copies(root, set(table["path"]), cache_dir=cache_dir, progress=progress)
    return Dataset(source.name, table, root=folder, notes=_notes(len(rows) - len(kept)))


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


def how_to_get(source: NihSet) -> str:
    """The ways to get on without the images, on one line."""
    return (
        f"either download it from {SOURCE} and give its folder with --root (Data_Entry_2017.csv, "
        f"{', '.join(source.lists)}, and images/ or images_*.tar.gz; `hpsearch prepare nih` takes "
        "the same folder and makes the small copies ahead), or start now with "
        "--dataset synthetic-histology"
    )


def _listed(
    root: Path, files: Iterable[str], entries: Mapping[str, Entry]
) -> Iterator[tuple[str, Entry]]:
    """Every list's name with each X-ray in it."""
    seen: set[str] = set()
    for file in files:
        for name in read_names(root / file):
            where = f"{printable(root / file)}: {printable(name)}"
            if name not in entries:
                raise DataError(f"{where} is not in Data_Entry_2017; take all from one release")
            if name in seen:
                raise DataError(f"{where} is listed twice, here or in another list; keep one")
            seen.add(name)
            yield file, entries[name]


def _role(source: NihSet, file: str, entry: Entry) -> tuple[str, int] | None:
    """Split and label of an X-ray, None where it is of the other view."""
    if source.view is None:
        return SUBSET_LISTS[file]
    if entry.view != source.view:
        return None
    return SPLIT_LISTS[file], ANOMALY if entry.findings else NORMAL


def _row(entry: Entry, split: str, label: int, multi_label: MultiLabel) -> tuple[str | int, ...]:
    findings = entry.findings[:1] if multi_label == "first" else entry.findings
    # The subset's radiologists may call abnormal what the archive's labels do not.
    kind = "" if label == NORMAL else _AND.join(findings) or "anomaly"
    return entry.name, entry.name, label, kind, entry.patient, split, ""


def _notes(n_aside: int) -> tuple[str, ...]:
    if not n_aside:
        return ()
    return (
        f"{n_aside} training images with several findings are set aside, so that a type is one "
        "finding; dataset.multi_label first keeps them under their first",
    )

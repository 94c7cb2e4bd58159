"""The NIH's text files: the table of X-rays and the lists of their names."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpsearch.datasets.reading import check_regular_file
from hpsearch.errors import DataError
from hpsearch.io.files import printable

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")  # the first that is there
VIEWS = ("PA", "AP")
NO_FINDING = "No Finding"

_NAME, _FINDINGS, _PATIENT, _VIEW = "Image Index", "Finding Labels", "Patient ID", "View Position"
_NEEDED = (_NAME, _FINDINGS, _PATIENT, _VIEW)


@dataclass(frozen=True)
class Entry:
    """One X-ray."""

    name: str  # of its file, without folders
    findings: tuple[str, ...]  # as listed; none for 'No Finding'
    patient: str
    view: str  # one of VIEWS


def read_entries(root: Path) -> dict[str, Entry]:
    """Every X-ray of the table in `root`, by its name.

    The last columns differ between releases and are not read.

    Raises:
        DataError: there is no table, or a row breaks its format; the message names the row.
    """
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is None:
        what = f"holds no {TABLES[0]}"
        raise DataError(f"{printable(root)}: {what}; put it there, from the archive of the images")
    entries: dict[str, Entry] = {}
    for line, entry in _rows(table):
        if entry.name in entries:
            raise _bad(table, line, f"{printable(entry.name)} comes twice")
        entries[entry.name] = entry
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


def _rows(table: Path) -> Iterator[tuple[int, Entry]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            lacking = [column for column in _NEEDED if column not in header]
            if lacking:
                raise _bad(table, 1, f"lacks the columns {', '.join(lacking)}")
            places = [header.index(column) for column in _NEEDED]
            for cells in lines:
                if cells:
                    yield lines.line_num, _entry(table, lines.line_num, cells, places)
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(table)}: is not UTF-8 text; download it again") from error
    except csv.Error as error:
        raise _bad(table, lines.line_num, f"is not well-formed ({printable(error)})") from error


def _entry(table: Path, line: int, cells: list[str], places: list[int]) -> Entry:
    if len(cells) <= max(places):
        raise _bad(table, line, f"has {len(cells)} cells")
    name, labels, patient, view = (cells[place].strip() for place in places)
    if Path(name).name != name or "\0" in name or name.startswith(".") or not name:
        raise _bad(table, line, f"'{printable(name):.80}' is no file name")
    if view not in VIEWS:
        raise _bad(table, line, f"'{printable(view):.80}' is no view, PA or AP")
    findings = tuple(label.strip() for label in labels.split("|"))
    if not patient or not all(findings):
        raise _bad(table, line, f"lacks a {'finding' if patient else 'patient'}")
    return Entry(name, () if findings == (NO_FINDING,) else findings, patient, view)


def _bad(table: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(table)} row {line}: {what}; download it again")

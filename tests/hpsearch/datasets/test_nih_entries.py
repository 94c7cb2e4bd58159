from pathlib import Path

import pytest

from hpsearch.datasets.nih import Entry, read_entries, read_names
from hpsearch.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
)
GOOD = "00000001_000.png,Mass|Nodule,0,1,58,M,PA"


def entries(root: Path, *lines: str) -> dict[str, Entry]:
    (root / "Data_Entry_2017.csv").write_text("\n".join((HEADER, *lines)))
    return read_entries(root)


def test_findings_patient_and_view(tmp_path: Path) -> None:
    found = entries(tmp_path, GOOD, "", "00000002_000.png,No Finding,0,2,81,F,AP")
    assert list(found.values()) == [
        Entry("00000001_000.png", ("Mass", "Nodule"), "1", "PA"),
        Entry("00000002_000.png", (), "2", "AP"),
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (GOOD, "row 3: 00000001_000.png comes twice"),
        ("a.png,Mass,0,1,58,M", "row 3: has 6 cells"),
        ("../a.png,Mass,0,1,58,M,PA", "row 3: '../a.png' is no file name"),
        (".hidden.png,Mass,0,1,58,M,PA", "is no file name"),
        ("a.png,Mass,0,1,58,M,LL", "'LL' is no view, PA or AP"),
        ("a.png,Mass||Nodule,0,1,58,M,PA", "lacks a finding"),
        ("a.png,Mass,0,,58,M,PA", "lacks a patient"),
        ('a.png,"Mass,0,1,58,M,PA', "is not well-formed"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        entries(tmp_path, GOOD, line)
    message = str(caught.value)
    assert what in message
    assert message.isprintable()
    assert message.endswith("; download it again")


def test_a_table_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no Data_Entry_2017\.csv; put it there"):
        read_entries(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="row 1: lacks the columns Image Index, Finding Labels"):
        read_entries(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_entries(tmp_path)


def test_names_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.png\r\n\r\n b.png \n")
    assert read_names(path) == ["a.png", "b.png"]
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match="is not UTF-8 text; download it again"):
        read_names(path)

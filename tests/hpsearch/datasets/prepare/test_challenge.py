import shutil
import zipfile
from pathlib import Path

import pytest

from hpsearch.datasets.prepare.challenge import LEFT_OUT, ReferenceRow, find_slides, read_reference
from hpsearch.errors import DataError

TUMOURS = ["test_001", "tumor_001", "tumor_002"]


def test_the_folders_of_the_challenge(challenge: Path) -> None:
    slides = {slide.name: slide for slide in find_slides(challenge)}
    assert list(slides) == sorted(slides)
    assert len(slides) == 8
    assert [name for name, slide in slides.items() if not slide.is_normal] == TUMOURS
    assert [name for name, slide in slides.items() if slide.split == "test"] == [
        "test_001",
        "test_002",
    ]
    assert slides["test_001"].metastasis == "macro"
    assert slides["test_002"].metastasis == ""
    assert slides["tumor_001"].path == challenge / "training/tumor/tumor_001.tif"


def test_annotations_in_their_zip_files(own_challenge: Path) -> None:
    for part in ("training", "testing"):
        folder = own_challenge / part / "lesion_annotations"
        with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"lesion_annotations/{file.name}")
        shutil.rmtree(folder)
    slides = find_slides(own_challenge)
    read = {slide.name: slide.annotation.read() for slide in slides if slide.annotation}
    assert sorted(read) == TUMOURS
    assert len(read["tumor_001"].cut_out) == 1


def test_the_layout_of_the_public_store(own_challenge: Path, tmp_path: Path) -> None:
    flat = tmp_path / "CAMELYON16"
    for name, pattern in (("images", "*.tif"), ("annotations", "*.xml")):
        (flat / name).mkdir(parents=True)
        for file in own_challenge.rglob(pattern):
            (flat / name / file.name).symlink_to(file.resolve())
    (flat / "evaluation").mkdir()
    (flat / "evaluation/reference.csv").write_text(
        "image,type,class\nnormal_001.tif,normal,negative\ntumor_001.tif,tumor,macro\n"
        "test_001.tif,tumor,micro\ntest_002.tif,normal,negative\n"
    )
    ours = [(slide.name, slide.split, slide.is_normal) for slide in find_slides(own_challenge)]
    slides = find_slides(flat)
    assert [(slide.name, slide.split, slide.is_normal) for slide in slides] == ours
    assert next(slide.metastasis for slide in slides if slide.name == "test_001") == "micro"


def test_names_in_capitals_are_the_same_slides(own_challenge: Path) -> None:
    for file in list(own_challenge.rglob("*_001.*")):
        file.rename(file.with_name(file.name.capitalize()))
    assert [slide.name for slide in find_slides(own_challenge)][:2] == ["normal_001", "normal_002"]


def test_the_paper_s_six_slides_are_left_out() -> None:
    six = {f"normal_{number}" for number in ("027", "045", "108", "144", "150", "158")}
    assert six <= set(LEFT_OUT)
    assert all(reason.isprintable() for reason in LEFT_OUT.values())


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("training/normal", "holds no normal_*.tif in training/normal or images"),
        ("training/tumor", "holds no tumor_*.tif in training/tumor or images"),
        ("testing/images", "holds no test_*.tif in testing/images or images"),
        ("training/lesion_annotations", "holds no annotations in training/lesion_annotations"),
        ("testing/lesion_annotations", "holds no annotations in testing/lesion_annotations"),
        ("testing/reference.csv", "which says which test slides are normal"),
        ("training/lesion_annotations/tumor_002.xml", "tumor_002: has a tumour and no"),
        ("testing/lesion_annotations/test_001.xml", "test_001: has a tumour and no"),
    ],
)
def test_one_line_for_what_is_missing(own_challenge: Path, missing: str, says: str) -> None:
    path = own_challenge / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(DataError) as caught:
        find_slides(own_challenge)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_one_line_for_empty_folders(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError) as caught:
            find_slides(folder)
        assert str(caught.value).startswith(str(folder))
        assert str(caught.value).isprintable()


def test_a_zip_file_that_is_none(own_challenge: Path) -> None:
    folder = own_challenge / "training/lesion_annotations"
    shutil.rmtree(folder)
    folder.with_suffix(".zip").write_bytes(b"PK but no")
    with pytest.raises(DataError, match=r"lesion_annotations\.zip: is not a zip file"):
        find_slides(own_challenge)


def test_a_test_slide_without_its_row(own_challenge: Path) -> None:
    (own_challenge / "testing/reference.csv").write_text("test_001,Tumor,IDC,Macro\n")
    with pytest.raises(DataError, match=r"test_002: is not in reference\.csv"):
        find_slides(own_challenge)


def test_reference_rows(tmp_path: Path) -> None:
    path = tmp_path / "reference.csv"
    path.write_text(
        "\ufefftest_001,Tumor,IDC,Macro\ntest_002, Normal ,None,None\n\ntest_003,Tumor\n"
    )
    assert read_reference(path) == {
        "test_001": ReferenceRow(True, "macro"),
        "test_002": ReferenceRow(False, ""),
        "test_003": ReferenceRow(True, ""),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "names no test slide"),
        (b"image,type\nnormal_001,normal\n", "names no test slide"),
        (b"test_001,maybe\n", "row 1: says 'maybe' of test_001"),
        (b"test_001\n", "row 1: says ''"),
        (b"test_001,Tumor\ntest_001,Normal\n", "row 2: says another thing"),
        (b"\xff\xfe\x00", "is not a CSV file"),
        (b'test_001,"' + b"x" * 200_000, "is not a CSV file"),
    ],
)
def test_one_line_for_a_bad_reference(tmp_path: Path, text: bytes, says: str) -> None:
    (tmp_path / "reference.csv").write_bytes(text)
    with pytest.raises(DataError) as caught:
        read_reference(tmp_path / "reference.csv")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()

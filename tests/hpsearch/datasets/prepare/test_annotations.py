import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpsearch.datasets.prepare.annotations import AnnotationFile, parse_annotations
from hpsearch.errors import DataError

OUTER = ((0, 0), (100, 0), (100, 100), (0, 100))
HOLE = ((40, 40), (60, 40), (60, 60), (40, 60))
BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><ASAP_Annotations>&b;</ASAP_Annotations>"""


@pytest.mark.parametrize("tumour", ["_0", "_1", "Tumor"])
@pytest.mark.parametrize("cut_out", ["_2", "Exclusion", "None"])
def test_a_tile_is_tumour_where_nothing_is_cut_out(
    made: SimpleNamespace, tumour: str, cut_out: str
) -> None:
    text = made.xml((cut_out, HOLE), (tumour, OUTER))
    annotations = parse_annotations(text.encode(), where="x.xml")
    assert annotations.covers(0, 0, 40)
    assert annotations.covers(60, 0, 40)
    assert not annotations.covers(10, 10, 40)  # reaches into what is cut out
    assert not annotations.covers(45, 45, 10)  # lies in it
    assert not annotations.covers(30, 30, 50)  # has it inside
    assert not annotations.covers(90, 0, 20)  # reaches out of the tumour


def test_points_come_in_their_order(made: SimpleNamespace) -> None:
    text = made.xml(("_0", OUTER)).replace('Order="1"', 'Order="9"')
    (outline,) = parse_annotations(text.encode(), where="x.xml").tumour
    np.testing.assert_array_equal(outline, [(0, 0), (100, 100), (0, 100), (100, 0)])


def test_points_of_equal_order_stay_as_they_come(made: SimpleNamespace) -> None:
    cross = ((100, 0), (0, 0), (0, 100), (100, 100))  # sorted by x, y it would cross itself
    text = made.xml(("_0", cross))
    for order in range(1, 4):
        text = text.replace(f'Order="{order}"', 'Order="0"')
    (outline,) = parse_annotations(text.encode(), where="x.xml").tumour
    np.testing.assert_array_equal(outline, cross)


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle"])
def test_types_that_enclose_an_area_are_outlines(made: SimpleNamespace, kind: str) -> None:
    text = made.xml(("_0", OUTER)).replace("Polygon", kind)
    annotations = parse_annotations(text.encode(), where="x.xml")
    assert annotations.covers(10, 10, 40)
    assert not annotations.ignored


@pytest.mark.parametrize("kind", ["Dot", "PointSet", "Measurement", "None"])
def test_types_without_area_are_counted_and_are_no_outlines(
    made: SimpleNamespace, kind: str
) -> None:
    points = made.xml(("_0", OUTER), ("a group of cells", HOLE)).replace("Polygon", kind)
    begin, end = points.index("<Annotation "), points.index("</Annotations>")
    text = made.xml(("_0", OUTER)).replace("</Annotations>", points[begin:end] + "</Annotations>")
    annotations = parse_annotations(text.encode(), where="x.xml")
    assert (len(annotations.tumour), len(annotations.cut_out)) == (1, 0)
    assert annotations.ignored == (f"x.xml: 2 of type {kind}, which has no area; left out",)


def test_what_encloses_nothing_is_said_and_left_out(made: SimpleNamespace) -> None:
    text = made.xml(
        ("_0", OUTER), ("_0", OUTER[:2]), ("_2", ()), ("_2", ((0, 0), (9, 9), (40, 40)))
    )
    annotations = parse_annotations(text.encode(), where="x.xml")
    assert len(annotations.tumour) == 1
    assert not annotations.cut_out
    assert annotations.ignored == (
        "x.xml: annotation 2 has 2 points and encloses nothing; left out",
        "x.xml: annotation 3 has 0 points and encloses nothing; left out",
        "x.xml: annotation 4 has 3 points and encloses nothing; left out",
    )


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:200], "not well-formed XML"),
        (lambda text: "PNG\0\1", "not well-formed XML"),
        (lambda text: "", "not well-formed XML"),
        (lambda text: BOMB, "DOCTYPE"),
        (lambda text: "<html></html>", "not ASAP_Annotations"),
        (
            lambda text: text.replace('"_0"', '"stroma"'),
            "has PartOfGroup 'stroma'; make it one of _0",
        ),
        (lambda text: text.replace('"Polygon"', '"Heart"'), "has Type 'Heart'; make it one of Pol"),
        (lambda text: text.replace('Type="Polygon"', ""), "has Type ''; make it one of Polygon"),
        (lambda text: text.replace('X="100"', 'X="wide"'), "without a number"),
        (lambda text: text.replace('X="100"', ""), "without a number"),
        (lambda text: text.replace('X="100"', 'X="nan"'), "not finite"),
    ],
)
def test_one_line_for_what_is_damaged(
    made: SimpleNamespace, tmp_path: Path, damage: object, says: str
) -> None:
    assert callable(damage)
    (tmp_path / "x.xml").write_text(damage(made.xml(("_0", OUTER))))
    with pytest.raises(DataError) as caught:
        AnnotationFile(tmp_path / "x.xml").read()
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.xml"))
    assert str(caught.value).isprintable()


def test_a_member_of_a_zip_file(made: SimpleNamespace, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/tumor_001.xml", made.xml(("_0", OUTER)))
    file = AnnotationFile(tmp_path / "a.zip", "folder/tumor_001.xml")
    assert len(file.read().tumour) == 1
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"Coordinate", b"C00rdinate"))
    with pytest.raises(DataError, match=r"a\.zip/folder/tumor_001\.xml: cannot be read"):
        file.read()


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a directory"):
        AnnotationFile(tmp_path).read()

"""Annotations of the program ASAP, as the challenge gives them: outlines of tumours in XML.

The challenge's README: groups "_0" and "_1" are tumour, "_2" are areas without tumour cut out of
them. Test slides use the names "Tumor" and "Exclusion", and "None" for what was put in no group,
which is held to be no tumour.

Squares and polygons: which lies inside which, exactly and for any outline.

A polygon is an array (V, 2) of corners x, y; the last is joined to the first. Inside means an odd
number of crossings to the outside, so that outlines drawn by hand may cross themselves.
"""

import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.reading import check_regular_file
from hpsearch.errors import DataError
from hpsearch.io.files import printable

Polygon = NDArray[np.float64]


def covers_square(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the square with its upper left corner at (x, y) lies wholly inside the polygon."""
    return not _crosses(polygon, x, y, side) and _holds(polygon, x + side / 2, y + side / 2)


def touches_square(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the polygon and the inside of the square have a point in common."""
    return _crosses(polygon, x, y, side) or _holds(polygon, x + side / 2, y + side / 2)


def _crosses(polygon: Polygon, x: float, y: float, side: float) -> bool:
    """Whether the outline runs through the inside of the square.

    An edge misses it where an axis keeps them apart: x, y, or the normal of the edge.
    """
    begin, end = polygon, np.roll(polygon, -1, axis=0)
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    corner = np.array([x, y])
    near = ((high > corner) & (low < corner + side)).all(axis=1)
    if not near.any():
        return False
    begin, along = begin[near], (end - begin)[near]
    corners = corner + side * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    to_corner = corners[None] - begin[:, None]  # (edges, 4, 2)
    sides = along[:, None, 0] * to_corner[..., 1] - along[:, None, 1] * to_corner[..., 0]
    return bool(((sides.min(axis=1) < 0) & (sides.max(axis=1) > 0)).any())


def _holds(polygon: Polygon, x: float, y: float) -> bool:
    """Whether the point is inside: an odd number of edges cross the ray from it to the right."""
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    x0, y0, x1, y1 = x0[spans], y0[spans], x1[spans], y1[spans]
    crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return bool(np.count_nonzero(crossing > x) % 2)


TUMOUR_GROUPS = ("_0", "_1", "Tumor")
CUT_OUT_GROUPS = ("_2", "Exclusion", "None")
OUTLINE_TYPES = ("Polygon", "Spline", "Rectangle")  # a spline is taken as straight between points
TYPES_WITHOUT_AREA = ("Dot", "PointSet", "Measurement", "None")
MAX_BYTES = 64 * 1024**2  # the challenge's largest file has a few


@dataclass(frozen=True, eq=False)
class Annotations:
    """Outlines (V, 2) in px of level 0; `ignored` says what encloses no area, a line each."""

    tumour: tuple[Polygon, ...]
    cut_out: tuple[Polygon, ...]
    ignored: tuple[str, ...] = ()

    def covers(self, x: int, y: int, side: int) -> bool:
        """Whether a tile lies wholly inside one tumour outline and touches nothing cut out."""
        return any(covers_square(outline, x, y, side) for outline in self.tumour) and not any(
            touches_square(outline, x, y, side) for outline in self.cut_out
        )


@dataclass(frozen=True)
class AnnotationFile:
    """A file of annotations, or a member of a zip file."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return printable(self.path if self.member is None else f"{self.path}/{self.member}")

    def read(self) -> Annotations:
        """The annotations.

        Raises:
            DataError: the file cannot be read or breaks a rule of `parse_annotations`.
        """
        try:
            text = self._bytes()
        except (OSError, zipfile.BadZipFile) as error:
            what = f"cannot be read ({printable(error)})"
            raise DataError(f"{self}: {what}; download it again") from error
        return parse_annotations(text, where=str(self))

    def _bytes(self) -> bytes:
        check_regular_file(self.path)
        if self.member is None:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
            return file.read(MAX_BYTES + 1)


def parse_annotations(text: bytes, *, where: str) -> Annotations:
    """The outlines of an ASAP file; `where` names it in messages.

    Raises:
        DataError: it is not well-formed XML of ASAP, is larger than `MAX_BYTES`, declares entities,
            or has a type, a group or a coordinate that is unknown.
    """
    if len(text) > MAX_BYTES:
        raise DataError(f"{where}: is larger than {MAX_BYTES // 1024**2} MB; download it again")
    parser = ElementTree.XMLParser(target=_WithoutDoctype(where))
    try:
        root = ElementTree.fromstring(text, parser)
    except ElementTree.ParseError as error:
        what = f"is not well-formed XML ({printable(error)})"
        raise DataError(f"{where}: {what}; download it again") from error
    if root.tag != "ASAP_Annotations":
        what = f"begins with {printable(root.tag)[:100]}, not ASAP_Annotations"
        raise DataError(f"{where}: {what}; give a file of the program ASAP")
    return _sorted_by_group(root, where)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """A document type can declare entities that grow without end; ASAP writes none."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        raise DataError(f"{self.where}: declares a document type; remove its DOCTYPE")


def _sorted_by_group(root: ElementTree.Element, where: str) -> Annotations:
    tumour, cut_out, ignored = [], [], []
    without_area = Counter[str]()
    for number, annotation in enumerate(root.iter("Annotation"), start=1):
        here = f"{where}: annotation {number}"
        kind = _known(annotation, "Type", OUTLINE_TYPES + TYPES_WITHOUT_AREA, here)
        if kind in TYPES_WITHOUT_AREA:
            without_area[kind] += 1
            continue
        group = _known(annotation, "PartOfGroup", TUMOUR_GROUPS + CUT_OUT_GROUPS, here)
        outline = _outline(annotation, here)
        if np.linalg.matrix_rank(outline - outline[:1]) < 2:  # all on one line, or too few
            ignored.append(f"{here} has {len(outline)} points and encloses nothing; left out")
        elif group in TUMOUR_GROUPS:
            tumour.append(outline)
        else:
            cut_out.append(outline)
    for kind, count in without_area.items():
        ignored.append(f"{where}: {count} of type {kind}, which has no area; left out")
    return Annotations(tuple(tumour), tuple(cut_out), tuple(ignored))


def _known(
    annotation: ElementTree.Element, attribute: str, known: tuple[str, ...], here: str
) -> str:
    value = annotation.get(attribute, "")
    if value not in known:
        what = f"has {attribute} '{printable(value)[:100]}'"
        raise DataError(f"{here} {what}; make it one of {', '.join(known)}")
    return value


def _outline(annotation: ElementTree.Element, here: str) -> Polygon:
    """The points by their `Order`; those of equal order as they come in the file."""
    try:
        points = sorted(
            (
                (int(point.attrib["Order"]), float(point.attrib["X"]), float(point.attrib["Y"]))
                for point in annotation.iter("Coordinate")
            ),
            key=lambda point: point[0],
        )
    except (KeyError, ValueError) as error:
        what = f"has a coordinate without a number ({printable(error)})"
        raise DataError(f"{here} {what}; mend its Order, X and Y") from error
    outline = np.array(points, dtype=np.float64).reshape(-1, 3)[:, 1:]
    if not np.isfinite(outline).all():
        raise DataError(f"{here} has a coordinate that is not finite; mend its X and Y")
    return outline

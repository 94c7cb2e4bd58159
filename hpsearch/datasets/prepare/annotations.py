"""Annotations of the program ASAP, as the challenge gives them: outlines of tumours in XML.

The challenge's README: groups "_0" and "_1" are tumour, "_2" are areas without tumour cut out of
them. Test slides use the names "Tumor" and "Exclusion", and "None" for what was put in no group,
which is held to be no tumour.
"""

import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.reading import check_regular_file
from hpsearch.errors import DataError, UserError
from hpsearch.io.text import printable

TUMOUR_GROUPS = ("_0", "_1", "Tumor")
CUT_OUT_GROUPS = ("_2", "Exclusion", "None")
OUTLINE_TYPES = ("Polygon", "Spline", "Rectangle")  # a spline is taken as straight between points
TYPES_WITHOUT_AREA = ("Dot", "PointSet", "Measurement", "None")
MAX_ANNOTATION_BYTES = 64 * 1024**2  # the challenge's largest file has a few

Outline = NDArray[np.float64]
"""Corners `(V, 2)`, x and y in px of level 0; the last is joined to the first."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What a pathologist drew on a slide.

    Attributes:
        tumour: outlines.
        cut_out: outlines of what is no tumour within.
        ignored: what encloses no area, a line each.
    """

    tumour: tuple[Outline, ...]
    cut_out: tuple[Outline, ...]
    ignored: tuple[str, ...] = ()

    def covers(self, x: int, y: int, side: int) -> bool:
        """Whether a tile lies wholly inside one tumour outline and touches nothing cut out.

        Touching is to have an area in common; to lie side by side is not.
        """
        shapely = _shapely()
        tumour, cut_out = self._regions
        tile = shapely.box(x, y, x + side, y + side)
        return any(shapely.covers(region, tile) for region in tumour) and not any(
            shapely.intersects(region, tile) and not shapely.touches(region, tile)
            for region in cut_out
        )

    @cached_property
    def _regions(self) -> tuple[list[Any], list[Any]]:
        """Of the tumour and of what is cut out, prepared for many questions."""
        regions = [region_of(outline) for outline in (*self.tumour, *self.cut_out)]
        _shapely().prepare(regions)
        return regions[: len(self.tumour)], regions[len(self.tumour) :]


def region_of(outline: Outline) -> Any:
    """What an outline encloses, a geometry of shapely: empty where it encloses nothing.

    Inside means an odd number of crossings to the outside, so that outlines drawn by hand may cross
    themselves.
    """
    shapely = _shapely()
    if len(outline) < 3:
        return shapely.Polygon()
    region = shapely.Polygon(outline)
    if region.is_valid:
        return region
    # The parts of lines and polygons that it is made of; lines enclose nothing.
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(region, method="linework")))
    return shapely.MultiPolygon([part for part in parts if part.geom_type == "Polygon"])


@dataclass(frozen=True)
class AnnotationFile:
    """A file of annotations, or a member of a zip file.

    Attributes:
        path: of the file.
        member: of the zip file, None for a file of XML.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return printable(self.path if self.member is None else f"{self.path}/{self.member}")

    def read(self) -> Annotations:
        """The annotations.

        Raises:
            DataError: the file cannot be read or breaks a rule of `parse_annotations`.
        """
        check_regular_file(self.path)
        try:
            if self.member is None:
                with self.path.open("rb") as file:
                    text = file.read(MAX_ANNOTATION_BYTES + 1)
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
                    text = member.read(MAX_ANNOTATION_BYTES + 1)
        except (OSError, zipfile.BadZipFile) as error:
            what = f"cannot be read ({printable(error)})"
            raise DataError(f"{self}: {what}; download it again") from error
        return parse_annotations(text, where=str(self))


def parse_annotations(text: bytes, *, where: str) -> Annotations:
    """The outlines of an ASAP file; `where` names it in messages.

    Raises:
        DataError: it is not well-formed XML of ASAP, is larger than `MAX_ANNOTATION_BYTES`,
            declares entities, or has a type, a group or a coordinate that is unknown.
    """
    if len(text) > MAX_ANNOTATION_BYTES:
        raise DataError(
            f"{where}: is larger than {MAX_ANNOTATION_BYTES // 1024**2} MB; download it again"
        )
    parser = ElementTree.XMLParser(target=_WithoutDoctype(where))
    try:
        root = ElementTree.fromstring(text, parser)
    except ElementTree.ParseError as error:
        what = f"is not well-formed XML ({printable(error)})"
        raise DataError(f"{where}: {what}; download it again") from error
    if root.tag != "ASAP_Annotations":
        what = f"begins with {printable(root.tag)[:100]}, not ASAP_Annotations"
        raise DataError(f"{where}: {what}; give a file of the program ASAP")
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
        if region_of(outline).area == 0:  # too few, or all on one line
            ignored.append(f"{here} has {len(outline)} points and encloses nothing; left out")
        elif group in TUMOUR_GROUPS:
            tumour.append(outline)
        else:
            cut_out.append(outline)
    for kind, count in without_area.items():
        ignored.append(f"{where}: {count} of type {kind}, which has no area; left out")
    return Annotations(tuple(tumour), tuple(cut_out), tuple(ignored))


class _WithoutDoctype(ElementTree.TreeBuilder):
    """A document type can declare entities that grow without end; ASAP writes none."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        raise DataError(f"{self.where}: declares a document type; remove its DOCTYPE")


def _known(
    annotation: ElementTree.Element, attribute: str, known: tuple[str, ...], here: str
) -> str:
    value = annotation.get(attribute, "")
    if value not in known:
        what = f"has {attribute} '{printable(value)[:100]}'"
        raise DataError(f"{here} {what}; make it one of {', '.join(known)}")
    return value


def _outline(annotation: ElementTree.Element, here: str) -> Outline:
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


def _shapely() -> ModuleType:
    try:
        import shapely
    except ImportError as error:
        raise UserError(
            "annotations are read with shapely, which is not installed; pip install 'hpsearch[wsi]'"
        ) from error
    module: ModuleType = shapely
    return module

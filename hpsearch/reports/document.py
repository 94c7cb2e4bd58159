"""What a report consists of, whether it becomes a page or Markdown. All texts are plain."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hpsearch.reports.drawing import Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: of any length.
    """

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """A file's content, folded away under its title.

    Attributes:
        title: what it is.
        text: the content.
    """

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Texts in rows, the first of each row being its name.

    Attributes:
        caption: what the table shows.
        header: a text a column.
        rows: as long as the header.
        shades: of each cell but the first of a row, from 0 to 1, None for no shade; empty for none.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shades: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure and its numbers.

    Attributes:
        name: letters and dashes, unique in the document.
        caption: what is shown.
        alt: what is to be seen, for those who cannot see it.
        drawing: for a page and for a PNG.
        numbers: the same as a table.
    """

    kind: ClassVar[str] = "figure"
    name: str
    caption: str
    alt: str
    drawing: Drawing
    numbers: Table


@dataclass(frozen=True)
class Picture:
    """An image that was scored, and where its score comes from.

    Attributes:
        image, overlay: PNG files; no overlay where the detector has no maps.
        text: below them.
        alt: what is to be seen, for those who cannot see it.
    """

    image: Path
    overlay: Path | None
    text: str
    alt: str


@dataclass(frozen=True)
class PictureRow:
    """A row of pictures.

    Attributes:
        caption: above them.
        pictures: one or more.
    """

    kind: ClassVar[str] = "pictures"
    caption: str
    pictures: tuple[Picture, ...]


ReportBlock = Text | Code | Table | Figure | PictureRow


@dataclass(frozen=True)
class Section:
    """A heading and what follows it.

    Attributes:
        name: letters, unique in the document.
        title: the heading.
        blocks: in order.
    """

    name: str
    title: str
    blocks: tuple[ReportBlock, ...]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: of the study.
        warnings: what is read before anything else.
        sections: in order.
    """

    title: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]

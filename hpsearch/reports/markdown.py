"""A report as Markdown, with its figures as PNG files in a folder beside it."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from hpsearch.errors import SpecError
from hpsearch.io.files import atomic_path, printable, write_text_atomic
from hpsearch.reports.document import Document, Figure

_INCHES, _DOTS_PER_INCH = (7.0, 4.2), 120


def write_markdown(path: Path, document: Document) -> None:
    """Write the text, and before it the figures in `<stem>_figures/`.

    Raises:
        SpecError: matplotlib is not installed; nothing is written.
    """
    require_matplotlib()
    folder = path.with_name(f"{path.stem}_figures")
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                _draw(block, folder / f"{block.name}.png")
    write_text_atomic(path, text(document, path.parent, folder.name))


def require_matplotlib() -> None:
    """Refuse to go on without it.

    Raises:
        SpecError: it is not there.
    """
    if find_spec("matplotlib") is None:
        raise SpecError(
            "--format md: matplotlib is not installed; pip install 'hpsearch[png]', or take "
            "--format html"
        )


def text(document: Document, place: Path, figures: str) -> str:
    """The Markdown, in which texts of others mean nothing but themselves.

    Args:
        document: to write.
        place: folder of the file, from which pictures are linked.
        figures: name of the folder of figures.
    """
    environment = Environment(
        loader=PackageLoader("hpsearch.reports", "templates"),
        autoescape=False,  # `plain` escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": _plain,
        "fenced": _fenced,
        "link": lambda picture: Path(os.path.relpath(picture, place)).as_posix(),
    }
    return environment.get_template("report.md.j2").render(document=document, figures=figures)


def _plain(words: object) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", printable(" ".join(str(words).split("\n"))))


def _fenced(words: str) -> str:
    longest = max((len(run) for run in re.findall("`+", words)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{words.rstrip()}\n{fence}"


def _draw(block: Figure, path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    block.draw(canvas.subplots())
    with atomic_path(path) as partial:
        canvas.savefig(partial, format="png")

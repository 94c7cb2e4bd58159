"""Scores of the test images by type, with the threshold above which an image is flagged."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.evaluation.auroc import auroc
from hpsearch.reports.document import Figure, Table
from hpsearch.reports.drawing import COLOURS, Area, Axis, Drawing, Mark, Rule
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.results import scores_at

FloatArray = NDArray[np.float64]

_BINS = 40
_DRAWN = 5  # anomaly types with a line of their own
_LINE = 16  # characters
_TALLEST = 0.9  # of the height between two types
_OUTLIERS = 0.2  # percent at each end that is counted in the outermost bins


class TypeScores(NamedTuple):
    """Scores of the test images of a type, by the first final model.

    Attributes:
        name: of the type, `normal` for normals.
        origin: whether the search saw the type; empty for normals.
        scores: `(n,)`.
        auroc: against the test normals; None of themselves.
        flagged: share above the threshold, None where there is none.
    """

    name: str
    origin: str
    scores: FloatArray
    auroc: float | None
    flagged: float | None


class Histogram(NamedTuple):
    """Shares of images in bins.

    Attributes:
        edges: `(B + 1,)`.
        names: `(G,)`, with the number of images.
        shares: `(G, B)`; each row adds up to 1.
        threshold: None where there is none.
    """

    edges: FloatArray
    names: tuple[str, ...]
    shares: FloatArray
    threshold: float | None


def scores_by_type(data: StudyData) -> tuple[TypeScores, ...]:
    """Normals, then the types that the search saw, then the others, each by size.

    Images that the search saw are left out, as they are of the test figure.
    """
    table, roles, run = data.stored.table, data.roles, data.finals[0]
    flagging = data.result.flagging
    threshold = flagging.threshold.threshold if flagging else None
    normals = scores_at(run, table, roles.normals)
    types = table["anomaly_type"].to_numpy(dtype=object)

    def row(name: str, origin: str, scores: FloatArray) -> TypeScores:
        flagged = None if threshold is None else float((scores > threshold).mean())
        return TypeScores(name, origin, scores, auroc(normals, scores) if origin else None, flagged)

    found = [row("normal", "", normals)]
    for origin, positions in (("seen", roles.seen), ("never seen", roles.unseen)):
        of_type = {name: positions[types[positions] == name] for name in set(types[positions])}
        for name in sorted(of_type, key=lambda name: (-len(of_type[name]), name)):
            found.append(row(name, origin, scores_at(run, table, of_type[name])))
    return tuple(found)


def histogram(rows: tuple[TypeScores, ...], threshold: float | None) -> Histogram:
    """Bins over the scores of all; types beyond the first few are counted together."""
    lines = [(f"{row.name} ({len(row.scores)})", row.scores) for row in rows[: 1 + _DRAWN]]
    rest = rows[1 + _DRAWN :]
    if rest:
        together = np.concatenate([row.scores for row in rest])
        lines.append((f"{len(rest)} other types ({len(together)})", together))
    scores = np.concatenate([of_type for _, of_type in lines])
    low, high = np.percentile(scores, (_OUTLIERS, 100 - _OUTLIERS))
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    counts = [np.histogram(of_type.clip(low, edges[-1]), edges)[0] for _, of_type in lines]
    shares = np.array([count / count.sum() for count in counts])
    return Histogram(edges, tuple(name for name, _ in lines), shares, threshold)


def histogram_block(found: Histogram, rows: tuple[TypeScores, ...]) -> Figure:
    """A line a type."""
    said = "" if found.threshold is None else f" The threshold is {found.threshold:.4g}."
    named = ", ".join(f"{row.name} {np.median(row.scores):.3g}" for row in rows[: 1 + _DRAWN])
    return Figure(
        name="scores",
        caption="Anomaly scores of the test images by type, the share of its images in each of "
        f"{_BINS} bins; the outermost hold what lies beyond.{said}",
        alt=f"Median scores: {named}.",
        drawing=_drawing(found),
        numbers=Table(
            "Scores by type",
            ("type", "lowest tenth ends at", "median", "highest tenth begins at"),
            tuple(
                (row.name, *(f"{value:.4g}" for value in np.percentile(row.scores, (10, 50, 90))))
                for row in rows
            ),
        ),
    )


def type_table(rows: tuple[TypeScores, ...]) -> Table:
    """How well each type is found."""
    return Table(
        "The winner's first final model, type by type; ROC AUC is against the test normals",
        ("type", "in the search", "test images", "ROC AUC", "flagged"),
        tuple(
            (
                row.name,
                row.origin or "trained on",
                str(len(row.scores)),
                "–" if row.auroc is None else f"{row.auroc:.3f}",
                "no threshold" if row.flagged is None else f"{100 * row.flagged:.1f} %",
            )
            for row in rows
        ),
    )


def _drawing(found: Histogram) -> Drawing:
    """Outlines one above the other, the first on top."""
    n_types, tallest = len(found.names), found.shares.max()
    corners = np.repeat(found.edges, 2)
    marks: list[Mark] = []
    for row, shares in enumerate(found.shares):
        heights = np.concatenate([[0.0], np.repeat(shares, 2), [0.0]]) * _TALLEST / tallest
        outline = n_types - 1 - row + heights
        marks.append(Area(corners, outline, COLOURS[min(row, 1)], opacity=0.35, width=1.5))
    if found.threshold is not None:
        rule = Rule(found.threshold, is_upright=True, label="flagged →", dash="dash", width=2)
        marks.append(rule)
    names = {n_types - 1.0 - row: _broken(name) for row, name in enumerate(found.names)}
    return Drawing(
        marks,
        Axis("anomaly score"),
        Axis(ticks=names, limits=(-0.05, n_types + 0.05)),
        height=130 + 60 * n_types,
    )


def _broken(name: str) -> str:
    """A name with its count below it, on as many lines as fit beside a figure on a phone."""
    words, _, count = name.rpartition(" ")
    parts = [words[start : start + _LINE] for start in range(0, len(words), _LINE)]
    return "\n".join((*parts, count))

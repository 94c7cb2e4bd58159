"""Figures of the winner's test scores: ROC curves, and a histogram a type of image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.evaluation.auroc import (
    Estimate,
    auroc,
    draw_counts,
    independent_units,
    interval_words,
)
from hpsearch.protocol.folds import Positions
from hpsearch.reports.document import Figure, Table
from hpsearch.reports.drawing import (
    COLOURS,
    DASHES,
    NEUTRAL,
    Area,
    Axis,
    Drawing,
    Line,
    Mark,
    Rule,
)
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.results import scores_at

Floats = NDArray[np.float64]

FALSE_POSITIVES: Floats = np.linspace(0.0, 1.0, 201)
"""Where curves are evaluated, so that those of resamples can be compared."""

_CHUNK_CELLS = 1_000_000  # resamples x images held at once
_TOLD = (0.01, 0.05, 0.1, 0.2)  # false-positive rates in the table


class RocCurve(NamedTuple):
    """A curve, the mean of one or more trainings, with its pointwise band.

    Attributes:
        true_positives, low, high: `(P,)`, at `FALSE_POSITIVES`.
    """

    true_positives: Floats
    low: Floats
    high: Floats


class NamedCurve(NamedTuple):
    """A curve of some of the test anomalies, and the area under it.

    Attributes:
        name: of the anomalies.
        curve: theirs.
        estimate: of the area under it.
    """

    name: str
    curve: RocCurve
    estimate: Estimate


def roc_with_band(
    normals: Floats,
    anomalies: Floats,
    *,
    normal_groups: NDArray[np.generic],
    anomaly_groups: NDArray[np.generic],
    n_resamples: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> RocCurve:
    """The curve of K trainings on the same images.

    The band is the percentile bootstrap of `evaluation.auroc.bootstrap_auroc`: whole groups are
    drawn, those of each class apart.

    Args:
        normals, anomalies: scores `(K, N)` and `(K, A)`.
        normal_groups, anomaly_groups: `(N,)` and `(A,)`.
        n_resamples, level, seed: of the band.
    """
    n_normal, n_anomaly = normals.shape[1], anomalies.shape[1]
    whole = (np.ones((1, n_normal), np.int64), np.ones((1, n_anomaly), np.int64))
    normal_rng, anomaly_rng = np.random.default_rng(seed).spawn(2)
    normal_units, anomaly_units = map(independent_units, (normal_groups, anomaly_groups))
    most = max(1, _CHUNK_CELLS // (n_normal + n_anomaly))
    drawn = [
        _mean_curves(
            normals,
            anomalies,
            draw_counts(normal_units, n_rows, normal_rng),
            draw_counts(anomaly_units, n_rows, anomaly_rng),
        )
        for start in range(0, n_resamples, most)
        for n_rows in (min(most, n_resamples - start),)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(drawn), (tail, 1.0 - tail), axis=0)
    return RocCurve(_mean_curves(normals, anomalies, *whole)[0], low, high)


def winner_curves(data: StudyData) -> tuple[NamedCurve, ...]:
    """Of the anomalies of seen types and of unseen types, those that there are."""
    of_types = (
        ("types seen in the search", data.roles.seen, data.result.seen),
        ("types never seen", data.roles.unseen, data.result.unseen),
    )
    return tuple(
        NamedCurve(name, _curve(data, positions), estimate)
        for name, positions, estimate in of_types
        if estimate is not None
    )


def roc_block(curves: tuple[NamedCurve, ...]) -> Figure:
    """The curves with their bands."""
    areas = "; ".join(f"{one.name} {_area(one.estimate)}" for one in curves)
    rows = []
    for rate in _TOLD:
        index = int(np.searchsorted(FALSE_POSITIVES, rate - 1e-9))
        shares = []
        for one in curves:
            low, high = one.curve.low[index], one.curve.high[index]
            band = "no band"
            if one.estimate.interval:
                band = interval_words(low, high, decimals=2, dash="–")
            shares.append(f"{one.curve.true_positives[index]:.2f} ({band})")
        rows.append((f"{rate:.0%}", *shares))
    return Figure(
        name="roc",
        caption="ROC of the winner on the test images; bands: 95 %, bootstrap over groups.",
        alt=f"Area under the curve: {areas}.",
        drawing=_roc_drawing(curves),
        numbers=Table(
            "Share of anomalies found (95 % band) at a share of normal images flagged",
            ("normal images flagged", *(one.name for one in curves)),
            tuple(rows),
        ),
    )


def _curve(data: StudyData, anomalies: Positions) -> RocCurve:
    groups = data.stored.table["group"].to_numpy(dtype=object).astype(str)

    def scores(positions: Positions) -> Floats:
        return np.stack([scores_at(run, data.stored.table, positions) for run in data.finals])

    return roc_with_band(
        scores(data.roles.normals),
        scores(anomalies),
        normal_groups=groups[data.roles.normals],
        anomaly_groups=groups[anomalies],
        seed=data.spec.search.seed,
    )


def _mean_curves(
    normals: Floats,
    anomalies: Floats,
    normal_weights: NDArray[np.int64],
    anomaly_weights: NDArray[np.int64],
) -> Floats:
    """True-positive rates `(R, P)` of R weightings, the mean over trainings."""
    curves = []
    for normal, anomaly in zip(normals, anomalies, strict=True):
        thresholds = np.unique(np.concatenate([normal, anomaly]))[::-1]
        false = _rates(normal, normal_weights, thresholds)
        true = _rates(anomaly, anomaly_weights, thresholds)
        rows = zip(false, true, strict=True)
        curves.append([np.interp(FALSE_POSITIVES, x, y) for x, y in rows])
    mean: Floats = np.mean(curves, axis=0)
    return mean


def _rates(scores: Floats, weights: NDArray[np.int64], thresholds: Floats) -> NDArray[np.float64]:
    """Weight `(R, 1 + T)` of scores at or above falling thresholds `(T,)`; none at the first."""
    order = np.argsort(-scores)
    sums = np.zeros((len(weights), scores.size + 1))
    np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
    reached = np.searchsorted(-scores[order], -thresholds, side="right")
    rates: Floats = sums[:, np.concatenate([[0], reached])] / sums[:, -1:]
    return rates


def _area(estimate: Estimate) -> str:
    return f"{estimate.auroc:.3f} ({estimate.interval_words(dash='–')})"


def _roc_drawing(curves: tuple[NamedCurve, ...]) -> Drawing:
    marks: list[Mark] = [Line([0, 1], [0, 1], "chance", NEUTRAL, "dot", width=1)]
    rates = FALSE_POSITIVES
    for one, colour, dash in zip(curves, COLOURS, DASHES, strict=False):
        found = one.curve.true_positives
        if one.estimate.interval:
            there_and_back = np.concatenate([rates, rates[::-1]])
            band = np.concatenate([one.curve.high, one.curve.low[::-1]])
            marks.append(Area(there_and_back, band, colour, opacity=0.2))
        marks.append(
            Line(
                [0, *rates],
                [0, *found],
                f"{one.name}: {_area(one.estimate)}",
                colour,
                dash,
                width=2.5,
                hover=[
                    f"{x:.3f} of normals flagged: {y:.3f} found"
                    for x, y in zip((0, *rates), (0, *found), strict=True)
                ],
            )
        )
    limits = (-0.01, 1.01)
    return Drawing(
        marks,
        Axis("normal images flagged", limits=limits),
        Axis("anomalies found", limits=limits),
        height=520,
    )


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
    scores: Floats
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

    edges: Floats
    names: tuple[str, ...]
    shares: Floats
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

    def row(name: str, origin: str, scores: Floats) -> TypeScores:
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
        drawing=_histogram_drawing(found),
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


def _histogram_drawing(found: Histogram) -> Drawing:
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
    ticks: dict[float, str] = {}
    for row, name in enumerate(found.names):
        # The count below the name, on as many lines as fit beside a figure on a phone.
        words, _, count = name.rpartition(" ")
        parts = [words[start : start + _LINE] for start in range(0, len(words), _LINE)]
        ticks[n_types - 1.0 - row] = "\n".join((*parts, count))
    return Drawing(
        marks,
        Axis("anomaly score"),
        Axis(ticks=ticks, limits=(-0.05, n_types + 0.05)),
        height=130 + 60 * n_types,
    )

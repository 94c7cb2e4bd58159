"""ROC curves of the winner on the test images, with a band that resamples groups."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.evaluation.auroc import draw_counts, independent_units
from hpsearch.evaluation.threshold import Estimate, interval_words
from hpsearch.protocol.folds import Positions
from hpsearch.reports.document import Figure, Table
from hpsearch.reports.drawing import COLOURS, DASHES, NEUTRAL, Area, Axis, Drawing, Line, Mark
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.results import scores_at

FloatArray = NDArray[np.float64]

FALSE_POSITIVES: FloatArray = np.linspace(0.0, 1.0, 201)
"""Where curves are evaluated, so that those of resamples can be compared."""

_CHUNK_CELLS = 1_000_000  # resamples x images held at once
_TOLD = (0.01, 0.05, 0.1, 0.2)  # false-positive rates in the table


class RocCurve(NamedTuple):
    """A curve, the mean of one or more trainings, with its pointwise band.

    Attributes:
        true_positives, low, high: `(P,)`, at `FALSE_POSITIVES`.
    """

    true_positives: FloatArray
    low: FloatArray
    high: FloatArray


class NamedCurve(NamedTuple):
    """A curve of some of the test anomalies, and the area under it."""

    name: str
    curve: RocCurve
    estimate: Estimate


def roc_with_band(
    normals: FloatArray,
    anomalies: FloatArray,
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
    drawn = [
        _mean_curves(
            normals,
            anomalies,
            draw_counts(normal_units, n_rows, normal_rng),
            draw_counts(anomaly_units, n_rows, anomaly_rng),
        )
        for n_rows in _chunks(n_resamples, n_normal + n_anomaly)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(drawn), (tail, 1.0 - tail), axis=0)
    return RocCurve(_mean_curves(normals, anomalies, *whole)[0], low, high)


def winner_curves(data: StudyData) -> tuple[NamedCurve, ...]:
    """Of the anomalies of seen types and of unseen types, those that there are."""
    found = (
        ("types seen in the search", data.roles.seen, data.result.seen),
        ("types never seen", data.roles.unseen, data.result.unseen),
    )
    return tuple(
        NamedCurve(name, _curve(data, positions), estimate)
        for name, positions, estimate in found
        if estimate is not None
    )


def roc_block(curves: tuple[NamedCurve, ...]) -> Figure:
    """The curves with their bands."""
    areas = "; ".join(f"{one.name} {_area(one.estimate)}" for one in curves)
    rows = [
        (
            f"{rate:.0%}",
            *(_rate(one, int(np.searchsorted(FALSE_POSITIVES, rate - 1e-9))) for one in curves),
        )
        for rate in _TOLD
    ]
    return Figure(
        name="roc",
        caption="ROC of the winner on the test images; bands: 95 %, bootstrap over groups.",
        alt=f"Area under the curve: {areas}.",
        drawing=_drawing(curves),
        numbers=Table(
            "Share of anomalies found (95 % band) at a share of normal images flagged",
            ("normal images flagged", *(one.name for one in curves)),
            tuple(rows),
        ),
    )


def _curve(data: StudyData, anomalies: Positions) -> RocCurve:
    groups = data.stored.table["group"].to_numpy(dtype=object).astype(str)

    def scores(positions: Positions) -> FloatArray:
        return np.stack([scores_at(run, data.stored.table, positions) for run in data.finals])

    return roc_with_band(
        scores(data.roles.normals),
        scores(anomalies),
        normal_groups=groups[data.roles.normals],
        anomaly_groups=groups[anomalies],
        seed=data.spec.search.seed,
    )


def _mean_curves(
    normals: FloatArray,
    anomalies: FloatArray,
    normal_weights: NDArray[np.int64],
    anomaly_weights: NDArray[np.int64],
) -> FloatArray:
    """True-positive rates `(R, P)` of R weightings, the mean over trainings."""
    curves = []
    for normal, anomaly in zip(normals, anomalies, strict=True):
        thresholds = np.unique(np.concatenate([normal, anomaly]))[::-1]
        false = _rates(normal, normal_weights, thresholds)
        true = _rates(anomaly, anomaly_weights, thresholds)
        rows = zip(false, true, strict=True)
        curves.append([np.interp(FALSE_POSITIVES, x, y) for x, y in rows])
    mean: FloatArray = np.mean(curves, axis=0)
    return mean


def _rates(
    scores: FloatArray, weights: NDArray[np.int64], thresholds: FloatArray
) -> NDArray[np.float64]:
    """Weight `(R, 1 + T)` of scores at or above falling thresholds `(T,)`; none at the first."""
    order = np.argsort(-scores)
    sums = np.zeros((len(weights), scores.size + 1))
    np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
    reached = np.searchsorted(-scores[order], -thresholds, side="right")
    rates: FloatArray = sums[:, np.concatenate([[0], reached])] / sums[:, -1:]
    return rates


def _chunks(n_resamples: int, n_images: int) -> Iterator[int]:
    rows = max(1, _CHUNK_CELLS // n_images)
    for start in range(0, n_resamples, rows):
        yield min(rows, n_resamples - start)


def _area(estimate: Estimate) -> str:
    return f"{estimate.auroc:.3f} ({estimate.interval_words(dash='–')})"


def _rate(one: NamedCurve, index: int) -> str:
    curve = one.curve
    low, high = curve.low[index], curve.high[index]
    band = interval_words(low, high, decimals=2, dash="–") if one.estimate.interval else "no band"
    return f"{curve.true_positives[index]:.2f} ({band})"


def _drawing(curves: tuple[NamedCurve, ...]) -> Drawing:
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

"""ROC curves of the winner on the test images, with a band that resamples groups."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpsearch.evaluation.auroc import Estimate, draw_counts, independent_units, interval_words
from hpsearch.protocol.folds import Positions
from hpsearch.reports.document import Figure, Table
from hpsearch.reports.look import COLOURS, DASHES, GREY, lay_out, png_dash, veil
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.results import scores_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

    The band is the percentile bootstrap of `metrics.bootstrap_auroc`: whole groups are drawn, those
    of each class apart.

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
        plotly=_draw(curves),
        draw=lambda axes: _draw_png(curves, axes),
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


def _draw(curves: tuple[NamedCurve, ...]) -> go.Figure:
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "width": 1, "dash": "dot"},
        name="chance",
        hoverinfo="skip",
    )
    for one, colour, dash in zip(curves, COLOURS, DASHES, strict=False):
        if one.estimate.interval:
            figure.add_scatter(
                x=np.concatenate([FALSE_POSITIVES, FALSE_POSITIVES[::-1]]),
                y=np.concatenate([one.curve.high, one.curve.low[::-1]]),
                fill="toself",
                fillcolor=veil(colour, 0.2),
                mode="none",
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=[0, *FALSE_POSITIVES],
            y=[0, *one.curve.true_positives],
            mode="lines",
            line={"color": colour, "width": 2.5, "dash": dash},
            name=f"{one.name}: {_area(one.estimate)}",
            hovertemplate="%{x:.3f} of normals flagged: %{y:.3f} found<extra></extra>",
        )
    return (
        lay_out(
            figure,
            x="normal images flagged",
            y="anomalies found",
            height=520,
        )
        .update_yaxes(range=[-0.01, 1.01])
        .update_xaxes(range=[-0.01, 1.01])
    )


def _draw_png(curves: tuple[NamedCurve, ...], axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], ":", color=GREY)
    for one, colour, dash in zip(curves, COLOURS, DASHES, strict=False):
        if one.estimate.interval:
            ends = (one.curve.low, one.curve.high)
            axes.fill_between(FALSE_POSITIVES, *ends, color=colour, alpha=0.2)
        axes.plot(
            [0, *FALSE_POSITIVES],
            [0, *one.curve.true_positives],
            color=colour,
            linestyle=png_dash(dash),
            label=f"{one.name}: {_area(one.estimate)}",
        )
    axes.set(xlabel="normal images flagged", ylabel="anomalies found")
    axes.legend(loc="lower right")

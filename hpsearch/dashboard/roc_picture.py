"""ROC curves as a PNG."""

from collections.abc import Sequence
from io import BytesIO
from itertools import cycle

from hpsearch.dashboard.roc import FoldCurve
from hpsearch.errors import SpecError

# Okabe & Ito's palette, which colour-blind readers can tell apart, with a dash pattern each.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("-", "--", "-.", ":")
_INCHES, _DOTS_PER_INCH = 5.0, 100


def roc_picture(curves: Sequence[FoldCurve], title: str) -> bytes:
    """Draw the curves of a trial's folds.

    Raises:
        SpecError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SpecError(
            "pictures: matplotlib is not installed; pip install 'hpsearch[dashboard]'"
        ) from error

    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for fold, (curve, colour, dash) in enumerate(
        zip(curves, cycle(_COLOURS), cycle(_DASHES), strict=False)
    ):
        axes.plot(
            curve.false_positives,
            curve.true_positives,
            color=colour,
            linestyle=dash,
            linewidth=2,
            label=f"fold {fold}: {curve.auroc:.3f} "
            f"({curve.n_normal} normal, {curve.n_anomaly} anomalous)",
        )
    axes.set(
        xlabel="normal images flagged",
        ylabel="labelled anomalies flagged",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.legend(loc="lower right", fontsize=9, title="validation ROC AUC")
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()

"""What a threshold flags of the test images, and whether these are like what it was made from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpsearch.results import FoldResult, scores_at
from hpsearch.selection.conformal import ConformalThreshold

if TYPE_CHECKING:  # it imports torch, which a command that only reads need not wait for
    from hpsearch.budget import TestRoles

_SIGNIFICANT = 0.05  # both sides together


@dataclass(frozen=True)
class Flagging:
    """From which score on the final model calls an image anomalous, and how that turned out.

    Attributes:
        threshold: from the fold models' scores of the normals that they were not trained on, on
            the final model's scale (`hpsearch.selection.one_scale`). The final model has seen all
            of those, so its rate is checked on the test normals.
        normals: share of the test normals that it flags.
        anomalies: share of the anomalies of the final figure that it flags.
    """

    threshold: ConformalThreshold
    normals: float
    anomalies: float

    def warning(self, n_normal: int) -> str | None:
        """What to tell where the test normals are not like those that the threshold is from.

        Args:
            n_normal: test normals. More of them, or fewer, are flagged than chance explains.
        """
        few, many = self.threshold.chances(round(self.normals * n_normal), n_normal)
        if min(few, many) >= _SIGNIFICANT / 2:
            return None
        rates = (
            f"the threshold was set to flag {100 * self.threshold.rate:g} % of normal images and "
            f"flags {100 * self.normals:.1f} % of the test normals"
        )
        if few < many:
            return (
                f"{rates}: it is too high for these, so anomalies pass below it; set it anew on "
                "normals of your own"
            )
        return (
            f"{rates}: these differ from the normals of the search, so set it anew on normals of "
            "your own; and where the labelled anomalies were taken like the test images, their AUC "
            "may rest on that difference"
        )


def flagged(
    threshold: ConformalThreshold, run: FoldResult, table: pd.DataFrame, roles: "TestRoles"
) -> Flagging:
    """What a final training flags of the test images."""

    def share(positions: Any) -> float:
        return float((scores_at(run, table, positions) > threshold.threshold).mean())

    return Flagging(threshold, share(roles.normals), share(roles.headline))

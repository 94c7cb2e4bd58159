"""Placements: what each image alone adds to an AUC, from which every other figure is made.

The AUC of normals against anomalies is the mean of the anomalies' placements among the normals, so
the AUC of any subset of the anomalies is a mean again, and no ranks are computed anew.
Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837-845, section 2.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def placements(scores: ArrayLike, among: ArrayLike) -> NDArray[np.float64]:
    """The share of `among` `(N,)` that each of `scores` `(A,)` lies above, in [0, 1].

    An equal one counts one half.

    Returns:
        `(A,)`.
    """
    others = np.sort(np.asarray(among, dtype=np.float64))
    values = np.asarray(scores, dtype=np.float64)
    below = np.searchsorted(others, values, side="left")
    up_to = np.searchsorted(others, values, side="right")
    shares: NDArray[np.float64] = (below + up_to) / (2.0 * others.size)
    return shares

"""What a detector returns, checked: it may come with a package that nobody here has seen."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.detectors.base import CURVE_COLUMNS, Training
from hpsearch.errors import TaskError

_CURVE = {column: "int64" if column == "step" else "float64" for column in CURVE_COLUMNS}


def checked_scores(found: object, n: int) -> NDArray[np.float64]:
    """Scores `(n,)` of n images, in double precision, as they are read back from a result.

    Raises:
        TaskError: they are no array of that many floats, or not all are finite.
    """
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != (n,):
        raise TaskError("bad_output", f"score returned {_kind(found)}, not {n} floats ({n},)")
    scores = found.astype(np.float64)
    if not np.isfinite(scores).all():
        raise TaskError("non_finite", f"{(~np.isfinite(scores)).sum()} scores are not finite")
    return scores


def checked_training(found: object) -> Training:
    """How a training went, as plain numbers.

    Raises:
        TaskError: it is no `Training`, or one of its fields is not what it says.
    """
    if not isinstance(found, Training):
        raise TaskError("bad_output", f"fit returned {_kind(found)}, not a Training")
    try:
        step = int(found.best_step)
        loss = None if found.best_loss is None else float(found.best_loss)
        curve = found.curve[list(CURVE_COLUMNS)].astype(_CURVE)
        notes = tuple(map(str, found.notes))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise TaskError("bad_output", f"fit returned a Training that is none: {error}") from error
    if loss is not None and not math.isfinite(loss):
        raise TaskError("non_finite", f"best_loss is {loss}")
    return Training(step, loss, curve, notes)


def _kind(found: object) -> str:
    if isinstance(found, np.ndarray):
        return f"an array of {found.dtype} {found.shape}"
    if isinstance(found, pd.DataFrame | pd.Series):
        return f"a {type(found).__name__} {found.shape}"
    return "None" if found is None else f"a {type(found).__name__}"

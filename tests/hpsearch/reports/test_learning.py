from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from hpsearch.reports.document import Text
from hpsearch.reports.learning import learning_block, learning_curves

NAN = np.nan


def _run(train: list[float], held_out: list[float]) -> Any:
    steps = [10 * (number + 1) for number in range(len(train))]
    curve = pd.DataFrame({"step": steps, "train_loss": train, "held_out_loss": held_out})
    return SimpleNamespace(curve=curve, best_step=20)


def test_a_curve_is_of_held_out_normals_where_there_are_some() -> None:
    folds = (_run([5.0, 4.0, 3.0], [1.0, NAN, 0.5]),)
    finals = (_run([2.0, 1.0], [NAN, NAN]),)
    fold, final = learning_curves(SimpleNamespace(folds=folds, finals=finals))  # type: ignore[arg-type]
    assert (fold.name, fold.held_out, fold.losses.tolist()) == ("fold 0", True, [1.0, 0.5])
    assert fold.steps.tolist() == [10, 30]
    assert (final.name, final.held_out, final.losses.tolist()) == ("final 1", False, [2.0, 1.0])


def test_a_detector_without_steps_has_no_curve() -> None:
    data = SimpleNamespace(folds=(_run([], []),), finals=())
    curves = learning_curves(data)  # type: ignore[arg-type]
    assert curves == ()
    assert isinstance(learning_block(curves), Text)

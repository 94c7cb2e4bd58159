"""Each kind of model of the detectors on frozen features, and each pool, as a graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.model.export.export import export
from hpsearch.model.model import Model

MakeModel = Callable[..., Model]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "memory": ("patch", {"pool": "top5"}),
    "reweighted": ("patch", {"reweight": True}),
    "position": ("patch", {"kind": "gaussian_position", "pool": "top1"}),
    "gaussian": ("patch", {"kind": "gaussian", "pool": "mean"}),
    "mixture": ("features", {"kind": "gmm", "layer": "r12+r22", "pooling": "mean_std"}),
    "kernel": ("features", {"kind": "kde", "layer": "r22+colour"}),
    "svm": ("features", {"kind": "ocsvm", "layer": "colour_percentiles"}),
    "components": ("features", {"kind": "pca"}),
    "pool": ("dpa", {"pool": "top5"}),
    "head": ("few", {}),
    "head on residuals": ("few", {"kind": "lda", "inputs": "residual"}),
    "head on raw features": ("few", {"inputs": "raw"}),
}


@pytest.mark.parametrize(("detector", "settings"), KINDS.values(), ids=KINDS)
def test_torch_gives_the_scores_of_predict(
    detector: str, settings: dict[str, Any], make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(detector, **settings)
    assert export(model, tmp_path / "out", "torch").difference < 1e-4


@pytest.mark.parametrize("kind", ["reweighted", "position", "svm", "head"])
def test_onnx_gives_the_scores_of_predict(kind: str, make_model: MakeModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs hpsearch[export]")
    detector, settings = KINDS[kind]
    assert export(make_model(detector, **settings), tmp_path / "out", "onnx").difference < 1e-3


def test_a_local_outlier_factor_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="factor is no network here; use hpsearch predict"):
        export(make_model("features", kind="lof"), tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())

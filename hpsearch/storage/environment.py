"""What a result depends on besides its spec: data, weights, versions, machine."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from hpsearch.datasets.table import Dataset
from hpsearch.detectors.backbones.backbone import Backbone
from hpsearch.storage.results import RECIPE

_PACKAGES = ("hpsearch", "torch", "torchvision", "optuna", "numpy", "scikit-learn", "pandas")


def inputs(
    dataset: Dataset, backbone: Backbone, *, folds_digest: str | None = None
) -> dict[str, Any]:
    """The part of `environment` that must be the same for a study to go on: what it computes from.

    Args:
        dataset, backbone: of the study.
        folds_digest: of the fold files' content, None where no such files are read.
    """
    return {
        "recipe": RECIPE,
        "data_fingerprint": dataset.fingerprint,
        "backbone_digest": backbone.digest,
        "statistics_digest": backbone.statistics_digest,
        "folds_digest": folds_digest,
    }


def environment(
    dataset: Dataset,
    backbone: Backbone,
    device: str,
    *,
    folds_digest: str | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Plain values for `env.json`.

    Args:
        dataset, backbone: of the study.
        device: where it trains.
        folds_digest: of the fold files' content, None where no such files are read.
        warnings: what everyone who reads a result must be told first, a line each.
    """
    return {
        **inputs(dataset, backbone, folds_digest=folds_digest),
        "dataset": dataset.name,
        "n_images": len(dataset.table),
        "warnings": list(warnings),
        "backbone": backbone.architecture.name,
        "backbone_source": backbone.source,
        "statistics_source": backbone.statistics_source,
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
    }

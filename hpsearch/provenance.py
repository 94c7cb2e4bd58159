"""What a result depends on besides its spec: data, weights, versions, machine."""

import platform
from importlib.metadata import version
from typing import Any

from hpsearch.backbones.backbone import Backbone
from hpsearch.datasets.table import Dataset

_PACKAGES = ("hpsearch", "torch", "torchvision", "optuna", "numpy", "scikit-learn", "pandas")


def environment(dataset: Dataset, backbone: Backbone, device: str) -> dict[str, Any]:
    """Plain values for `env.json`."""
    return {
        "dataset": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "n_images": len(dataset.table),
        "backbone": backbone.architecture.name,
        "backbone_digest": backbone.digest,
        "backbone_source": backbone.source,
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
    }

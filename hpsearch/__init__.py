"""Choose an image anomaly detector with many normal images and a handful of labelled anomalies."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpsearch.model.model import AnyModel

__all__ = ["load"]


def load(
    path: str | Path,
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    backbone_weights: str | Path | None = None,
) -> "AnyModel":
    """A trained model, ready to score images; see `hpsearch.model.model.AnyModel`.

    Args:
        path: the model's folder `final/<trial>/model`, a run directory, or the name of a study.
        runs: folder of run directories, where `path` is a name.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        backbone_weights: file of the frozen network's weights, where they are not in the usual
            place; they must be those that the model was trained with.

    Raises:
        UserError: there is no such model, or it or its backbone is damaged or another one.

    Example:
        >>> import hpsearch
        >>> hpsearch.load("model").score(["normal.png", "striped.png"]).shape
        (2,)
    """
    # Importing torch takes seconds, which `import hpsearch` should not.
    from hpsearch.model.bundle import find_model
    from hpsearch.model.model import load_model

    weights = Path(backbone_weights) if backbone_weights is not None else None
    return load_model(find_model(path, Path(runs)), device=device, backbone_weights=weights)

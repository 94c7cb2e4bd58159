"""The facts of a model, from the task that trained it."""

from typing import TYPE_CHECKING

from hpsearch.backbones.statistics_axis import statistics_in_words
from hpsearch.datasets.window import Window
from hpsearch.model.facts import BackboneFacts, ModelFacts, PreprocessingFacts, Provenance
from hpsearch.space import Params, preprocessing_of

if TYPE_CHECKING:  # these import torch, which a command that only reads need not wait for
    from hpsearch.backbones.backbone import Backbone
    from hpsearch.task import Task


def model_facts(
    task: "Task",
    *,
    backbone: "Backbone",
    channels: int,
    window: Window | None,
    provenance: Provenance,
) -> ModelFacts:
    """What the bundle of a trained task says beside its tensors.

    Args:
        task: that trained the model.
        backbone: the frozen network.
        channels: of the stored pixels, 1 or 3.
        window: through which files of more than 8 bits were seen.
        provenance: where the model came from.
    """
    return ModelFacts(
        detector=task.detector,
        params=dict(task.params),
        seed=task.seed,
        preprocessing=preprocessing_facts(task.params, channels=channels, window=window),
        backbone=BackboneFacts(
            name=backbone.architecture.name,
            digest=task.backbone_digest,
            statistics=statistics_in_words(task.params, backbone.statistics_source),
        ),
        provenance=provenance,
    )


def preprocessing_facts(
    params: Params, *, channels: int, window: Window | None = None
) -> PreprocessingFacts:
    """The preprocessing of a configuration, for images that are stored with `channels`.

    Raises:
        SpecError: a value out of its range.
    """
    steps = preprocessing_of(params)
    return PreprocessingFacts(
        window=window,
        greyscale=steps.greyscale,
        equalize=steps.equalize,
        central_crop=steps.central_crop,
        fit=steps.fit,
        size=steps.size,
        resolution=int(params["resolution"]),
        channels=1 if channels == 1 else 3,
    )

"""The options of commands that run studies, and the settings of a study that they stand for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsearch.cli.options import absolute, dataset_setting
from hpsearch.config.spec import StudySpec
from hpsearch.datasets.window import parse_window
from hpsearch.errors import SpecError

StudyOption = Annotated[
    str | None, typer.Option("--study", help="A study's YAML file, or the name of a shipped one.")
]
TypesOption = Annotated[
    int | None, typer.Option(help="Types of anomalies that the search may see.")
]
ExamplesOption = Annotated[int | None, typer.Option(help="Labelled anomalies, in all.")]
AnomaliesOption = Annotated[
    str | None, typer.Option(help="shared: all in every fold; partition: a part in each.")
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        help="One or more with commas: dpa, patch, features, few, anomalib:MODEL, pyod:CLASS, or a "
        "plug-in; auto for those that suit most images."
    ),
]
BackboneOption = Annotated[str | None, typer.Option(help="lite0, lite1, lite2, vgg19 or vgg-mini.")]
WeightsOption = Annotated[
    Path | None, typer.Option(help="File of its weights: .safetensors, or a .pth of tensors alone.")
]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(help="Folder of natural images, for the channel statistics of other weights."),
]
AxisOption = Annotated[
    list[str] | None,
    typer.Option(help="Choices of an axis, e.g. latent_dim=4,16; may be repeated."),
]
StudyNameOption = Annotated[str | None, typer.Option(help="Name of the run directory.")]
TrialsOption = Annotated[int | None, typer.Option(help="Configurations to try.")]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        help="Seconds after which the search starts no training; those under way have 60 s more."
    ),
]
FoldTimeoutOption = Annotated[
    float | None,
    typer.Option(help="Seconds that one training may take; it is ended then, and has failed."),
]
RetryOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Try every failed configuration again. Those that a lost worker, memory or a full "
        "disk ended are tried again without it, up to three times in all.",
    ),
]
SamplerOption = Annotated[str | None, typer.Option(help="auto, grid, tpe or random.")]
PrunerOption = Annotated[str | None, typer.Option(help="none, median or hyperband.")]
CriterionOption = Annotated[
    str | None, typer.Option(help="What chooses: weak (labelled), unsupervised or synthetic.")
]
PickOption = Annotated[
    str | None,
    typer.Option(
        help="Of configurations that the labels cannot tell apart: best value, or parsimonious "
        "(smallest bottleneck, the default)."
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Share of normal images that the final model may flag, 0.05 by default."),
]
SeedOption = Annotated[int | None, typer.Option(help="Of folds, labels and trainings.")]
StepsOption = Annotated[int | None, typer.Option(help="Cap of every training, for a first look.")]
ScaleOption = Annotated[
    float | None,
    typer.Option(help="Shortens every training in proportion, e.g. 0.01; above 0, up to 1."),
]
BatchOption = Annotated[int | None, typer.Option(help="Images a training step.")]
FinalOption = Annotated[
    str | None,
    typer.Option(
        help="Final model: single, average of the best few, or auto (average where the search is "
        "over several detectors)."
    ),
]
FinalRunsOption = Annotated[int | None, typer.Option(help="Final trainings, each with a seed.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that train.")]
LogOption = Annotated[
    list[str] | None,
    typer.Option(help="tensorboard or mlflow: keep trials and results there too; may be repeated."),
]

_SETTINGS = {
    "study_name": "study_name",
    "dataset": "dataset.name",
    "root": "dataset.root",
    "normal_class": "dataset.normal_class",
    "window": "dataset.window",
    "multi_label": "dataset.multi_label",
    "links": "dataset.links",
    "n_anomaly_types": "labels.n_anomaly_types",
    "n_examples": "labels.n_examples",
    "anomalies": "labels.anomalies",
    "detector": "detector",
    "backbone": "backbone.name",
    "backbone_weights": "backbone.weights",
    "backbone_statistics": "backbone.statistics",
    "n_trials": "search.n_trials",
    "timeout": "search.timeout",
    "fold_timeout": "search.fold_timeout",
    "sampler": "search.sampler",
    "pruner": "search.pruner",
    "criterion": "search.criterion",
    "pick": "search.pick",
    "seed": "search.seed",
    "protocol": "search.protocol",
    "folds": "search.folds",
    "allow_leak": "search.allow_leak",
    "split_groups": "search.split_groups",
    "max_steps": "training.max_steps",
    "batch_size": "training.batch_size",
    "final": "final.model",
    "n_runs": "final.n_runs",
    "false_positive_rate": "final.false_positive_rate",
}
"""Option: the setting of a study that it overrides."""

DRAW = ("n_anomaly_types", "n_examples", "anomalies")
"""The options that say which labelled anomalies are drawn."""


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as the nested mapping of a study; paths become absolute.

    Raises:
        SpecError: the window is none.
    """
    options = {**options, "dataset": dataset_setting(options.get("dataset"))}
    if options.get("window") is not None:
        options["window"] = parse_window(options["window"])
    nested: dict[str, Any] = {}
    for option, setting in _SETTINGS.items():
        value = options.get(option)
        if value is None:
            continue
        *sections, name = setting.split(".")
        target = nested
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = absolute(value) if isinstance(value, Path) else value
    return nested


def refuse_draw(spec: StudySpec, options: Mapping[str, Any]) -> None:
    """Refuse options of the draw of labelled anomalies where fold files name them.

    Raises:
        SpecError: one of them was given.
    """
    given = [name for name in DRAW if options.get(name) is not None]
    if spec.search.protocol == "official" and given:
        raise SpecError(
            f"--{given[0].replace('_', '-')}: protocol official draws no labelled anomalies, its "
            "fold files name them; leave it out, or take --protocol clean"
        )

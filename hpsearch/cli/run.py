"""`hpsearch run`: start a study, or go on with it, to its final result."""

import re
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cache import cache_dir
from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import (
    DEFAULT_RUNS,
    DatasetOption,
    JsonOption,
    NormalClassOption,
    RootOption,
    RunsOption,
    absolute,
    parse_axes,
    set_options,
)
from hpsearch.cli.summary import print_summary
from hpsearch.datasets.registry import NAMES
from hpsearch.spec import StudySpec, build_spec
from hpsearch.studies import read_study, shipped_studies
from hpsearch.study import run_study

QUICKSTART = "quickstart"
OWN_DATA = "own-data"
DEFAULT_DETECTOR: str = StudySpec.model_fields["detector"].default


def run(
    study: Annotated[
        str | None,
        typer.Option("--study", help="A study's YAML file, or the name of a shipped one."),
    ] = None,
    dataset: DatasetOption = None,
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    n_anomaly_types: Annotated[
        int | None, typer.Option(help="Types of anomalies that the search may see.")
    ] = None,
    n_examples: Annotated[int | None, typer.Option(help="Labelled anomalies, in all.")] = None,
    anomalies: Annotated[
        str | None, typer.Option(help="shared: all in every fold; partition: a part in each.")
    ] = None,
    detector: Annotated[str | None, typer.Option(help="dpa, features, or a plug-in.")] = None,
    backbone: Annotated[str | None, typer.Option(help="vgg19 or vgg-mini.")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="File of its weights: .pth or .safetensors.")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(help="Choices of an axis, e.g. latent_dim=4,16; may be repeated."),
    ] = None,
    study_name: Annotated[str | None, typer.Option(help="Name of the run directory.")] = None,
    n_trials: Annotated[int | None, typer.Option(help="Configurations to try.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no training is started.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="auto, grid, tpe or random.")] = None,
    pruner: Annotated[str | None, typer.Option(help="none, median or hyperband.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of folds, labels and trainings.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Cap of every training, for a first look.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a training step.")] = None,
    n_runs: Annotated[int | None, typer.Option(help="Final trainings, each with a seed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that train.")] = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Search, train the winner, and say how good it is; goes on where it was stopped.

    Without options it runs the quickstart study on images that come with the package.
    """
    base = read_study(study or default_study(dataset))
    options = set_options(
        study_name=study_name,
        dataset__name=_absolute_dataset(dataset),
        dataset__root=absolute(root),
        dataset__normal_class=normal_class,
        labels__n_anomaly_types=n_anomaly_types,
        labels__n_examples=n_examples,
        labels__anomalies=anomalies,
        detector=detector,
        backbone__name=backbone,
        backbone__weights=absolute(backbone_weights),
        search__n_trials=n_trials,
        search__timeout=timeout,
        search__sampler=sampler,
        search__pruner=pruner,
        search__seed=seed,
        training__max_steps=max_steps,
        training__batch_size=batch_size,
        final__n_runs=n_runs,
        space=parse_axes(axis, detector or base.get("detector", DEFAULT_DETECTOR))
        if axis
        else None,
    )
    name = default_name(study, dataset, normal_class, detector)
    spec = build_spec({"study_name": name, **base}, options)
    listener = listener_for(json=json)
    with listener:
        folder, result = run_study(
            spec,
            runs=runs,
            cache_dir=cache_dir(),
            listener=listener,
            device=device,
            workers=workers,
        )
    print_summary(folder, result, json=json)


def default_study(dataset: str | None) -> str:
    """The shipped study for a dataset: its own, or the one for the user's own data."""
    if dataset is None:
        return QUICKSTART
    return dataset if dataset in shipped_studies() else OWN_DATA


def default_name(
    study: str | None, dataset: str | None, normal_class: str | None, detector: str | None
) -> str:
    """Name of the run directory: that of the study or of the data, and the detector."""
    if study or dataset is None:
        parts = [Path(study or QUICKSTART).stem, detector]
    elif dataset in NAMES:
        parts = [dataset, normal_class, detector or DEFAULT_DETECTOR]
    else:
        path = Path(dataset).absolute()
        own = path.parent.name if path.stem == "manifest" else path.stem
        parts = [
            re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-.") or "data",
            detector or DEFAULT_DETECTOR,
        ]
    return "-".join(part for part in parts if part)


def _absolute_dataset(dataset: str | None) -> str | None:
    is_name = dataset is None or dataset in NAMES
    return dataset if is_name or not Path(str(dataset)).exists() else absolute(Path(str(dataset)))

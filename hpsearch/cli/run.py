"""`hpsearch run`: start a study, or go on with it, to its final result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from hpsearch.cli import run_options as options
from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import (
    DEFAULT_RUNS,
    AllowLeakOption,
    DatasetOption,
    FoldsOption,
    JsonOption,
    LinksOption,
    MultiLabelOption,
    NormalClassOption,
    ProtocolOption,
    RootOption,
    RunsOption,
    SplitGroupsOption,
    WindowOption,
    data_name,
    file_name,
    parse_axes,
)
from hpsearch.cli.summary import print_summary
from hpsearch.config.spec import StudySpec, build_spec, read_study, shipped_studies
from hpsearch.datasets.registry import NAMES
from hpsearch.errors import SpecError
from hpsearch.io.cache import cache_dir
from hpsearch.paper.ablation import ROWS
from hpsearch.storage.run_dir import RunDir

QUICKSTART = "quickstart"
OWN_DATA = "own-data"
DEFAULT_DETECTOR: str = StudySpec.model_fields["detector"].default


def run(
    context: typer.Context,
    study: options.StudyOption = None,
    dataset: DatasetOption = None,
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    window: WindowOption = None,
    multi_label: MultiLabelOption = None,
    links: LinksOption = None,
    n_anomaly_types: options.TypesOption = None,
    n_examples: options.ExamplesOption = None,
    anomalies: options.AnomaliesOption = None,
    detector: options.DetectorOption = None,
    backbone: options.BackboneOption = None,
    backbone_weights: options.WeightsOption = None,
    backbone_statistics: options.StatisticsOption = None,
    axis: options.AxisOption = None,
    study_name: options.StudyNameOption = None,
    n_trials: options.TrialsOption = None,
    timeout: options.TimeoutOption = None,
    fold_timeout: options.FoldTimeoutOption = None,
    retry_failed: options.RetryOption = False,
    sampler: options.SamplerOption = None,
    pruner: options.PrunerOption = None,
    criterion: options.CriterionOption = None,
    pick: options.PickOption = None,
    seed: options.SeedOption = None,
    protocol: ProtocolOption = None,
    folds: FoldsOption = None,
    allow_leak: AllowLeakOption = None,
    split_groups: SplitGroupsOption = None,
    max_steps: options.StepsOption = None,
    scale: options.ScaleOption = None,
    batch_size: options.BatchOption = None,
    final: options.FinalOption = None,
    n_runs: options.FinalRunsOption = None,
    false_positive_rate: options.RateOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = None,
    log: options.LogOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Search, train the winner, and say how good it is; goes on where it was stopped.

    Without options it runs the quickstart study on images that come with the package. With the
    --study-name of a study that is there it goes on with that one, by its own settings. Exit code 3
    where no configuration was completed.
    """
    spec = _asked(context.params)
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.reports.trackers.logged import logged
    from hpsearch.study.run import run_study
    from hpsearch.study.scale import scaled

    if scale is not None:
        spec = scaled(spec, scale)
    study_dir = runs / spec.study_name
    with listener_for(json=json) as shown, logged(shown, log or (), study_dir) as listener:
        ran = run_study(
            spec,
            runs=runs,
            cache_dir=cache_dir(),
            listener=listener,
            device=device,
            workers=workers,
            retry_failed=retry_failed,
        )
    print_summary(ran.folder, ran.result, json=json)


def _asked(given: Mapping[str, Any]) -> StudySpec:
    """The study of the options: one to go on with, a shipped or a named one; and its changes."""
    base = _begun(given)
    if base is None:
        name = given["study"] or default_study(given["dataset"])
        base = read_study(name)
        if ROWS in base:
            raise SpecError(f"study {name}: is a table of studies; run `hpsearch reproduce table4`")
    settings = options.settings_of(given)
    detector = given["detector"] or base.get("detector", DEFAULT_DETECTOR)
    if given["axis"]:
        settings["space"] = parse_axes(given["axis"], detector, base)
    asked = detector if given["dataset"] and not given["study"] else given["detector"]
    name = default_name(
        given["study"], given["dataset"], given["normal_class"], asked, given["protocol"]
    )
    spec = build_spec({"study_name": name, **base}, settings)
    options.refuse_draw(spec, given)
    return spec


def _begun(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of a study that is there under the name given, where nothing else says more.

    A study's YAML does, and so does a scale, which these settings have in them already.
    """
    if given["study_name"] is None or given["study"] or given["scale"] is not None:
        return None
    folder = RunDir(given["runs"] / given["study_name"])
    return folder.spec().model_dump(mode="json") if folder.spec_file.exists() else None


def default_study(dataset: str | None) -> str:
    """The shipped study for a dataset: its own, or the one for the user's own data."""
    if dataset is None:
        return QUICKSTART
    return dataset if dataset in NAMES and dataset in shipped_studies() else OWN_DATA


def default_name(
    study: str | None,
    dataset: str | None,
    normal_class: str | None,
    detector: str | None,
    protocol: str | None = None,
) -> str:
    """Name of the run directory: of the study or the data, the detector, and fold files if any."""
    if study or dataset is None:
        parts = [Path(study or QUICKSTART).stem, detector]
    else:
        own_class = file_name(normal_class) if normal_class else None
        parts = [data_name(dataset), own_class, detector]
    parts.append(protocol if protocol == "official" else None)
    return "-".join(file_name(part) for part in parts if part)

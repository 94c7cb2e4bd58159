"""`hpsearch check`: is a dataset fit for a search?

`hpsearch datasets`: what there is to search on, and how to get the rest.
"""

import json as json_format
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import joblib
import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import (
    AllowLeakOption,
    DatasetOption,
    FoldsOption,
    JsonOption,
    LinksOption,
    MultiLabelOption,
    NormalClassOption,
    ProtocolOption,
    RootOption,
    SplitGroupsOption,
    WindowOption,
)
from hpsearch.cli.run_options import ExamplesOption, TypesOption, refuse_draw, settings_of
from hpsearch.cli.screen import Screen
from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.datasets.registry import dataset_infos, load_dataset
from hpsearch.errors import SpecError
from hpsearch.io.cache import cache_dir
from hpsearch.io.files import write_text_atomic
from hpsearch.io.processes import Reporter
from hpsearch.io.text import printable
from hpsearch.protocol.audit.audit import Audit, audit
from hpsearch.protocol.fold_files import read_fold_files
from hpsearch.protocol.protocol import Finding

_LISTED = 10  # findings of one kind on screen
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="File for everything found, as JSON.")
]


def check(
    context: typer.Context,
    dataset: DatasetOption = "synthetic-histology",
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    window: WindowOption = None,
    multi_label: MultiLabelOption = None,
    links: LinksOption = None,
    n_anomaly_types: TypesOption = None,
    n_examples: ExamplesOption = None,
    protocol: ProtocolOption = None,
    folds: FoldsOption = None,
    allow_leak: AllowLeakOption = None,
    split_groups: SplitGroupsOption = None,
    report: ReportOption = None,
    json: JsonOption = False,
) -> None:
    """Audit a dataset: unreadable images, empty classes, leaks, copies, too few anomalies.

    Exit code 1 where an error was found; warnings alone leave it 0.
    """
    spec = build_spec({"study_name": "check"}, settings_of(context.params))
    refuse_draw(spec, context.params)
    if report is not None and report.is_dir():
        raise SpecError(f"--report {printable(report)}: is a folder; give a file")
    with listener_for(json=json) as listener:
        found = _audit(spec, listener)
    if report is not None:
        try:
            write_text_atomic(report, json_format.dumps(found.to_json(), indent=1) + "\n")
        except OSError as error:
            what = f"cannot be written ({error.strerror})"
            raise SpecError(f"--report {printable(report)}: {what}; give another file") from error
    if json:
        print(json_format.dumps(found.to_json()))
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(1)


def _audit(spec: StudySpec, reporter: Reporter) -> Audit:
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.study.inputs import request_of

    loaded = load_dataset(
        request_of(spec.dataset), cache_dir=cache_dir(), progress=reporter.progress
    )
    for note in loaded.notes:
        reporter.note(note)
    folder = spec.search.folds
    return audit(
        loaded,
        n_anomaly_types=spec.labels.n_anomaly_types,
        n_examples=spec.labels.n_examples,
        official=None if folder is None else read_fold_files(folder, loaded.table),
        allow_leak=spec.search.allow_leak,
        split_groups=spec.search.split_groups,
        workers=joblib.cpu_count(),
        progress=reporter.progress,
    )


def _print(found: Audit) -> None:
    table = Table(title="images by class")
    for column in ("split", "class", "type"):
        table.add_column(column)
    for column in ("images", "groups"):
        table.add_column(column, justify="right")
    for row in found.classes:
        table.add_row(
            row.split,
            row.kind,
            row.anomaly_type,
            f"{row.images:,}",
            f"{row.groups:,}",
        )
    console = Screen()
    console.print(table)
    for kind, counts in found.formats.items():
        shown = ", ".join(f"{count:,} of {value}" for value, count in list(counts.items())[:3])
        rest = f" and {len(counts) - 3:,} other {kind}" if len(counts) > 3 else ""
        console.print(f"{kind}: {shown}{rest}", soft_wrap=True)
    for line in found.shown.lines:
        console.print(line, soft_wrap=True, markup=False)
    if found.flat_images:
        console.print(f"{found.flat_images:,} images are too flat to look for near-duplicates")
    for line in _finding_lines(found.findings):
        console.print(line, soft_wrap=True)
    warnings = len(found.findings) - found.n_errors
    verdict = "fit for a search" if found.passed else "not fit for a search, mend the errors"
    if warnings and found.passed:
        verdict += ", but look at the warnings"
    console.print(
        f"{found.dataset}: {found.images:,} images, {found.n_errors:,} errors, "
        f"{warnings:,} warnings; {verdict}",
        soft_wrap=True,
    )


def _finding_lines(findings: Iterable[Finding]) -> Iterable[str]:
    """A line a finding, errors first; of many of one kind the first few and a count."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, finding.check].append(finding)
    for (severity, kind), alike in kinds.items():
        yield from (f"{severity}: {kind}: {finding.message}" for finding in alike[:_LISTED])
        if len(alike) > _LISTED:
            more = len(alike) - _LISTED
            yield f"{severity}: {kind}: and {more:,} more; --report FILE lists all"


def datasets(json: JsonOption = False) -> None:
    """List the datasets with their counts, what is on disk, and how to get the rest."""
    infos = dataset_infos(cache_dir())
    if json:
        print(json_format.dumps([asdict(info) for info in infos], indent=1))
        return
    console = Console(highlight=False)
    for info in infos:
        counts = "counts unknown until it is there"
        if info.n_normals is not None:
            anomalies = f"{info.n_anomalies:,} anomalous of {info.n_types} types"
            counts = f"{info.n_normals:,} normal, {anomalies}"
        where = "on disk" if info.on_disk else "not on disk"
        if info.on_disk and info.size_bytes:
            where += f", {info.size_bytes / 2**20:.0f} MB"
        console.print(f"[bold]{info.name}[/bold]  {counts}; {where}")
        console.print(Padding(f"{info.summary}\n{info.how}", (0, 0, 1, 4)), markup=False)
    console.print(
        "Your own images: --dataset DIR (train/good, test/good and test/<type> as in MVTec AD; or "
        "train/<class> and test/<class>, and --normal-class CLASS) or --dataset FILE.csv "
        "(image_path,label_index,split, and anomaly_type,group,mask_path where known).",
        highlight=False,
        markup=False,
    )

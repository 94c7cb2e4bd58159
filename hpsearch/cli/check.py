"""`hpsearch check`: is a dataset fit for a search?"""

import json as json_format
from dataclasses import asdict
from typing import Annotated

import joblib
import typer
from rich.console import Console

from hpsearch.cache import cache_dir
from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DatasetOption, JsonOption, NormalClassOption, RootOption
from hpsearch.datasets.audit import audit
from hpsearch.datasets.registry import DatasetRequest, load_dataset


def check(
    dataset: DatasetOption = "synthetic-histology",
    root: RootOption = None,
    normal_class: NormalClassOption = None,
    n_anomaly_types: Annotated[int, typer.Option(help="Types that a search would see.")] = 1,
    n_examples: Annotated[int, typer.Option(help="Labelled anomalies of a search, in all.")] = 20,
    json: JsonOption = False,
) -> None:
    """Look for unreadable images, empty classes, leaks between splits, and too few anomalies.

    Exit code 1 where an error was found; warnings alone leave it 0.
    """
    request = DatasetRequest(dataset or "synthetic-histology", root, normal_class)
    with listener_for(json=json) as listener:
        loaded = load_dataset(request, cache_dir=cache_dir(), progress=listener.progress)
        findings = audit(
            loaded,
            n_anomaly_types=n_anomaly_types,
            n_examples=n_examples,
            workers=joblib.cpu_count(),
            progress=listener.progress,
        )
    console = Console()
    if json:
        print(json_format.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            console.print(
                f"{finding.severity}: {finding.check}: {finding.message}",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
        console.print(f"{loaded.name}: {len(loaded.table)} images, {len(findings)} findings")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)

"""`hpsearch datasets`: what there is to search on, and how to get the rest."""

import json as json_format
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from hpsearch.cache import cache_dir
from hpsearch.cli.options import JsonOption
from hpsearch.datasets.catalogue import DatasetInfo, dataset_infos


def datasets(json: JsonOption = False) -> None:
    """List the datasets with their counts, what is on disk, and how to get the rest."""
    infos = dataset_infos(cache_dir())
    if json:
        print(json_format.dumps([asdict(info) for info in infos], indent=1))
        return
    table = Table(show_lines=True)
    for column in ("name", "what", "normal", "anomalous", "types", "on disk", "how to get it"):
        table.add_column(column)
    for info in infos:
        table.add_row(info.name, info.summary, *_counts(info), _on_disk(info), info.how)
    console = Console()
    console.print(table)
    console.print(
        "Your own images: --dataset DIR (MVTec AD layout) or --dataset FILE.csv "
        "(image_path,label_index,split, and anomaly_type,group,mask_path where known).",
        highlight=False,
    )


def _counts(info: DatasetInfo) -> list[str]:
    counts = (info.n_normals, info.n_anomalies, info.n_types)
    return ["?" if count is None else f"{count:,}" for count in counts]


def _on_disk(info: DatasetInfo) -> str:
    if not info.on_disk:
        return "no"
    return f"yes, {info.size_bytes / 2**20:.0f} MB" if info.size_bytes else "yes"

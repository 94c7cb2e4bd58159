"""`hpsearch datasets`: what there is to search on, and how to get the rest."""

import json as json_format
from dataclasses import asdict

from rich.console import Console
from rich.padding import Padding

from hpsearch.cache import cache_dir
from hpsearch.cli.options import JsonOption
from hpsearch.datasets.catalogue import DatasetInfo, dataset_infos


def datasets(json: JsonOption = False) -> None:
    """List the datasets with their counts, what is on disk, and how to get the rest."""
    infos = dataset_infos(cache_dir())
    if json:
        print(json_format.dumps([asdict(info) for info in infos], indent=1))
        return
    console = Console(highlight=False)
    for info in infos:
        console.print(f"[bold]{info.name}[/bold]  {_counts(info)}; {_on_disk(info)}")
        console.print(Padding(f"{info.summary}\n{info.how}", (0, 0, 1, 4)), markup=False)
    console.print(
        "Your own images: --dataset DIR (train/good, test/good and test/<type> as in MVTec AD; or "
        "train/<class> and test/<class>, and --normal-class CLASS) or --dataset FILE.csv "
        "(image_path,label_index,split, and anomaly_type,group,mask_path where known).",
        highlight=False,
        markup=False,
    )


def _counts(info: DatasetInfo) -> str:
    if info.n_normals is None:
        return "counts unknown until it is there"
    return f"{info.n_normals:,} normal, {info.n_anomalies:,} anomalous of {info.n_types} types"


def _on_disk(info: DatasetInfo) -> str:
    if not info.on_disk:
        return "not on disk"
    return f"on disk, {info.size_bytes / 2**20:.0f} MB" if info.size_bytes else "on disk"

"""What `hpsearch reproduce` is asked for, whichever table or figure it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reproduction:
    """The options of the command, read.

    Attributes:
        dataset: a registered name, a manifest or a folder.
        settings: of a study, laid over all others.
        prefix: of the names of run directories; the one of that very name gets the table.
        rows: numbers of the wanted rows, None for all.
        scale: of the steps of every training, None for full size.
        runs: folder of run directories.
        device, workers: where to train, and how many processes.
        json: print for machines.
    """

    dataset: str
    settings: Mapping[str, Any]
    prefix: str
    rows: tuple[int, ...] | None
    scale: float | None
    runs: Path
    device: str
    workers: int | None
    json: bool

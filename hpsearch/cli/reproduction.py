"""What `hpsearch reproduce` is asked for, whichever table or figure it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reproduction:
    """The options of the command, read.

    Attributes:
        dataset: a registered name, a manifest or a folder; the default where none was named.
        named: whether the user named it; where not, a table of several data sets takes its own.
        classes: the normal classes that are wanted, None for all.
        settings: of a study, laid over all others.
        prefix: of the names of run directories; the one of that very name gets the table.
        rows: numbers of the wanted rows, None for all.
        scale: of the steps of every training, None for full size.
        runs: folder of run directories.
        device, workers: where to train, and how many processes.
        json: print for machines.
        plan: say what would be trained, and train nothing.
        published: train what the authors published, and search nothing.
    """

    dataset: str
    named: bool
    classes: tuple[str, ...] | None
    settings: Mapping[str, Any]
    prefix: str
    rows: tuple[int, ...] | None
    scale: float | None
    runs: Path
    device: str
    workers: int | None
    json: bool
    plan: bool
    published: bool

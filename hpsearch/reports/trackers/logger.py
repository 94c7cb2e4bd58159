"""What a tracker has to do, and which ones there are."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from hpsearch.errors import SpecError
from hpsearch.reports.trackers.mlflow_runs import MLflowLogger
from hpsearch.reports.trackers.record import Record
from hpsearch.reports.trackers.tensorboard_events import TensorBoardLogger


class Logger(Protocol):
    """Keeps records of one study."""

    def has(self, name: str) -> bool:
        """Whether it keeps a record of this name already."""

    def write(self, record: Record) -> None:
        """Keep a record. May raise anything; a search goes on without."""


_LOGGERS: Mapping[str, Callable[[Path], Logger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MLflowLogger,
}


def open_loggers(names: Sequence[str], study: Path) -> list[Logger]:
    """Trackers by name, ready to write.

    Args:
        names: `tensorboard`, `mlflow`.
        study: the run directory, which need not exist yet.

    Raises:
        SpecError: another name, a package is missing, or a server does not answer.
    """
    for name in names:
        if name not in _LOGGERS:
            raise SpecError(f"--log {name!r:.40}: must be one of {', '.join(_LOGGERS)}")
        if find_spec(name) is None:
            raise SpecError(f"--log {name}: is not installed; pip install 'hpsearch[{name}]'")
    return [_LOGGERS[name](study) for name in dict.fromkeys(names)]

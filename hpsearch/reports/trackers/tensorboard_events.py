"""TensorBoard: one folder of events a record, with its settings for the HParams page."""

from pathlib import Path

from hpsearch.io.files import write_directory_atomic
from hpsearch.reports.trackers.record import Record

FOLDER = "tensorboard"


class TensorBoardLogger:
    """Writes `runs/<study>/tensorboard/<record>/`, each of which appears whole.

    Args:
        study: the run directory.
    """

    def __init__(self, study: Path) -> None:
        self.folder = study / FOLDER

    def has(self, name: str) -> bool:
        """Whether there is a folder of this record."""
        return (self.folder / name).is_dir()

    def write(self, record: Record) -> None:
        """Settings and metrics as hyperparameters, losses as scalars by step."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds, and is optional

        with (
            write_directory_atomic(self.folder / record.name) as partial,
            SummaryWriter(str(partial)) as writer,
        ):
            writer.add_hparams(dict(record.settings), dict(record.metrics), run_name=".")
            for name, curve in record.curves.items():
                for step, value in curve:
                    writer.add_scalar(name, value, step)

"""Fold results as a SQL table beside Optuna's, so that a study can be asked in SQL.

The table is a copy: the task directories are the truth, and it is filled from them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from hpsearch.results import FoldResult

_metadata = MetaData()

fold_results = Table(
    "fold_results",
    _metadata,
    Column("task", String(16), primary_key=True),
    Column("trial", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("auroc", Float, nullable=False),
    Column("best_step", Integer, nullable=False),
    Column("best_loss", Float),
    Column("seconds", Float, nullable=False),
    Column("peak_memory_mb", Float, nullable=False),
    Column("device", String(100), nullable=False),
    Column("directory", String(200), nullable=False),
)


@dataclass(frozen=True)
class FoldRecord:
    """One fold of one trial and its validation ROC AUC."""

    trial: int
    fold: int
    auroc: float


class FoldRecords:
    """The table of fold results in a study's database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        _metadata.create_all(engine)

    def add(self, record: FoldRecord, result: FoldResult) -> None:
        """Write one row; a row of the same task stays as it is."""
        values: Mapping[str, object] = {
            "task": result.digest,
            "trial": record.trial,
            "fold": record.fold,
            "auroc": record.auroc,
            "best_step": result.best_step,
            "best_loss": result.best_loss,
            "seconds": result.seconds,
            "peak_memory_mb": result.peak_memory_mb,
            "device": result.device,
            "directory": f"tasks/{result.digest}",
        }
        with self.engine.begin() as connection:
            connection.execute(insert(fold_results).values(values).on_conflict_do_nothing())

    def of_trial(self, trial: int) -> list[FoldRecord]:
        """The rows of a trial, by fold."""
        columns = fold_results.c
        query = (
            select(columns.trial, columns.fold, columns.auroc)
            .where(columns.trial == trial)
            .order_by(columns.fold)
        )
        with self.engine.connect() as connection:
            return [FoldRecord(*row) for row in connection.execute(query)]

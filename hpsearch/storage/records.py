"""Fold results as a SQL table beside Optuna's, so that a study can be asked in SQL.

The table is a copy: the task directories are the truth, and it is filled from them again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, inspect, select
from sqlalchemy.dialects.sqlite import insert

from hpsearch.config.spec import CRITERIA, Values
from hpsearch.errors import StudyError
from hpsearch.storage.results import FoldResult

_metadata = MetaData()

fold_results = Table(
    "fold_results",
    _metadata,
    Column("task", String(16), primary_key=True),
    Column("trial", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    *(Column(criterion, Float, nullable=False) for criterion in CRITERIA),
    Column("best_step", Integer, nullable=False),
    Column("best_loss", Float),
    Column("seconds", Float, nullable=False),
    Column("peak_memory_mb", Float, nullable=False),
    Column("device", String(100), nullable=False),
    Column("directory", String(200), nullable=False),
)


@dataclass(frozen=True)
class FoldRecord:
    """One fold of one trial and its value by each criterion."""

    trial: int
    fold: int
    values: Values


class FoldRecords:
    """The table of fold results in a study's database.

    Raises:
        StudyError: an earlier version of hpsearch, with other columns, wrote the table.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        _metadata.create_all(engine)
        found = {column["name"] for column in inspect(engine).get_columns(fold_results.name)}
        if found != set(fold_results.columns.keys()):
            raise StudyError(
                f"{engine.url.database}: an earlier version of hpsearch began this study; give "
                "another --study-name"
            )

    def add(
        self, record: FoldRecord, result: FoldResult, *, instead_of: Collection[int] = ()
    ) -> None:
        """Write one row; a row of the same task stays, and goes over from trials `instead_of`."""
        values: Mapping[str, object] = {
            "task": result.digest,
            "trial": record.trial,
            "fold": record.fold,
            **{criterion: record.values[criterion] for criterion in CRITERIA},
            "best_step": result.best_step,
            "best_loss": result.best_loss,
            "seconds": result.seconds,
            "peak_memory_mb": result.peak_memory_mb,
            "device": result.device,
            "directory": f"tasks/{result.digest}",
        }
        with self.engine.begin() as connection:
            connection.execute(
                insert(fold_results)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["task"],
                    set_={"trial": record.trial},
                    where=fold_results.c.trial.in_(instead_of),
                )
            )

    def of_trial(self, trial: int) -> list[FoldRecord]:
        """The rows of a trial, by fold."""
        columns = fold_results.c
        query = (
            select(columns.trial, columns.fold, *(columns[name] for name in CRITERIA))
            .where(columns.trial == trial)
            .order_by(columns.fold)
        )
        with self.engine.connect() as connection:
            return [
                FoldRecord(trial, fold, dict(zip(CRITERIA, values, strict=True)))
                for trial, fold, *values in connection.execute(query)
            ]

"""Table 4 of the paper: run or resume its studies, and collect a figure for every row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.config.space import describe
from hpsearch.paper.ablation import AblationRow, RowStudy
from hpsearch.paper.contents import TableStudy
from hpsearch.paper.lines import write_records
from hpsearch.paper.running import Answer, Outcome, run_studies
from hpsearch.search.events import Listener


@dataclass(frozen=True)
class RowResult:
    """A row of the table, and how its study ended.

    Attributes:
        row: of the table.
        outcome: of its study.
    """

    row: AblationRow
    outcome: Outcome

    @property
    def answer(self) -> Answer | None:
        """The row's answer, None where its study has none."""
        return self.outcome.answers.get(self.row.criterion)

    @property
    def failure(self) -> str | None:
        """Why there is no answer."""
        return self.outcome.failure

    @property
    def folder(self) -> Path:
        """The run directory of its study."""
        return self.outcome.folder.path

    @property
    def tasks(self) -> list[Path]:
        """The directories of the final trainings that the figures come from."""
        return self.outcome.tasks(self.row.criterion)


def run_table4(
    studies: Sequence[RowStudy],
    *,
    runs: Path,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> list[RowResult]:
    """Run or resume the studies one after the other; a row whose study fails says why.

    Args:
        studies: those of the rows that are wanted.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        listener: told of progress.
        device, workers: as of `hpsearch.study.run.run_study`.

    Returns:
        The rows in the paper's order.

    Raises:
        UserError: a mistake that the user can mend, before the first study is begun.
    """
    outcomes = run_studies(
        [as_table_study(study) for study in studies],
        runs=runs,
        cache_dir=cache_dir,
        listener=listener,
        device=device,
        workers=workers,
    )
    rows = [
        RowResult(row, outcome)
        for study, outcome in zip(studies, outcomes, strict=True)
        for row in study.rows
    ]
    return sorted(rows, key=lambda result: result.row.number)


def as_table_study(study: RowStudy) -> TableStudy:
    """The study without its rows."""
    title = f"table4 {', '.join(f'({row.number}) {row.name}' for row in study.rows)}"
    return TableStudy(study.spec, study.criteria, title)


def write_table4(path: Path, rows: Sequence[RowResult]) -> None:
    """Write the rows as a CSV file, whole or not at all; see `table4_record` for its columns."""
    records = [table4_record(row) for row in rows]
    write_records(path, [record | {"params": describe(record["params"])} for record in records])


def table4_record(result: RowResult) -> dict[str, Any]:
    """A row as plain values; what a failed study cannot say is empty or None."""
    answer = result.answer
    test = answer.test if answer else None
    return {
        "row": result.row.number,
        "name": result.row.name,
        "criterion": result.row.criterion,
        "test_auroc": test.auroc if test else None,
        "std": answer.std if answer else None,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "runs": list(answer.runs) if answer else [],
        "params": dict(answer.params) if answer else {},
        "seconds": round(answer.seconds, 1) if answer else None,
        "run_dir": str(result.folder.absolute()),
        "tasks": [task.name for task in result.tasks],
        "failure": result.failure,
    }

"""Table 4 of the paper: run or resume its studies, and collect a figure for every row."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import stdev
from typing import Any

from hpsearch.ablation import Row, RowStudy
from hpsearch.engine import plan_workers
from hpsearch.errors import HpsearchError, StudyError
from hpsearch.files import write_text_atomic
from hpsearch.final import FinalResult
from hpsearch.listener import Listener
from hpsearch.prepared import prepare_study
from hpsearch.results import read_result
from hpsearch.space import Params, describe
from hpsearch.spec import StudySpec, first_difference
from hpsearch.storage import load_study
from hpsearch.study import StudyRun, run_study
from hpsearch.study_dir import StudyDir


@dataclass(frozen=True)
class Answer:
    """What the study of a row found.

    Attributes:
        result: the configuration that the row's criterion chose, and its test figures.
        searched: its values on the axes with more than one choice.
        seconds: of all trainings behind it, of the search and of the final ones; rows that share a
            study share its search.
    """

    result: FinalResult
    searched: Params
    seconds: float

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the test ROC AUC over the final trainings."""
        runs = self.result.runs
        return stdev(runs) if len(runs) > 1 else None


@dataclass(frozen=True)
class RowResult:
    """A row of the table, the run directory of its study, and its answer or why there is none."""

    row: Row
    folder: Path
    answer: Answer | None = None
    failure: str | None = None

    @property
    def tasks(self) -> list[Path]:
        """The directories of the final trainings that the figures come from."""
        digests = self.answer.result.tasks if self.answer else ()
        return [StudyDir(self.folder).tasks / digest for digest in digests]


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
        device, workers: as of `hpsearch.study.run_study`.

    Returns:
        The rows in the paper's order.

    Raises:
        UserError: a mistake that the user can mend, before the first study is begun.
    """
    plan = plan_workers(device, workers)
    for study in studies:
        prepare_study(
            study.spec, cache_dir=cache_dir, workers=plan.count * plan.threads, listener=listener
        )
        _require_same_settings(StudyDir(runs / study.spec.study_name), study.spec)
    rows: list[RowResult] = []
    for study in studies:
        listener.note(f"table4 {', '.join(f'({row.number}) {row.name}' for row in study.rows)}")
        run = partial(run_study, study.spec, device=device, workers=workers)
        try:
            ran = run(runs=runs, cache_dir=cache_dir, listener=listener, criteria=study.criteria)
        except HpsearchError as error:
            folder = runs / study.spec.study_name
            rows += [RowResult(row, folder, failure=str(error)) for row in study.rows]
        else:
            rows += [_answered(row, ran, study.spec) for row in study.rows]
    return sorted(rows, key=lambda result: result.row.number)


def write_table4(path: Path, rows: Sequence[RowResult]) -> None:
    """Write the rows as a CSV file, whole or not at all; see `table4_record` for its columns."""
    text = io.StringIO()
    records = [table4_record(row) for row in rows]
    table = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    table.writeheader()
    for record in records:
        words = {key: " ".join(map(str, record[key])) for key in ("runs", "tasks")}
        table.writerow(record | words | {"params": describe(record["params"])})
    write_text_atomic(path, text.getvalue())


def table4_record(result: RowResult) -> dict[str, Any]:
    """A row as plain values; what a failed study cannot say is empty or None."""
    answer = result.answer
    test = answer.result.test if answer else None
    return {
        "row": result.row.number,
        "name": result.row.name,
        "criterion": result.row.criterion,
        "test_auroc": test.auroc if test else None,
        "std": answer.std if answer else None,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "runs": list(answer.result.runs) if answer else [],
        "params": dict(answer.result.params) if answer else {},
        "seconds": round(answer.seconds, 1) if answer else None,
        "run_dir": str(result.folder.absolute()),
        "tasks": [task.name for task in result.tasks],
        "failure": result.failure,
    }


def _require_same_settings(folder: StudyDir, spec: StudySpec) -> None:
    if not folder.spec_file.exists():
        return
    difference = first_difference(folder.spec(), spec)
    if difference is not None:
        raise StudyError(
            f"study {folder.path.name} in {folder.path}: {difference}; "
            "go on with the old settings, or give another --study-name"
        )


def _answered(row: Row, ran: StudyRun, spec: StudySpec) -> RowResult:
    result, folder = ran.results[row.criterion], ran.folder
    searched = {
        axis: result.params[axis]
        for section in spec.space.values()
        for axis, choices in section.items()
        if len(choices) > 1
    }
    finals = (read_result(folder.tasks, digest) for digest in result.tasks)
    trials = load_study(folder.path).get_trials(deepcopy=False)
    seconds = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
    seconds += sum(final.seconds for final in finals if final)
    return RowResult(row, folder.path, Answer(result, searched, seconds))

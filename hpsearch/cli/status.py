"""`hpsearch status`: how far the studies are."""

import json as json_format
from typing import Any

from rich.console import Console
from rich.table import Table

from hpsearch.cli.listeners import FIGURES, figure, one_line
from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunArgument, RunsOption
from hpsearch.cli.summary import varied
from hpsearch.failures import message_of, reason_of
from hpsearch.spec import Criterion
from hpsearch.storage import load_study
from hpsearch.study_dir import StudyDir, find_study, list_studies
from hpsearch.trials import ledger_of

_COUNTS = ("complete", "pruned", "failed", "open")


def status(
    run: RunArgument = None, runs: RunsOption = DEFAULT_RUNS, json: JsonOption = False
) -> None:
    """Show how many trials of a study are done; of every study where none is named."""
    studies = [find_study(run, runs)] if run else list_studies(runs) or [find_study(None, runs)]
    rows = [_row(study) for study in studies]
    if json:
        print(json_format.dumps(rows, indent=1))
        return
    table = Table()
    for column in ("study", "trials", "best", "winner", "configuration"):
        table.add_column(column, overflow="fold", no_wrap=column == "study")
    for row in rows:
        counts = ", ".join(f"{row[key]} {key}" for key in _COUNTS if row[key])
        value = _best(row["criterion"], row["best"])
        trained = "trained" if row["final"] else "not yet"
        table.add_row(row["study"], counts, value, trained, row["best_params"])
    console = Console()
    console.print(table)
    for row in rows:
        for number, reason in row["failures"]:
            console.print(
                f"{row['study']}: trial {number} failed: {reason}", highlight=False, markup=False
            )


def _best(criterion: Criterion, value: float | None) -> str:
    return "-" if value is None else f"{FIGURES[criterion]} {figure(criterion, value)}"


def _row(folder: StudyDir) -> dict[str, Any]:
    ledger = ledger_of(load_study(folder.path))
    top = max(ledger.completed, key=lambda trial: (trial.value, -trial.number), default=None)
    return {
        "study": folder.path.name,
        "run_dir": str(folder.path.absolute()),
        "complete": len(ledger.completed),
        "pruned": len(ledger.pruned),
        "failed": len(ledger.failed),
        "open": len(ledger.under_way),
        "criterion": folder.spec().search.criterion,
        "best": top.value if top else None,
        "best_params": one_line(varied(top)) if top else "",
        "final": top is not None and (folder.final / str(top.number)).is_dir(),
        "failures": [
            (trial.number, f"{reason_of(trial)}: {message_of(trial)}") for trial in ledger.failed
        ],
    }

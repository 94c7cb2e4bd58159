"""`hpsearch status` says how far studies are, `best` what one found, and `recover` repairs one."""

import json as json_format
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from hpsearch.cli.listeners import FIGURES, figure, listener_for
from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunArgument, RunsOption
from hpsearch.cli.screen import Screen
from hpsearch.cli.summary import print_summary, summary_json, varied
from hpsearch.config.space import describe
from hpsearch.config.spec import Criterion
from hpsearch.errors import UserError
from hpsearch.io.cache import cache_dir
from hpsearch.io.text import printable
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import AVERAGE, RunDir, damaged_study, find_study, list_studies
from hpsearch.storage.trials import message_of, reason_of, trials_of
from hpsearch.study.result import read_winner

_COUNTS = ("complete", "pruned", "failed", "open")


def status(
    run: RunArgument = None, runs: RunsOption = DEFAULT_RUNS, json: JsonOption = False
) -> None:
    """Show how many trials of a study are done; of every study where none is named."""
    if run is not None:
        rows = [_row(find_study(run, runs))]
    else:
        rows = []
        for folder in list_studies(runs) or [find_study(None, runs)]:
            try:
                rows.append(_row(folder))
            except UserError as error:  # one that is damaged must not hide the others
                run_dir = str(folder.path.absolute())
                broken = {"study": folder.path.name, "run_dir": run_dir, "error": printable(error)}
                rows.append(broken)
    if json:
        print(json_format.dumps(rows, indent=1))
        return
    console = Screen()
    whole = [row for row in rows if "error" not in row]
    if whole:
        console.print(_table(whole))
    for row in rows:
        if "error" in row:
            console.print(f"{row['study']}: {row['error']}", soft_wrap=True)
        for number, reason in row.get("failures", ()):
            console.print(f"{row['study']}: trial {number} failed: {reason}", soft_wrap=True)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table()
    for column in ("study", "trials", "best", "winner", "configuration"):
        table.add_column(column, overflow="fold", no_wrap=column == "study")
    for row in rows:
        counts = ", ".join(f"{row[key]} {key}" for key in _COUNTS if row[key])
        best = _figure(row["criterion"], row["best"], row["best_trial"])
        winner = "not yet"
        if row["winner"] is not None:
            trained = "" if row["final"] else ", its model is gone"
            found = _figure(row["criterion"], row["winner_value"], row["winner"])
            winner = f"{AVERAGE if row['winner'] == AVERAGE else found}{trained}"
        table.add_row(row["study"], counts, best, winner, row["params"])
    return table


def _figure(criterion: Criterion, value: float | None, trial: int | None) -> str:
    return (
        "-" if value is None else f"trial {trial}: {FIGURES[criterion]} {figure(criterion, value)}"
    )


def _row(folder: RunDir) -> dict[str, Any]:
    by_state = trials_of(load_study(folder.path))
    top = max(by_state.completed, key=lambda trial: (trial.value, -trial.number), default=None)
    name = folder.winner() if folder.winner_file.exists() else None
    winner = next((trial for trial in by_state.completed if trial.number == name), None)
    answer = name if winner or name == AVERAGE else None
    shown = winner or top
    return {
        "study": folder.path.name,
        "run_dir": str(folder.path.absolute()),
        **by_state.counts,
        "criterion": folder.spec().search.criterion,
        "best": top.value if top else None,
        "best_trial": top.number if top else None,
        "best_params": describe(varied(top)) if top else "",
        "winner": answer,
        "winner_value": winner.value if winner else None,
        "params": describe(varied(shown)) if shown else "",
        "final": answer is not None and folder.model(answer).is_dir(),
        "failures": [
            (trial.number, printable(f"{reason_of(trial)}: {message_of(trial)}"))
            for trial in by_state.failed
        ],
    }


def best(
    run: RunArgument = None, runs: RunsOption = DEFAULT_RUNS, json: JsonOption = False
) -> None:
    """Show the winner of a study: configuration, validation value, test AUC and interval."""
    folder = find_study(run, runs)
    result = read_winner(folder)
    if json:
        facts = summary_json(folder, result, load_study(folder.path))
        print(json_format.dumps(facts, indent=1))
    else:
        print_summary(folder, result, json=False)


def recover(
    run: Annotated[str, typer.Argument(help="A run directory, or the name of a study.")],
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Convert the database of an earlier Optuna.")
    ] = False,
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Mend a study's database, task directories and records from what is whole; trains nothing.

    What it replaces lies in the run directory's folder `damaged` afterwards.
    """
    folder = damaged_study(run, runs)
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.study.repair import recover_study

    with listener_for(json=False) as listener:
        recover_study(folder, cache_dir=cache_dir(), listener=listener, upgrade=upgrade)

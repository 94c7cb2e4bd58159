"""The end of a run on screen: the best five, the winner, its test figure, what to do next."""

import json as json_format
from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.table import Table

from hpsearch.cli.advice import next_steps
from hpsearch.cli.listeners import FIGURES, figure, one_line
from hpsearch.cli.screen import Screen
from hpsearch.config.space import Params
from hpsearch.config.spec import Criterion
from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.selection import varied_axes
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import (
    Trials,
    facts_of,
    failures_sentence,
    message_of,
    reason_of,
    trials_of,
)
from hpsearch.study.result import FinalResult

_SHOWN = 5


def summary_json(folder: RunDir, result: FinalResult, study: optuna.Study) -> dict[str, Any]:
    """What `hpsearch best --json` prints."""

    by_state = trials_of(study)

    def brief(estimate: Estimate | None) -> dict[str, Any] | None:
        return asdict(estimate) if estimate else None

    return {
        "warnings": warnings_of(folder),
        "study": folder.path.name,
        "run_dir": str(folder.path.absolute()),
        "detector": folder.spec().detector,
        "params": dict(result.params),
        "criterion": folder.spec().search.criterion,
        "value": result.value,
        "criteria": dict(result.criteria),
        "fold_aurocs": list(result.fold_aurocs),
        "trial": result.trial,
        "n_trials": len(by_state.completed),
        "n_failed": len(by_state.failed),
        "failures": [
            [trial.number, reason_of(trial), message_of(trial)] for trial in by_state.failed
        ],
        "steps": result.steps,
        "test_auroc": result.test.auroc,
        "test_auroc_ci": result.test.interval,
        "test_auroc_runs": list(result.runs),
        "test": brief(result.test),
        "test_seen_types": brief(result.seen),
        "test_unseen_types": brief(result.unseen),
        "references": {name: asdict(estimate) for name, estimate in result.references},
        "choices": [asdict(choice) for choice in result.choices],
        "verdict": asdict(result.selection),
        "flagging": asdict(result.flagging) if result.flagging else None,
        "model": str(folder.model(result.trial).absolute()),
    }


def print_summary(folder: RunDir, result: FinalResult, *, json: bool) -> None:
    """Print the summary, as one JSON object where `json` is set."""
    study, criterion = load_study(folder.path), folder.spec().search.criterion
    if json:
        print(json_format.dumps(summary_json(folder, result, study)), flush=True)
        return
    console = Screen()
    for warning in warnings_of(folder):
        line = f"warning: {warning}"
        console.print(line, soft_wrap=True)
    console.print()
    by_state = trials_of(study)
    console.print(_best_trials(by_state, criterion))
    if by_state.failed:
        line = failures_sentence(by_state.failed, tried=len(by_state.ended))
        console.print(line, soft_wrap=True)
    if criterion == "weak":
        for line in _decision(result):
            console.print(line, soft_wrap=True)
    console.print()
    console.print(_choices(result, criterion))
    console.print()
    console.print(_test_figures(result))
    for line in _closing(folder, result, study):
        console.print(line, soft_wrap=True)


def warnings_of(folder: RunDir) -> list[str]:
    """What everyone who reads the study's result must be told first, a line each."""
    warnings: list[str] = folder.environment().get("warnings", [])
    return warnings


def _best_trials(by_state: Trials, criterion: Criterion) -> Table:
    trials = sorted(
        by_state.completed, key=lambda trial: (-facts_of(trial).criteria[criterion], trial.number)
    )
    counts = f"{len(trials)} of {len(by_state.ended)}" if by_state.failed else str(len(trials))
    table = Table(title=f"best {min(_SHOWN, len(trials))} of {counts} configurations")
    for column in ("trial", f"validation {FIGURES[criterion]}", "fold spread", "configuration"):
        table.add_column(column)
    for trial in trials[:_SHOWN]:
        folds = facts_of(trial).fold_values[criterion]
        folds = sorted(folds, reverse=criterion == "unsupervised")  # as shown: rising
        table.add_row(
            str(trial.number),
            figure(criterion, facts_of(trial).criteria[criterion]),
            f"{figure(criterion, folds[0])} - {figure(criterion, folds[-1])}",
            one_line(varied(trial)),
        )
    return table


def varied(trial: FrozenTrial) -> Params:
    """The trial's values on the axes that have more than one choice."""
    return {axis: trial.params[axis] for axis in varied_axes(trial)}


def _decision(result: FinalResult) -> list[str]:
    """What the labelled anomalies decided, in words."""
    selection = result.selection
    tied = " ".join(map(str, selection.tied[:_SHOWN])) + (
        " ..." if len(selection.tied) > _SHOWN else ""
    )
    lines = [f"choice: {selection.sentence}"]
    if len(selection.tied) > 1:
        lines.append(f"not told from the best: {len(selection.tied)} trials ({tied})")
    lines += [
        f"chosen without {one.name}: trial {one.trial}, AUC {one.auroc:.3f} on it; "
        f"the best {one.best:.3f}"
        for one in selection.left_out_types
    ]
    return lines


def _choices(result: FinalResult, criterion: Criterion) -> Table:
    table = Table(
        title="what each criterion would have chosen (* chooses)",
        caption="test ROC AUC: mean of the models of the folds, trained on a part of the normals "
        "each, so not the final figure; lost: against the best configuration on the test set",
    )
    for column in ("criterion", "validation", "test AUC", "interval", "lost", "trial"):
        table.add_column(column)
    for choice in result.choices:
        name = choice.criterion
        table.add_row(
            f"{name} *" if name == criterion else name,
            f"{FIGURES[name].removeprefix(name)} {figure(name, choice.value)}".strip(),
            f"{choice.test.auroc:.3f}",
            choice.test.interval_words(),
            f"{choice.regret:.3f}",
            str(choice.trial),
        )
    return table


def _test_figures(result: FinalResult) -> Table:
    table = Table(
        title="test ROC AUC, 95 % interval (bootstrap over groups)",
        caption="images: normal + anomalous",
    )
    for column in ("what", "AUC", "interval", "images"):
        table.add_column(column)
    rows: list[tuple[str, Estimate | None]] = [("winner", result.test)]
    rows += [("  types seen in the search", result.seen), ("  types never seen", result.unseen)]
    rows += list(result.references)
    for name, estimate in rows:
        if estimate is None:
            table.add_row(name, "-", "-", "none left")
            continue
        table.add_row(
            name,
            f"{estimate.auroc:.3f}",
            estimate.interval_words(),
            f"{estimate.n_normal} + {estimate.n_anomaly}",
        )
    return table


def _flagging(result: FinalResult) -> str:
    found = result.flagging
    if found is None:
        return "no threshold: too few normals for the false-positive rate that was asked for"
    return (
        f"above {found.threshold.threshold:.4g} an image is called anomalous: "
        f"{100 * found.threshold.rate:g} % of normals by {found.threshold.n} held-out scores "
        f"(at most {100 * found.threshold.bound:.1f} %, with 95 % confidence), "
        f"{100 * found.normals:.1f} % of the test normals, "
        f"{100 * found.anomalies:.1f} % of the test anomalies"
    )


def _closing(folder: RunDir, result: FinalResult, study: optuna.Study) -> list[str]:
    test = result.test
    lines = [
        f"winner: {one_line(result.params)}",
        f"fitted on all training normals{f' for {result.steps} steps' if result.steps else ''}",
        f"test ROC AUC {test.auroc:.3f} (95 % interval {test.interval_words()})",
        _flagging(result),
    ]
    if result.flagging and (warning := result.flagging.warning(test.n_normal)):
        lines.append(warning)
    if why := test.why_no_interval():
        lines.append(why)
    if test.auroc < 0.5:
        lines.append("below 0.5 the normal images score higher than the anomalies: do not use it")
    if found := result.simpler_and_as_good():
        name, reference = found
        hint = "" if folder.spec().detector == "features" else "; try --detector features"
        lines.append(f"no better than a simple method: {name} has {reference.auroc:.3f}{hint}")
    steps = next_steps(folder, study)
    width = max(len(command) for command, _ in steps)
    return [
        *lines,
        f"study:  {folder.path}  (trials in {folder.database})",
        f"model:  {folder.model(result.trial)}",
        "next:",
        *(f"  {command:<{width}}  # {what}" for command, what in steps),
    ]

"""The end of a run on screen: the best five, the winner, its test figure, what to do next."""

import json as json_format
import os
from dataclasses import asdict
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.table import Table

from hpsearch.cli.listeners import FIGURES, figure
from hpsearch.cli.options import DEFAULT_RUNS
from hpsearch.cli.screen import Screen
from hpsearch.config.space import Params, describe
from hpsearch.config.spec import Criterion, StudySpec, build_spec
from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.heads import types_in_words
from hpsearch.evaluation.selection import varied_axes
from hpsearch.protocol.labels import LabelBudget, anomaly_pool, draw_labelled, evaluation_roles
from hpsearch.storage.database import load_study
from hpsearch.storage.results import RECIPE
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import (
    N_POINTS,
    Trials,
    facts_of,
    failures_sentence,
    message_of,
    reason_of,
    trials_of,
)
from hpsearch.study.result import FinalResult

_SHOWN = 5
_MORE = 2  # times as many


def summary_json(folder: RunDir, result: FinalResult, study: optuna.Study) -> dict[str, Any]:
    """What `hpsearch best --json` prints."""

    by_state = trials_of(study)

    def brief(estimate: Estimate | None) -> dict[str, Any] | None:
        return asdict(estimate) if estimate else None

    return {
        "warnings": folder.environment().get("warnings", []),
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
        "members": [asdict(member) for member in result.members],
        "test_single": brief(result.single),
        "price": asdict(result.price) if result.price else None,
        "model": str(folder.model(result.name).absolute()),
    }


def print_summary(folder: RunDir, result: FinalResult, *, json: bool) -> None:
    """Print the summary, as one JSON object where `json` is set."""
    study, criterion = load_study(folder.path), folder.spec().search.criterion
    if json:
        print(json_format.dumps(summary_json(folder, result, study)), flush=True)
        return
    console = Screen()
    for warning in folder.environment().get("warnings", []):
        console.print(f"warning: {warning}", soft_wrap=True)
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
    if result.members:
        console.print()
        console.print(_members(result))
    for line in _closing(folder, result, study):
        console.print(line, soft_wrap=True)


def _best_trials(by_state: Trials, criterion: Criterion) -> Table:
    trials = sorted(
        by_state.completed, key=lambda trial: (-facts_of(trial).criteria[criterion], trial.number)
    )
    counts = f"{len(trials)} of {len(by_state.ended)}" if by_state.failed else str(len(trials))
    table = Table(title=f"best {min(_SHOWN, len(trials))} of {counts} configurations")
    for column in ("trial", f"validation {FIGURES[criterion]}", "fold spread", "configuration"):
        table.add_column(column)
    for trial in trials[:_SHOWN]:
        of_trial = facts_of(trial)
        folds = of_trial.fold_values[criterion]
        folds = sorted(folds, reverse=criterion == "unsupervised")  # as shown: rising
        table.add_row(
            str(trial.number),
            figure(criterion, of_trial.criteria[criterion]),
            f"{figure(criterion, folds[0])} - {figure(criterion, folds[-1])}",
            describe(varied(trial)) + (" (saw labels)" if of_trial.trained_on_labels else ""),
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
    if result.has_head:
        lines += types_in_words(selection.held_out_types)
    return lines


def _choices(result: FinalResult, criterion: Criterion) -> Table:
    caption = (
        "test ROC AUC: mean of the models of the folds, trained on a part of the normals each, so "
        "not the final figure; lost: against the best configuration on the test set"
    )
    highest = {choice.criterion: choice.trial for choice in result.choices}
    if criterion == "weak" and highest.get(criterion) not in (None, result.trial):
        caption += (
            f"; trial {highest[criterion]} has the highest value, and trial {result.trial} was "
            "taken of those that the labels cannot tell from it"
        )
    table = Table(title="what each criterion would have chosen (* chooses)", caption=caption)
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
    if result.single:
        rows.append((f"trial {result.trial} alone", result.single))
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


def _members(result: FinalResult) -> Table:
    table = Table(
        title="what the final model averages",
        caption="scores in units of held-out normals: their median is 0, their deviation 1",
    )
    for column in ("trial", "detector", "configuration", "weight", "test AUC"):
        table.add_column(column)
    for member in result.members:
        labels = " (trained on labels)" if member.trained_on_labels else ""
        table.add_row(
            str(member.trial),
            f"{member.detector}{labels}",
            describe(result.settings_of(member)),
            f"{member.weight:.2f}",
            f"{member.test.auroc:.3f}",
        )
    return table


def _closing(folder: RunDir, result: FinalResult, study: optuna.Study) -> list[str]:
    test, flagging = result.test, result.flagging
    threshold = "no threshold: too few normals for the false-positive rate that was asked for"
    if flagging is not None:
        found = flagging.threshold
        threshold = (
            f"above {found.threshold:.4g} an image is called anomalous: "
            f"{100 * found.rate:g} % of normals by {found.n} held-out scores "
            f"(at most {100 * found.bound:.1f} %, with 95 % confidence), "
            f"{100 * flagging.normals:.1f} % of the test normals, "
            f"{100 * flagging.anomalies:.1f} % of the test anomalies"
        )
    lines = [
        f"winner: {result.in_words()}",
        f"fitted on all training normals{f' for {result.steps} steps' if result.steps else ''}",
        f"test ROC AUC {test.auroc:.3f} (95 % interval {test.interval_words()})",
        threshold,
    ]
    if price := result.price:
        lines.append(
            f"{price.average:.1f} ms an image, trial {result.trial} alone {price.single:.1f} ms "
            f"({price.n_images} test images on this machine, {price.device})"
        )
    if flagging and (warning := flagging.warning(test.n_normal)):
        lines.append(warning)
    if why := test.why_no_interval():
        lines.append(why)
    if test.auroc < 0.5:
        lines.append("below 0.5 the normal images score higher than the anomalies: do not use it")
    if simpler := result.simpler_and_as_good():
        name, reference = simpler
        hint = "" if folder.spec().detector == "features" else "; try --detector features"
        lines.append(f"no better than a simple method: {name} has {reference.auroc:.3f}{hint}")
    steps = next_steps(folder, study)
    width = max(len(command) for command, _ in steps)
    return [
        *lines,
        f"study:  {folder.path}  (trials in {folder.database})",
        f"model:  {folder.model(result.name)}",
        "next:",
        *(f"  {command:<{width}}  # {what}" for command, what in steps),
    ]


def next_steps(folder: RunDir, study: optuna.Study) -> list[tuple[str, str]]:
    """Commands to go on with a finished study, and what each does."""
    spec = folder.spec()
    named = folder.path.name if _is_default(folder.path.parent) else str(folder.path)
    steps = [(f"hpsearch report {quote(named)}", "one page on all of it")]
    goes_on = folder.recipe == RECIPE
    trials = trials_of(study)
    heads = [one for one in trials.completed if facts_of(one).trained_on_labels]
    if spec.search.protocol == "clean" and len(heads) < len(trials.completed):
        budget = f"hpsearch label-budget {quote(named)}{'' if goes_on else ' --no-train'}"
        steps.append((budget, "what fewer or more labels would have bought"))
    if not goes_on or folder.path.name != spec.study_name:  # a copy, which is there to be read
        return steps
    again = f"hpsearch run --study-name {spec.study_name}"
    if not _is_default(folder.path.parent):
        again += f" --runs {quote(str(folder.path.parent))}"
    if (more := _more_trials(study)) is not None:
        steps.append((f"{again} --n-trials {more}", "more configurations"))
    drawn = spec.search.protocol == "clean" and spec.search.criterion == "weak"
    if drawn and not heads and (labels := _more_labels(folder, spec)) is not None:
        steps.append((f"{again}{labels}", "choose again by more labels; no fold is trained anew"))
    return steps


def _is_default(runs: Path) -> bool:
    """Whether a command finds studies in `runs` by their names alone."""
    default = Path(os.environ.get("HPSEARCH_RUNS", DEFAULT_RUNS))
    return runs.resolve() == default.resolve()


def _more_trials(study: optuna.Study) -> int | None:
    """Twice the trials that have ended, up to the whole grid; None where all of it was tried."""
    by_state = trials_of(study)
    ended = by_state.ended
    tried = {tuple(trial.params.items()) for trial in ended}
    axes = by_state.completed[0].distributions.values()
    # A study of an earlier version does not say how many points it has.
    product = prod(len(getattr(axis, "choices", ())) for axis in axes)
    points = int(study.user_attrs.get(N_POINTS, product))
    if len(tried) >= points:
        return None
    return min(_MORE * len(ended), len(ended) + points - len(tried))


def _more_labels(folder: RunDir, spec: StudySpec) -> str | None:
    """Options that draw up to twice the labelled anomalies; None where the images hold no more."""
    from hpsearch.protocol.protocol import split_images

    table = folder.images()
    pool = table["anomaly_type"].iloc[anomaly_pool(table)]
    now, began = spec.labels, split_images(spec, table)
    for n_types in range(now.n_anomaly_types, pool.nunique() + 1):
        types = draw_labelled(table, LabelBudget(n_types, n_types), seed=spec.search.seed).types
        n_examples = min(_MORE * now.n_examples, int(pool.isin(types).sum()))
        more = {"n_anomaly_types": n_types, "n_examples": n_examples}
        if n_examples <= now.n_examples:
            continue
        try:
            asked = build_spec(spec.model_dump(mode="json"), {"labels": more})
            split = split_images(asked, table)
            evaluation_roles(table, split.labelled)
        except (DataError, SpecError):  # too few would be left to test on
            continue
        if not split.has_folds_of(began):  # they share groups with normals
            continue
        types_option = "" if n_types == now.n_anomaly_types else f" --n-anomaly-types {n_types}"
        return f"{types_option} --n-examples {n_examples}"
    return None

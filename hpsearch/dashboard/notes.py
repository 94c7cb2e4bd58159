"""What the dashboard's note of a trial and of a study says, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from hpsearch.criteria import CRITERIA
from hpsearch.deciding import varied_axes
from hpsearch.estimate import Estimate
from hpsearch.files import printable
from hpsearch.final import FinalResult
from hpsearch.spec import Criterion, StudySpec

_FIGURES: Mapping[Criterion, str] = {
    "weak": "ROC AUC",
    "unsupervised": "unsupervised",
    "synthetic": "synthetic AUC",
}
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def trial_note(trial: FrozenTrial, *, n_folds: int, final: FinalResult | None) -> str:
    """What a trial that has ended is: its folds, values, times, task directories.

    Args:
        trial: that has ended.
        n_folds: of the study.
        final: of its final model, None where it has none.
    """
    parts = [_heading(trial, n_folds)]
    if final is not None:
        parts.append(
            f"**Final model**, trained on all normals: {_figure(final.test)} on the test images; "
            f"model in {_code(f'final/{trial.number}/model/')}"
        )
    if trial.user_attrs.get("tasks"):
        parts.append(_folds(trial))
    return "\n\n".join(parts) + "\n"


def _heading(trial: FrozenTrial, n_folds: int) -> str:
    facts = trial.user_attrs
    varied = ", ".join(f"{axis} = {trial.params[axis]}" for axis in varied_axes(trial))
    words = f"**{_STATES[trial.state]}**: {_code(varied or 'the one configuration')}"
    if trial.state is TrialState.FAIL:
        words += f"; {_code(facts.get('failure_message', 'unknown'))}"
    if "seconds" in facts:
        scored = len(facts["tasks"])
        devices = _code(", ".join(facts["devices"]) or "no device")
        words += f"; {scored} of {n_folds} folds, {facts['seconds']:.1f} s on {devices}"
    return words


def _folds(trial: FrozenTrial) -> str:
    facts = trial.user_attrs
    values: Mapping[Criterion, Sequence[float]] = facts["fold_values"]
    rows = [
        (
            str(number),
            *(f"{values[name][number]:.4f}" for name in CRITERIA),
            str(step),
            _place(task),
        )
        for number, (task, step) in enumerate(zip(facts["tasks"], facts["best_steps"], strict=True))
    ]
    means = ("mean", *(f"{facts[name]:.4f}" for name in CRITERIA), "", "")
    header = ("fold", *(_FIGURES[name] for name in CRITERIA), "best step", "directory")
    return _table(header, [*rows, means])


def study_note(
    spec: StudySpec,
    *,
    n_complete: int,
    final: FinalResult | None,
    warnings: Sequence[str],
) -> str:
    """What a study is, and its answer where there is one.

    Args:
        spec: of the study.
        n_complete: trials that are complete.
        final: of the winner, None where it is not trained yet.
        warnings: what everyone who reads the answer must be told first.
    """
    labels = spec.labels
    parts = [f"**warning**: {_code(warning)}" for warning in warnings]
    parts.append(
        f"{_code(spec.detector)} on {_code(spec.dataset.name)}, {n_complete} configurations "
        f"complete, {spec.search.n_folds} folds each; {labels.n_examples} labelled anomalies of "
        f"{labels.n_anomaly_types} type(s); chosen by the {spec.search.criterion} criterion"
    )
    if final is None:
        parts.append("There is no answer yet: run the same `hpsearch run` again to go on.")
    else:
        parts.append(_answer(final))
    parts.append(
        "Go on with "
        + ", ".join(_code(f"hpsearch {verb} {spec.study_name}") for verb in ("best", "report"))
    )
    return "\n\n".join(parts) + "\n"


def _answer(final: FinalResult) -> str:
    rows = [("all test anomalies", final.test)]
    rows += [("types that the search saw", final.seen)] if final.seen else []
    rows += [("types never seen", final.unseen)] if final.unseen else []
    figures = [
        (name, _figure(value), str(value.n_normal), str(value.n_anomaly)) for name, value in rows
    ]
    header = ("the winner on", "test", "normals", "anomalies")
    return f"**Answer**: {_code(final.verdict.sentence)}\n\n{_table(header, figures)}"


def _figure(value: Estimate) -> str:
    return f"ROC AUC {value.auroc:.3f} (95 % interval {value.interval_words()})"


def _place(task: str) -> str:
    return _code(f"tasks/{task}/")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: object) -> str:
    """Text of others, which Markdown takes as it is."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', '/')}`"

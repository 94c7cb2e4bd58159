"""The dashboard's notes of a study and its trials, in Markdown.

They are in the study's database, where people may edit them: what they wrote is left alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpsearch.config.spec import CRITERIA, Criterion, StudySpec
from hpsearch.errors import StudyError
from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.selection import varied_axes
from hpsearch.io.files import write_text_atomic
from hpsearch.io.text import printable
from hpsearch.reports.dashboard.internals import shown_notes
from hpsearch.storage.trials import facts_of
from hpsearch.study.result import FinalResult

_CRITERIA: Mapping[Criterion, str] = {
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
            f"**Final model**, trained on all normals: {_auroc(final.test)} on the test images; "
            f"model in {_code(f'final/{trial.number}/model/')}"
        )
    facts = facts_of(trial)
    if facts.tasks:
        rows = [
            (
                str(number),
                *(f"{facts.fold_values[name][number]:.4f}" for name in CRITERIA),
                str(step),
                _code(f"tasks/{task}/"),
            )
            for number, (task, step) in enumerate(zip(facts.tasks, facts.best_steps, strict=True))
        ]
        means = ("mean", *(f"{facts.criteria[name]:.4f}" for name in CRITERIA), "", "")
        header = ("fold", *(_CRITERIA[name] for name in CRITERIA), "best step", "directory")
        parts.append(_table(header, [*rows, means]))
    return "\n\n".join(parts) + "\n"


def _heading(trial: FrozenTrial, n_folds: int) -> str:
    facts = facts_of(trial)
    varied = ", ".join(f"{axis} = {trial.params[axis]}" for axis in varied_axes(trial))
    words = f"**{_STATES[trial.state]}**: {_code(varied or 'the one configuration')}"
    if trial.state is TrialState.FAIL:
        words += f"; {_code(facts.failure_message or 'unknown')}"
    if facts.ended:
        scored = len(facts.tasks)
        devices = _code(", ".join(facts.devices) or "no device")
        words += f"; {scored} of {n_folds} folds, {facts.seconds:.1f} s on {devices}"
    return words


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
        rows = [("all test anomalies", final.test)]
        rows += [("types that the search saw", final.seen)] if final.seen else []
        rows += [("types never seen", final.unseen)] if final.unseen else []
        header = ("the winner on", "test", "normals", "anomalies")
        figures = [
            (name, _auroc(test), str(test.n_normal), str(test.n_anomaly)) for name, test in rows
        ]
        model = f"\n\nThe final model is the {final.in_words()}." if final.members else ""
        parts.append(
            f"**Answer**: {_code(final.selection.sentence)}{model}\n\n{_table(header, figures)}"
        )
    parts.append(
        "Go on with "
        + ", ".join(_code(f"hpsearch {verb} {spec.study_name}") for verb in ("best", "report"))
    )
    return "\n\n".join(parts) + "\n"


def _auroc(value: Estimate) -> str:
    return f"ROC AUC {value.auroc:.3f} (95 % interval {value.interval_words()})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: object) -> str:
    """Text of others, which Markdown takes as it is."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', '/')}`"


class NoteBook:
    """Writes the notes of a study and its trials.

    Args:
        study: for its one writer.
        ledger: file of the digests of all notes that were ever written here; a note that is not
            among them is somebody's own.

    Raises:
        StudyError: the ledger is damaged.
    """

    def __init__(self, study: optuna.Study, ledger: Path) -> None:
        self.study, self.ledger = study, ledger
        try:
            self._ours = set(json.loads(ledger.read_text())) if ledger.is_file() else set()
        except ValueError as error:
            raise StudyError(
                f"{ledger}: damaged ({error}); delete it, and notes that are there stay as they are"
            ) from error

    def write(self, notes: Mapping[int | None, str]) -> None:
        """Write each note where there is none yet, or another one that `write` wrote.

        Args:
            notes: by Optuna's id of a trial, None for the study itself.
        """
        from optuna_dashboard import save_note

        shown = shown_notes(self.study, notes)
        due = {
            of: body
            for of, body in notes.items()
            if body != shown[of] and (not shown[of] or _digest(shown[of]) in self._ours)
        }
        if not due:
            return
        # The ledger first, or after a kill between the two a note would seem somebody's own.
        self._ours |= {_digest(body) for body in due.values()}
        write_text_atomic(self.ledger, json.dumps(sorted(self._ours)))
        for trial_id, body in due.items():
            of = self.study if trial_id is None else optuna.trial.Trial(self.study, trial_id)
            save_note(of, body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]

"""What each criterion would have chosen, and which trials the labels cannot tell apart."""

from typing import NamedTuple

from hpsearch.evaluation.auroc import Interval
from hpsearch.evaluation.delong import auroc_interval, estimate_aurocs
from hpsearch.evaluation.selection import fold_scores
from hpsearch.reports.answer import estimate_words
from hpsearch.reports.document import Section, Table, Text
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData
from hpsearch.storage.trials import facts_of

_SHOWN = 15


class Candidate(NamedTuple):
    """A trial by the labelled anomalies.

    Attributes:
        trial: its number.
        configuration: its choices.
        value: validation ROC AUC, the mean over the folds.
        folds: of each fold.
        interval: 95 %, DeLong's covariance with Student's t.
        tied: whether the labelled anomalies cannot tell it from the best.
    """

    trial: int
    configuration: str
    value: float
    folds: tuple[float, ...]
    interval: Interval
    tied: bool


def candidates(data: StudyData) -> tuple[Candidate, ...]:
    """All completed trials, the highest value first."""
    estimates = estimate_aurocs(fold_scores(data.stored, data.labelled))
    found = [
        Candidate(
            trial.number,
            data.configuration(trial),
            float(estimates.values[index]),
            tuple(facts_of(trial).fold_values["weak"]),
            auroc_interval(estimates, index),
            trial.number in data.result.selection.tied,
        )
        for index, trial in enumerate(data.trials)
    ]
    return tuple(sorted(found, key=lambda one: (-one.value, one.trial)))


def choices_section(data: StudyData) -> Section:
    """The choices of the criteria, and those of the labelled anomalies."""
    blocks: list[Text | Table] = [_criteria(data), Text(_said(data)), _ties(data)]
    if data.result.selection.left_out_types:
        blocks.append(_left_out(data))
    return Section("choices", "What else could have been chosen", tuple(blocks))


def _criteria(data: StudyData) -> Table:
    rows = [
        (
            f"{choice.criterion}{' (chooses)' if choice.criterion == data.criterion else ''}",
            str(choice.trial),
            f"{choice.value:.4g}",
            *estimate_words(choice.test)[:2],
            f"{choice.regret:.3f}",
        )
        for choice in data.result.choices
    ]
    names = ", ".join(f"{name}: {words}" for name, words in CRITERION_NAMES.items())
    return Table(
        "What each criterion would have chosen, and what that costs: the test ROC AUC of the "
        "models of the folds, which are trained on a part of the normals each; lost: against the "
        f"best configuration on the test images. Values are {names}.",
        ("criterion", "trial", "value", "test ROC AUC", "interval", "lost"),
        tuple(rows),
    )


def _said(data: StudyData) -> str:
    n_tied, n = len(data.result.selection.tied), len(data.trials)
    labels = len(data.labelled.positions)
    anomalies = "1 labelled anomaly" if labels == 1 else f"{labels} labelled anomalies"
    if n_tied == 1:
        return f"{anomalies} tell the best configuration from all other {n - 1}."
    return f"{anomalies} cannot tell {n_tied} of {n} configurations apart as the best."


def _ties(data: StudyData) -> Table:
    found = candidates(data)
    more = f"; {len(found) - _SHOWN} lower ones are left out" if len(found) > _SHOWN else ""
    return Table(
        f"Trials by the labelled anomalies, the highest validation ROC AUC first{more}",
        ("trial", "configuration", "ROC AUC", "95 % interval", "folds", "may be the best"),
        tuple(
            (
                f"{one.trial}{' (winner)' if one.trial == data.result.trial else ''}",
                one.configuration,
                f"{one.value:.3f}",
                f"{one.interval.low:.3f} – {one.interval.high:.3f}",
                f"{min(one.folds):.3f} – {max(one.folds):.3f}",
                "yes" if one.tied else "no",
            )
            for one in found[:_SHOWN]
        ),
    )


def _left_out(data: StudyData) -> Table:
    return Table(
        "Each labelled type left out in turn: what the other types choose, tried on it",
        ("type left out", "images", "trial chosen", "ROC AUC on it", "best there"),
        tuple(
            (one.name, str(one.n_anomalies), str(one.trial), f"{one.auroc:.3f}", f"{one.best:.3f}")
            for one in data.result.selection.left_out_types
        ),
    )

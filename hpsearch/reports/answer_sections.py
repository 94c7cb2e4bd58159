"""The answer of a study, what it was asked, and what else could have been chosen."""

from typing import NamedTuple

from hpsearch.config.space import describe
from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import Estimate, Interval
from hpsearch.evaluation.delong import auroc_interval, estimate_aurocs
from hpsearch.evaluation.heads import types_in_words
from hpsearch.evaluation.selection import fold_scores, varied_axes
from hpsearch.paper.numbers import OURS, load_paper_numbers, paper_number
from hpsearch.reports.document import Section, Table, Text
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData
from hpsearch.storage.trials import facts_of
from hpsearch.study.result import FinalResult

_SHOWN = 15  # trials


def report_warnings(data: StudyData) -> tuple[str, ...]:
    """What a reader must be told before any figure."""
    result = data.result
    warnings: list[str] = list(data.environment.get("warnings", []))
    if why := result.test.why_no_interval():
        warnings.append(why)
    if result.test.auroc < 0.5:
        warnings.append(
            "below 0.5 the normal images score higher than the anomalies: do not use this model"
        )
    if simpler := result.simpler_and_as_good():
        name, reference = simpler
        warnings.append(
            f"the winner is no better than a simple method: {name} has a test ROC AUC of "
            f"{reference.auroc:.3f}, the winner {result.test.auroc:.3f}"
        )
    if result.flagging is None:
        warnings.append(
            "there is no threshold: too few normals for the false-positive rate asked for"
        )
    elif warning := result.flagging.warning(result.test.n_normal):
        warnings.append(warning)
    if result.has_head and not result.selection.held_out_types:
        warnings += types_in_words(())
    if result.unseen is None:
        warnings.append(
            "no test anomaly is of a type that the search did not see: how well the model finds "
            "other kinds is not known"
        )
    return tuple(warnings)


def answer_section(data: StudyData) -> Section:
    """What was chosen and how good it is."""
    result, test, flagging = data.result, data.result.test, data.result.flagging
    chosen = (
        f"Trial {result.trial} has the best value of {len(data.trials)} by the "
        f"{data.criterion} criterion"
    )
    if data.criterion == "weak":
        chosen = result.selection.sentence[0].upper() + result.selection.sentence[1:]
    if result.members:
        chosen += f". The final model is the {result.in_words()}"
    blocks: list[Text | Table] = [
        Text(
            f"{chosen}. Trained on all normals it has a test ROC AUC of {test.auroc:.3f} "
            f"(95 % interval {test.interval_words(dash='–')}) on {test.n_normal} normal and "
            f"{test.n_anomaly} anomalous images that the search never met."
        )
    ]
    if flagging is not None:
        threshold = flagging.threshold
        blocks.append(
            Text(
                f"Above a score of {threshold.threshold:.4g} an image is called anomalous: "
                f"{100 * threshold.rate:g} % of normals by {threshold.n} held-out "
                f"scores (at most {100 * threshold.bound:.1f} %, with 95 % confidence). On "
                f"the test images it flags {100 * flagging.normals:.1f} % of the normals and "
                f"{100 * flagging.anomalies:.1f} % of the anomalies."
            )
        )
    named: list[tuple[str, Estimate | None]] = [
        ("winner", result.test),
        ("winner, types seen in the search", result.seen),
        ("winner, types never seen", result.unseen),
        *([(f"trial {result.trial} alone", result.single)] if result.single else []),
        *result.references,
    ]
    blocks.append(
        Table(
            "Test ROC AUC with its 95 % interval (bootstrap over groups); images: normal + "
            "anomalous. The other methods are what the winner has to beat.",
            ("what", "ROC AUC", "interval", "images"),
            tuple(
                (name, *estimate_words(one)) if one else (name, "–", "–", "none left")
                for name, one in named
            ),
        )
    )
    if result.members:
        blocks.append(_member_table(result))
    if paper := _paper_rows(data):
        blocks.append(paper)
    return Section("answer", "The answer", tuple(blocks))


def _member_table(result: FinalResult) -> Table:
    price = ""
    if result.price:
        price = (
            f" It takes {result.price.average:.1f} ms an image, trial {result.trial} alone "
            f"{result.price.single:.1f} ms ({result.price.n_images} test images on "
            f"{result.price.device})."
        )
    return Table(
        "What the final model averages: each score in units of held-out normals, whose median is 0 "
        f"and whose deviation is 1.{price}",
        ("trial", "detector", "configuration", "weight", "test ROC AUC", "interval"),
        tuple(
            (
                str(member.trial),
                f"{member.detector}{', trained on the labels' if member.trained_on_labels else ''}",
                describe(result.settings_of(member)),
                f"{member.weight:.2f}",
                *estimate_words(member.test)[:2],
            )
            for member in result.members
        ),
    )


def question_section(data: StudyData) -> Section:
    """What was searched, and on what."""
    spec, table = data.spec, data.stored.table
    normal, test = table["label"] == 0, table["split"] == "test"
    axes = {axis: trial.distributions[axis] for trial in data.trials for axis in varied_axes(trial)}
    searched = [
        f"{axis} of {' | '.join(map(str, choices.choices))}"  # type: ignore[attr-defined]
        for axis, choices in axes.items()
    ]
    fixed = [f"{key}={value}" for key, value in data.result.params.items() if key not in axes]
    folds = "of published files"
    if not spec.search.folds:
        split = ", large ones split" if spec.search.split_groups else ""
        folds = f"by group{split}, drawn by the seed"
    rows = (
        (
            "images",
            f"{(normal & ~test).sum()} normal to train on, {(~normal & ~test).sum()} anomalous in "
            f"the training part; {(normal & test).sum()} normal and {(~normal & test).sum()} "
            "anomalous to test on",
        ),
        (
            "labelled anomalies",
            f"{len(data.labelled.positions)} of {'; '.join(data.labelled.types)}",
        ),
        ("detector", f"{', '.join(spec.detectors)}, features of {spec.backbone.name}"),
        ("searched", "; ".join(searched) or "one configuration"),
        ("fixed", "; ".join(fixed)),
        ("trials", f"{len(data.trials)} completed, {spec.search.n_folds} folds each"),
        ("chosen by", f"{spec.search.criterion} criterion ({CRITERION_NAMES[data.criterion]})"),
        ("folds", folds),
        ("winner", describe(data.result.params)),
    )
    caption = f"Study {data.folder.path.name} on {data.environment.get('dataset', 'unknown')}"
    return Section("question", "What was searched", (Table(caption, ("what", "value"), rows),))


def estimate_words(estimate: Estimate) -> tuple[str, str, str]:
    """Value, interval, and images."""
    return (
        f"{estimate.auroc:.3f}",
        estimate.interval_words(dash="–"),
        f"{estimate.n_normal} + {estimate.n_anomaly}",
    )


def _paper_rows(data: StudyData) -> Table | None:
    """What the paper's tables say of its own method on this data set."""
    try:
        numbers = load_paper_numbers()
    except DataError:
        return None
    own_class = data.spec.dataset.normal_class or ""
    rows = numbers[
        (numbers["dataset"] == data.spec.dataset.name)
        & (numbers["method"] == OURS)
        & (numbers["metric"] == "auroc_percent")
        & (numbers["class"] == own_class)
    ]
    if rows.empty:
        return None
    words = []
    for _, row in rows.iterrows():
        number = paper_number(row)
        spread = "" if number.std is None else f" ± {number.std:g}"
        words.append((str(row["variant"]), f"{number.value:g}{spread}", number.source))
    return Table(
        "What the paper has on this data set: test ROC AUC in percent, mean of three runs",
        ("variant", "ROC AUC", "where"),
        tuple(words),
    )


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
    trials = [
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
    return tuple(sorted(trials, key=lambda one: (-one.value, one.trial)))


def choices_section(data: StudyData) -> Section:
    """What each criterion would have chosen, and which trials the labels cannot tell apart."""
    selection = data.result.selection
    n_tied, n, labels = len(selection.tied), len(data.trials), len(data.labelled.positions)
    anomalies = "1 labelled anomaly" if labels == 1 else f"{labels} labelled anomalies"
    said = f"{anomalies} cannot tell {n_tied} of {n} configurations apart as the best."
    if n_tied == 1:
        said = f"{anomalies} tell the best configuration from all other {n - 1}."
    names = ", ".join(f"{name}: {words}" for name, words in CRITERION_NAMES.items())
    by_criterion = Table(
        "What each criterion would have chosen, and what that costs: the test ROC AUC of the "
        "models of the folds, which are trained on a part of the normals each; lost: against the "
        f"best configuration on the test images. Values are {names}.",
        ("criterion", "trial", "value", "test ROC AUC", "interval", "lost"),
        tuple(
            (
                f"{choice.criterion}{' (chooses)' if choice.criterion == data.criterion else ''}",
                str(choice.trial),
                f"{choice.value:.4g}",
                *estimate_words(choice.test)[:2],
                f"{choice.regret:.3f}",
            )
            for choice in data.result.choices
        ),
    )
    blocks: list[Text | Table] = [by_criterion, Text(said), _candidate_table(data)]
    if selection.left_out_types:
        blocks.append(
            Table(
                "Each labelled type left out in turn: what the other types choose, tried on it",
                ("type left out", "images", "trial chosen", "ROC AUC on it", "best there"),
                tuple(
                    (
                        one.name,
                        str(one.n_anomalies),
                        str(one.trial),
                        f"{one.auroc:.3f}",
                        f"{one.best:.3f}",
                    )
                    for one in selection.left_out_types
                ),
            )
        )
    if selection.held_out_types:
        blocks.append(
            Table(
                "Each labelled type left out of the training of the best detector that is trained "
                "on labelled anomalies",
                ("type", "images", "ROC AUC on it, trained on it", "not trained on it"),
                tuple(
                    (one.name, str(one.n_anomalies), f"{one.seen:.3f}", f"{one.unseen:.3f}")
                    for one in selection.held_out_types
                ),
            )
        )
    return Section("choices", "What else could have been chosen", tuple(blocks))


def _candidate_table(data: StudyData) -> Table:
    trials = candidates(data)
    more = f"; {len(trials) - _SHOWN} lower ones are left out" if len(trials) > _SHOWN else ""
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
            for one in trials[:_SHOWN]
        ),
    )

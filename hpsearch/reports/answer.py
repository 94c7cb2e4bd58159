"""The answer of a study in words, what it was asked, and what must be read first."""

from collections.abc import Iterable

import pandas as pd

from hpsearch.config.space import describe
from hpsearch.config.spec import StudySpec
from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import Estimate
from hpsearch.paper.numbers import OURS, load_paper_numbers, paper_number
from hpsearch.reports.document import Section, Table, Text
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData


def warnings_of(data: StudyData) -> tuple[str, ...]:
    """What a reader must be told before any figure."""
    result = data.result
    told: list[str] = list(data.environment.get("warnings", []))
    if why := result.test.why_no_interval():
        told.append(why)
    if result.test.auroc < 0.5:
        told.append(
            "below 0.5 the normal images score higher than the anomalies: do not use this model"
        )
    if found := result.simpler_and_as_good():
        name, reference = found
        told.append(
            f"the winner is no better than a simple method: {name} has a test ROC AUC of "
            f"{reference.auroc:.3f}, the winner {result.test.auroc:.3f}"
        )
    if result.flagging is None:
        told.append("there is no threshold: too few normals for the false-positive rate asked for")
    elif warning := result.flagging.warning(result.test.n_normal):
        told.append(warning)
    if result.unseen is None:
        told.append(
            "no test anomaly is of a type that the search did not see: how well the model finds "
            "other kinds is not known"
        )
    return tuple(told)


def answer_section(data: StudyData) -> Section:
    """What was chosen and how good it is."""
    result, test = data.result, data.result.test
    blocks: list[Text | Table] = [
        Text(
            f"{_chosen(data)}. Trained on all normals it has a test ROC AUC of {test.auroc:.3f} "
            f"(95 % interval {test.interval_words(dash='–')}) on {test.n_normal} normal and "
            f"{test.n_anomaly} anomalous images that the search never met."
        )
    ]
    if result.flagging is not None:
        found = result.flagging
        blocks.append(
            Text(
                f"Above a score of {found.threshold.threshold:.4g} an image is called anomalous: "
                f"{100 * found.threshold.rate:g} % of normals by {found.threshold.n} held-out "
                f"scores (at most {100 * found.threshold.bound:.1f} %, with 95 % confidence). On "
                f"the test images it flags {100 * found.normals:.1f} % of the normals and "
                f"{100 * found.anomalies:.1f} % of the anomalies."
            )
        )
    blocks.append(_figures(data))
    if paper := _paper_rows(data):
        blocks.append(paper)
    return Section("answer", "The answer", tuple(blocks))


def question_section(data: StudyData) -> Section:
    """What was searched, and on what."""
    spec, table = data.spec, data.stored.table
    rows = [
        ("images", _count(table)),
        ("labelled anomalies", f"{len(data.labelled.positions)} of {_list(data.labelled.types)}"),
        ("detector", f"{spec.detector}, features of {spec.backbone.name}"),
        ("searched", _list(_axis(data, axis) for axis in data.varied) or "one configuration"),
        ("fixed", _list(f"{k}={v}" for k, v in data.result.params.items() if k not in data.varied)),
        ("trials", f"{len(data.trials)} completed, {spec.search.n_folds} folds each"),
        ("chosen by", f"{spec.search.criterion} criterion ({CRITERION_NAMES[data.criterion]})"),
        ("folds", _folds(spec)),
        ("winner", describe(data.result.params)),
    ]
    caption = f"Study {data.folder.path.name} on {data.environment.get('dataset', 'unknown')}"
    return Section(
        "question", "What was searched", (Table(caption, ("what", "value"), tuple(rows)),)
    )


def estimate_words(estimate: Estimate) -> tuple[str, str, str]:
    """Value, interval, and images."""
    return (
        f"{estimate.auroc:.3f}",
        estimate.interval_words(dash="–"),
        f"{estimate.n_normal} + {estimate.n_anomaly}",
    )


def _chosen(data: StudyData) -> str:
    result = data.result
    if data.criterion == "weak":
        return result.selection.sentence[0].upper() + result.selection.sentence[1:]
    return (
        f"Trial {result.trial} has the best value of {len(data.trials)} by the "
        f"{data.criterion} criterion"
    )


def _figures(data: StudyData) -> Table:
    result = data.result
    named: list[tuple[str, Estimate | None]] = [
        ("winner", result.test),
        ("winner, types seen in the search", result.seen),
        ("winner, types never seen", result.unseen),
        *result.references,
    ]
    return Table(
        "Test ROC AUC with its 95 % interval (bootstrap over groups); images: normal + anomalous. "
        "The other methods are what the winner has to beat.",
        ("what", "ROC AUC", "interval", "images"),
        tuple(
            (name, *estimate_words(one)) if one else (name, "–", "–", "none left")
            for name, one in named
        ),
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
    return Table(
        "What the paper has on this data set: test ROC AUC in percent, mean of three runs",
        ("variant", "ROC AUC", "where"),
        tuple(_paper_row(row) for _, row in rows.iterrows()),
    )


def _paper_row(row: "pd.Series[str]") -> tuple[str, str, str]:
    number = paper_number(row)
    spread = "" if number.std is None else f" ± {number.std:g}"
    return str(row["variant"]), f"{number.value:g}{spread}", number.source


def _axis(data: StudyData, axis: str) -> str:
    choices = data.trials[0].distributions[axis].choices  # type: ignore[attr-defined]
    return f"{axis} of {' | '.join(map(str, choices))}"


def _count(table: pd.DataFrame) -> str:
    normal = table["label"] == 0
    test = table["split"] == "test"
    return (
        f"{(normal & ~test).sum()} normal to train on, {(~normal & ~test).sum()} anomalous in the "
        f"training part; {(normal & test).sum()} normal and {(~normal & test).sum()} anomalous to "
        "test on"
    )


def _folds(spec: StudySpec) -> str:
    if spec.search.folds:
        return "of published files"
    return f"by group{', large ones split' if spec.search.split_groups else ''}, drawn by the seed"


def _list(words: Iterable[str]) -> str:
    return "; ".join(words)

"""The figures of a table, ours beside the paper's: lines, their CSV file, and what they are not."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pandas as pd

from hpsearch.config.space import describe
from hpsearch.config.spec import Criterion
from hpsearch.io.files import write_csv
from hpsearch.paper.contents import CLASSES_OF, PaperTable, Part
from hpsearch.paper.numbers import OURS, Metric, PaperNumber, find_number, paper_number
from hpsearch.paper.running import Outcome, spread

Status = Literal["run", "absent", "failed", "reported"]
"""Run here; its images could not be used; its study failed; the paper's alone."""

VARIANTS: dict[Criterion, str] = {"weak": "weakly-supervised", "unsupervised": "unsupervised"}
"""How hyperparameters are chosen, as the paper calls it."""
_WITH, _WITHOUT = "with growing", "without growing"  # as in the paper's numbers
_PERCENT, _MINUTE = 100.0, 60.0


@dataclass(frozen=True)
class Measured:
    """A figure of ours, in the unit of its table: percent or minutes.

    Attributes:
        value: the mean over final trainings, and over classes where there are several.
        low, high: of the 95 % bootstrap interval, None where it cannot be had; of minutes, the
            shortest and longest training. For several classes the means of the classes' ends, which
            is wide enough however the classes hang together (they share their test images).
        runs: one value a final training.
        tasks: the directories of those trainings.
        images: test normals and test anomalies; None for several classes.
        params: the chosen configuration; "" for several classes.
        seconds: of all trainings behind it.
    """

    value: float
    low: float | None
    high: float | None
    runs: tuple[float, ...]
    tasks: tuple[Path, ...]
    images: tuple[int, int] | None
    params: str
    seconds: float

    @property
    def std(self) -> float | None:
        """Over the final trainings, None for one alone."""
        return spread(self.runs)


@dataclass(frozen=True)
class TableLine:
    """One figure of a table.

    Attributes:
        dataset, classes: what it is of; no classes where the data set has none.
        method, variant: as the paper names them.
        metric: what the figure is.
        status: whether there is one of ours, and why not.
        ours, paper: the figures, None where there is none.
        why: there is none of ours.
    """

    dataset: str
    classes: tuple[str, ...]
    method: str
    variant: str
    metric: Metric
    status: Status
    ours: Measured | None = None
    paper: PaperNumber | None = None
    why: str | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where there are both."""
        return self.ours.value - self.paper.value if self.ours and self.paper else None


def table_lines(
    table: PaperTable, parts: Sequence[Part], outcomes: Sequence[Outcome], numbers: pd.DataFrame
) -> list[TableLine]:
    """Our lines in the table's order, then those of the methods that are not run here.

    Args:
        table: whose lines.
        parts: of the table.
        outcomes: of the studies of the parts, in the same order.
        numbers: the paper's, see `hpsearch.paper.numbers`.
    """
    pairs = list(zip(parts, outcomes, strict=True))
    groups = [[pair] for pair in pairs]
    if table.mean:
        names = dict.fromkeys(part.dataset for part in parts)
        groups = [[pair for pair in pairs if pair[0].dataset == name] for name in names]
    ours = [
        _line(table, group, criterion, numbers)
        for group in groups
        for criterion in table.criteria_of(group[0][0])
    ]
    return ours + _reported(table, parts, numbers)


def _line(
    table: PaperTable,
    group: Sequence[tuple[Part, Outcome]],
    criterion: Criterion,
    numbers: pd.DataFrame,
) -> TableLine:
    """The line of one study, or of the studies of a data set's classes."""
    answered = [(part, outcome) for part, outcome in group if criterion in outcome.answers]
    wanting = [outcome for _, outcome in group if criterion not in outcome.answers]
    part = group[0][0]
    growing = _WITH if part.growing else _WITHOUT
    classes = tuple(part.normal_class for part, _ in answered or group if part.normal_class)
    failed = next((outcome.failure for outcome in wanting if outcome.failure), None)
    absent = next((outcome.absent for outcome in wanting if outcome.absent), None)
    status: Status = "run" if answered else "failed" if failed else "absent"
    return TableLine(
        part.dataset,
        classes,
        OURS,
        VARIANTS[criterion] + (f", {growing}" if True in table.growing else ""),
        table.metric,
        status,
        _mean([_measured(table, outcome, criterion) for _, outcome in answered]),
        _papers(table, part, classes, criterion, numbers),
        failed or absent,
    )


def _papers(
    table: PaperTable,
    part: Part,
    classes: Sequence[str],
    criterion: Criterion,
    numbers: pd.DataFrame,
) -> PaperNumber | None:
    """What the paper has for a line: in this table or, where that is finer, in another."""
    data = part.dataset
    if criterion == "unsupervised":  # Table 4 has it, for what is trained without growing
        if table.by_class:
            return None
        return find_number(numbers, table=4, dataset=data, variant="PL + unsupervised")
    if table.mean and classes != CLASSES_OF.get(data):
        values = [number.value for name in classes if (number := _of_class(data, name, numbers))]
        if len(values) < len(classes):
            return None
        return PaperNumber(fmean(values), None, f"Table 5, mean over {', '.join(classes)}")
    if table.by_class and not table.mean:
        return _of_class(data, classes[0], numbers)
    variant = _WITH if part.growing else _WITHOUT
    return find_number(numbers, table=table.number, dataset=data, variant=variant)


def _of_class(dataset: str, normal_class: str, numbers: pd.DataFrame) -> PaperNumber | None:
    return find_number(
        numbers, table=5, dataset=dataset, normal_class=normal_class, variant=VARIANTS["weak"]
    )


def _measured(table: PaperTable, outcome: Outcome, criterion: Criterion) -> Measured:
    answer = outcome.answers[criterion]
    test = answer.test
    if table.metric == "auroc_percent":
        runs = tuple(_PERCENT * run for run in answer.runs)
        value = _PERCENT * test.auroc
        low, high = (None if end is None else _PERCENT * end for end in (test.low, test.high))
    else:
        runs = tuple(seconds / _MINUTE for seconds in answer.final_seconds)
        value, low, high = fmean(runs), min(runs), max(runs)
    return Measured(
        value,
        low,
        high,
        runs,
        tuple(outcome.tasks(criterion)),
        (test.n_normal, test.n_anomaly),
        describe(answer.params, tuple(answer.searched) or None),
        answer.seconds,
    )


def _mean(figures: Sequence[Measured]) -> Measured | None:
    """The mean over classes; of one figure, itself."""
    if len(figures) < 2:
        return figures[0] if figures else None
    return Measured(
        fmean(figure.value for figure in figures),
        _mean_end([figure.low for figure in figures]),
        _mean_end([figure.high for figure in figures]),
        tuple(map(fmean, zip(*(figure.runs for figure in figures), strict=True))),
        tuple(task for figure in figures for task in figure.tasks),
        None,
        "",
        sum(figure.seconds for figure in figures),
    )


def _mean_end(ends: Sequence[float | None]) -> float | None:
    """The mean of intervals' ends, None where one cannot be had."""
    known = [end for end in ends if end is not None]
    return fmean(known) if len(known) == len(ends) else None


def _reported(table: PaperTable, parts: Sequence[Part], numbers: pd.DataFrame) -> list[TableLine]:
    """What the paper has of other methods, for the data sets and classes of the parts."""
    wanted = {(part.dataset, "" if table.mean else part.normal_class) for part in parts}
    rows = numbers[(numbers["table"] == table.number) & (numbers["method"] != OURS)]
    return [
        TableLine(
            row["dataset"],
            (row["class"],) if row["class"] else (),
            row["method"],
            row["variant"],
            table.metric,
            "reported",
            paper=paper_number(row),
        )
        for _, row in rows.iterrows()
        if (row["dataset"], row["class"]) in wanted
    ]


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records of the same keys, one or more, whole or not at all.

    A list becomes its items with spaces between them; None becomes an empty cell.
    """
    rows = [
        {
            key: " ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in record.items()
        }
        for record in records
    ]
    write_csv(path, pd.DataFrame(rows, dtype=object))


def write_lines(path: Path, table: PaperTable, lines: Sequence[TableLine], *, runs: Path) -> None:
    """Write the lines as a CSV file, whole or not at all; see `line_record` for its columns."""
    write_records(path, [line_record(table, line, runs=runs) for line in lines])


def line_record(table: PaperTable, line: TableLine, *, runs: Path) -> dict[str, Any]:
    """A line as plain values; what it cannot say is None or empty.

    `value`, `low`, `high`, `runs` are in the unit of `metric`; `difference` is ours less the
    paper's; `tasks` are directories below the folder `runs`, whose stored scores give the figure.
    """
    ours, paper = line.ours, line.paper
    figure: dict[str, Any] = {"value": None, "std": None, "low": None, "high": None, "runs": []}
    if ours:
        figure = {key: getattr(ours, key) for key in figure} | {"runs": list(ours.runs)}
    n_normal, n_anomaly = ours.images if ours and ours.images else (None, None)
    return {
        "table": table.number,
        "dataset": line.dataset,
        "classes": list(line.classes),
        "method": line.method,
        "variant": line.variant,
        "metric": line.metric,
        "status": line.status,
        **figure,
        "difference": line.difference,
        **{f"paper_{key}": getattr(paper, key, None) for key in ("value", "std", "source")},
        "n_normal": n_normal,
        "n_anomaly": n_anomaly,
        "params": ours.params if ours else "",
        "seconds": round(ours.seconds, 1) if ours else None,
        "tasks": [task.relative_to(runs).as_posix() for task in ours.tasks] if ours else [],
        "why": line.why,
    }


_TORCHVISION = "torchvision "
"""What the source of torchvision's own weights begins with; see `hpsearch.detectors.backbones`."""
GENUINE = "dcbb9e9d"
"""The first digits of the SHA-256 of torchvision's file, which it carries in its name."""
_OF_THE_PAPER = ("dataset", "backbone")  # sections of which other words are made here


def departures(
    outcomes: Sequence[Outcome], settings: Mapping[str, Any], *, scale: float | None
) -> list[str]:
    """What a reader must know before a figure is set beside the paper's, each once.

    Args:
        outcomes: of the studies of the table.
        settings: of the user, laid over all studies.
        scale: of the steps of every training, None for full size.
    """
    answered = [outcome for outcome in outcomes if outcome.answers]
    said = []
    for outcome in answered:
        source = str(outcome.folder.environment()["backbone_source"])
        if not source.startswith(_TORCHVISION) and not _is_genuine(Path(source)):
            said.append(
                f"stand-in weights ({Path(source).name}), not torchvision's ImageNet VGG-19"
            )
    said += [note for outcome in answered for note in outcome.notes]
    if scale is not None and scale != 1:
        said.append(f"steps x {scale:g}")
    changed = {key: value for key, value in settings.items() if key not in _OF_THE_PAPER}
    if words := list(_words(changed)):
        said.append(f"settings of the command line: {', '.join(words)}")
    return list(dict.fromkeys(said))


def _is_genuine(path: Path) -> bool:
    """Whether a file that the user gave is torchvision's own."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(GENUINE)


def _words(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested settings as `training.batch_size=16` words."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _words(value, f"{prefix}{key}.")
        else:
            said = "|".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{key}={said}"

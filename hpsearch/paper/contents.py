"""What Tables 1, 2, 3 and 5 of the paper are about, and the studies that answer them.

Tables 1 and 5 rest on the same studies, and so do Tables 2 and 3: they bear the same names, and the
second table trains nothing that the first has trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsearch.config.spec import Criterion, StudySpec, build_spec, merged
from hpsearch.datasets.digits import DIGIT_CLASSES as DIGITS
from hpsearch.datasets.digits import DIGITS_NAME
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN, TorchvisionSet
from hpsearch.errors import SpecError
from hpsearch.paper.ablation import table4_rows
from hpsearch.paper.growing import (
    START_RESOLUTION,
    STEPS_PER_PHASE,
    lengthened,
    with_growing,
    without_growing,
)
from hpsearch.paper.numbers import Metric


@dataclass(frozen=True)
class TableStudy:
    """One study of a table.

    Attributes:
        spec: what is run.
        criteria: whose choices are trained on all normals, each once.
        title: what it is for, for the one who waits.
        searched: whether the configuration is searched for; where not, the spec has one, and
            `training.max_steps` is how long it is trained.
        notes: what must be said beside its figures.
    """

    spec: StudySpec
    criteria: tuple[Criterion, ...]
    title: str
    searched: bool = True
    notes: tuple[str, ...] = ()


_DETECTOR: str = StudySpec.model_fields["detector"].default
_TORCHVISION: Mapping[str, TorchvisionSet] = {source.name: source for source in (CIFAR10, SVHN)}
CLASSES_OF: Mapping[str, tuple[str, ...]] = {
    **{name: source.classes for name, source in _TORCHVISION.items()},
    DIGITS_NAME: DIGITS,
}
"""The classes of data sets that have them, each of which is normal in turn."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper with figures of its method on several data sets.

    Attributes:
        number: as in the paper.
        datasets: as they are named here, in the paper's order.
        metric: what its figures are.
        by_class: each class of a data set is normal in turn (section 4.1.2).
        mean: the figures are means over the classes.
        growing: whether its method is run without growing, with it, or both.
        criteria: what chooses without growing; with it, the labelled anomalies do.
        published: its configurations are those that the authors published.
    """

    number: int
    datasets: tuple[str, ...]
    metric: Metric
    by_class: bool = False
    mean: bool = False
    growing: tuple[bool, ...] = (False,)
    criteria: tuple[Criterion, ...] = ("weak", "unsupervised")
    published: bool = False

    @property
    def name(self) -> str:
        """As it is asked for, e.g. `table1`."""
        return f"table{self.number}"

    def criteria_of(self, part: "Part") -> tuple[Criterion, ...]:
        """What chooses among the trainings of a part."""
        return ("weak",) if part.growing else self.criteria


_NATURAL = (CIFAR10.name, SVHN.name)
_MEDICAL = ("camelyon16", "nih-subset", "nih-pa", "nih-ap")
PAPER_TABLES: Mapping[str, PaperTable] = {
    table.name: table
    for table in (
        PaperTable(1, _NATURAL, "auroc_percent", by_class=True, mean=True),
        PaperTable(2, _MEDICAL, "auroc_percent", growing=(False, True)),
        PaperTable(3, _MEDICAL, "training_minutes", growing=(False, True), criteria=("weak",)),
        PaperTable(5, _NATURAL, "auroc_percent", by_class=True),
    )
}


@dataclass(frozen=True)
class TableData:
    """A data set that a table is made on.

    Attributes:
        name: a registered name, a manifest or a folder.
        short: what it is called in names of run directories.
        study: the mapping of its own study.
    """

    name: str
    short: str
    study: Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What one study of a table is about.

    Attributes:
        dataset: its name.
        normal_class: "" where the data set has none.
        growing: whether its networks grow.
    """

    dataset: str
    normal_class: str
    growing: bool


def table_parts(
    table: PaperTable, datasets: Iterable[str], classes: Sequence[str] | None
) -> list[Part]:
    """The parts of a table on some data sets, for some of their classes or, for None, for all.

    Raises:
        SpecError: a class that a data set does not have, or classes that must be named.
    """
    return [
        Part(dataset, normal_class, growing)
        for dataset in datasets
        for normal_class in (_classes(table, dataset, classes) if table.by_class else ("",))
        for growing in table.growing
    ]


def table_study(
    table: PaperTable, part: Part, data: TableData, options: Mapping[str, Any], *, prefix: str
) -> TableStudy:
    """The study of a part, at full size.

    Args:
        table: whose part it is.
        part: what it is about.
        data: its data set.
        options: settings of the user, over all others. How to grow reaches the parts that grow.
        prefix: of the study's name, which is `<prefix>-<data>[-<class>][-growing]`.

    Raises:
        SpecError: a setting breaks a rule.
    """
    words = [data.short, part.normal_class, "growing" if part.growing else ""]
    said = [word for word in words if word]
    usual = table4_rows()[-1].space
    base = with_growing(data.study, usual) if part.growing else without_growing(data.study)
    named: dict[str, Any] = {"study_name": "-".join([prefix, *said])}
    if part.normal_class:
        named["dataset"] = {"normal_class": part.normal_class}
    # The paper takes the highest value, however many configurations are as good.
    usual_way = {"dataset": {"name": data.name}, "search": {"pick": "best"}}
    settings = merged(usual_way, merged(base, _reaching(part, options)))
    spec = build_spec(settings, named)
    criteria = table.criteria_of(part)
    return TableStudy(lengthened(spec), criteria, f"{table.name} {' '.join(said)}")


def _reaching(part: Part, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options without those on how to grow, for a part that does not."""
    if part.growing or _DETECTOR not in options.get("space", {}):
        return options
    space: Mapping[str, Any] = options["space"]
    axes = {
        axis: choices
        for axis, choices in space[_DETECTOR].items()
        if axis not in (START_RESOLUTION, STEPS_PER_PHASE)
    }
    return {**options, "space": {**space, _DETECTOR: axes}}


def _classes(table: PaperTable, dataset: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None and dataset not in CLASSES_OF:
        raise SpecError(
            f"{table.name} on {dataset}: each class is normal in turn; name them with --classes"
        )
    if wanted is None:
        return CLASSES_OF[dataset]
    if dataset not in CLASSES_OF:
        return tuple(wanted)
    known = CLASSES_OF[dataset]
    aliases = _TORCHVISION[dataset].aliases if dataset in _TORCHVISION else {}
    names = []
    for name in wanted:
        names.append(aliases.get(name.lower(), name.lower()))
        if names[-1] not in known:
            there = ", ".join(known)
            raise SpecError(f"--classes {name:.60}: no class of {dataset}; it has {there}")
    return tuple(dict.fromkeys(names))

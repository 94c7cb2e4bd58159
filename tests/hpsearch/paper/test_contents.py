from typing import Any

import pytest

from dpa_core.vgg import VGG19
from hpsearch.config.space import build_space
from hpsearch.config.spec import StudySpec, read_study
from hpsearch.detectors.base import load_detector
from hpsearch.errors import SpecError
from hpsearch.paper.contents import (
    CLASSES_OF,
    PAPER_TABLES,
    Part,
    TableData,
    TableStudy,
    table_parts,
    table_study,
)
from hpsearch.paper.numbers import load_paper_numbers
from hpsearch.study.scale import scaled

PARTS = [
    (name, part)
    for name, table in PAPER_TABLES.items()
    for part in table_parts(table, table.datasets, None)
]


def _study(name: str, part: Part, options: dict[str, Any] | None = None) -> TableStudy:
    data = TableData(part.dataset, part.dataset, read_study(part.dataset))
    return table_study(PAPER_TABLES[name], part, data, options or {}, prefix="p")


def _spec(name: str, part: Part, options: dict[str, Any] | None = None) -> StudySpec:
    return _study(name, part, options).spec


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_the_parts_are_the_figures_that_the_paper_has_of_its_method(name: str) -> None:
    table = PAPER_TABLES[name]
    numbers = load_paper_numbers()
    rows = numbers[(numbers["table"] == table.number) & (numbers["method"] == "Ours")]
    assert set(rows["metric"]) == {table.metric}
    parts = table_parts(table, table.datasets, None)
    if table.mean:
        assert set(rows["dataset"]) == {part.dataset for part in parts}
        return
    growth = {"with growing": True, "without growing": False, "weakly-supervised": False}
    printed = [
        Part(row["dataset"], row["class"], growth[row["variant"]]) for _, row in rows.iterrows()
    ]
    assert set(parts) == set(printed)
    assert len(parts) == len(printed)


@pytest.mark.parametrize("scale", [1.0, 0.001])
@pytest.mark.parametrize(("name", "part"), PARTS, ids=str)
def test_every_study_can_be_built(name: str, part: Part, scale: float) -> None:
    spec = scaled(_spec(name, part), scale)
    detector = load_detector("dpa")
    for params in build_space(spec, {spec.detector: detector.axes}).grid:
        detector.check(params, VGG19, spec.training)
    assert spec.dataset.name == part.dataset
    assert spec.backbone.name == "vgg19"
    assert (spec.dataset.normal_class or "") == part.normal_class
    assert ("start_resolution" in spec.space["dpa"]) == part.growing
    assert spec.final.n_runs == 3  # "over three different runs", Table 1


def test_tables_share_the_studies_that_are_the_same() -> None:
    specs: dict[str, StudySpec] = {}
    for name, part in PARTS:
        spec = _spec(name, part)
        assert specs.setdefault(spec.study_name, spec) == spec
    assert len(specs) == 10 + 10 + 4 * 2


def test_classes_are_named_as_in_the_paper() -> None:
    table = PAPER_TABLES["table5"]
    parts = table_parts(table, ["cifar10"], ["automobile", "Ship", "car"])
    assert [part.normal_class for part in parts] == ["car", "ship"]
    assert len(table_parts(table, ["svhn"], None)) == len(CLASSES_OF["svhn"])
    assert table_parts(table, ["own"], ["a"]) == [Part("own", "a", False)]


def test_options_lie_over_the_study_and_growing_reaches_what_grows() -> None:
    axes = {"latent_dim": [2], "start_resolution": [32], "steps_per_phase": [7]}
    options = {"space": {"dpa": axes}, "labels": {"n_examples": 9}, "training": {"max_steps": 50}}
    plain = _spec("table2", Part("camelyon16", "", False), options)
    growing = _spec("table2", Part("camelyon16", "", True), options)
    for spec in (plain, growing):
        assert spec.space["dpa"]["latent_dim"] == (2,)
        assert spec.labels.n_examples == 9
        assert spec.labels.n_anomaly_types == 4
    assert not {"start_resolution", "steps_per_phase"} & set(plain.space["dpa"])
    assert growing.space["dpa"]["start_resolution"] == (32,)
    doublings = 3  # from 32 px to 256 px
    assert (plain.training.max_steps, growing.training.max_steps) == (50, 50 + 2 * doublings * 7)


def test_what_grows_is_chosen_by_the_labelled_anomalies_alone() -> None:
    part = Part("nih-pa", "", False)
    assert _study("table2", part).criteria == ("weak", "unsupervised")
    assert _study("table2", Part("nih-pa", "", True)).criteria == ("weak",)
    assert _study("table3", part).criteria == ("weak",)


@pytest.mark.parametrize(
    ("dataset", "classes", "says"),
    [
        ("cifar10", ["lorry"], "^--classes lorry: no class of cifar10; it has plane, "),
        ("svhn", ["10"], "^--classes 10: no class of svhn; it has 0, "),
        ("own.csv", None, "--classes$"),
    ],
)
def test_a_class_that_is_not_there(dataset: str, classes: list[str] | None, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        table_parts(PAPER_TABLES["table5"], [dataset], classes)

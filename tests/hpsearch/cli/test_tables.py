import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.evaluation.auroc import auroc
from hpsearch.storage.results import read_result

Command = Callable[..., Any]

PAPER = {"car": 92.2, "ship": 91.4}  # Table 5, ours
TINY = [
    *("--backbone", "vgg-mini", "--scale", 0.0001, "--n-examples", 3, "--n-runs", 2),
    *("--axis", "resolution=16", "--axis", "latent_dim=2", "--axis", "greyscale=false"),
    *("--axis", "layers=r12", "--axis", "latent_res=1", "--study-name", "t"),
]


@pytest.fixture
def table(hpsearch: Command, cifar_folders: Path) -> Command:
    """Runs `hpsearch reproduce TABLE` on the folders."""
    data = ["--dataset", "cifar10", "--root", cifar_folders, "--classes", "car,ship"]
    return lambda name, *more: hpsearch("reproduce", name, *data, *TINY, *more)


def _stored(runs: Path, name: str) -> list[dict[str, str]]:
    with (runs / "t" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _figure(images: Path, runs: Path, task: str, normal: str) -> float:
    """ROC AUC of a stored training, from its scores and the folders' names alone."""
    path = runs / task
    result = read_result(path.parent, path.name)
    assert result is not None
    test = result.scores[result.scores["role"] == "test"]
    is_normal = test["image_id"].str.split("/").str[1] == normal
    scores = test["score"].to_numpy()
    return 100 * auroc(scores[is_normal], scores[~is_normal])


def test_every_figure_of_table5_is_that_of_its_tasks_beside_the_papers(
    table: Command, inline: list[str], runs: Path, cifar_folders: Path
) -> None:
    two = ("--axis", "latent_res=1,4")
    ended = table("table5", *two, "--json")
    assert (ended.code, ended.err) == (0, "")
    *_, whole = map(json.loads, ended.out.splitlines())
    ours = [line for line in whole["lines"] if line["status"] == "run"]
    told = [(line["classes"], line["variant"]) for line in ours]
    variants = ("weakly-supervised", "unsupervised")
    assert told == [([name], variant) for name in PAPER for variant in variants]
    for line in ours:
        (name,) = line["classes"]
        values = [_figure(cifar_folders, runs, task, name) for task in line["tasks"]]
        assert line["runs"] == pytest.approx(values)
        assert line["value"] == pytest.approx(sum(values) / 2)
        assert line["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert line["low"] <= line["value"] <= line["high"]
        assert (line["n_normal"], line["n_anomaly"]) == (3, 27)
        weak = line["variant"] == "weakly-supervised"
        assert line["paper_value"] == (PAPER[name] if weak else None)
        difference = line["value"] - PAPER[name] if weak else None
        assert line["difference"] == (pytest.approx(difference) if weak else None)
    stored = _stored(runs, "table5")
    assert [row["value"] for row in stored[: len(ours)]] == [str(line["value"]) for line in ours]
    assert Path(whole["csv"]) == runs / "t" / "table5.csv"
    said = " | ".join(whole["departures"])
    for word in ("stand-in weights (bundled vgg-mini", "JPEG pixels", "steps x 0.0001"):
        assert word in said
    assert "labels.n_examples=3" in said
    finals = {task for line in ours for task in line["tasks"]}
    studies, configurations, folds, references = 2, 2, 3, 4
    assert len(inline) == studies * (configurations * folds + references) + len(finals)
    inline.clear()
    _check_table1(table("table1", *two), runs)
    assert not inline, "nothing is trained anew"


def _check_table1(ended: Any, runs: Path) -> None:
    """The means over the classes of Table 5."""
    assert (ended.code, ended.err) == (0, "")
    by_class = [row for row in _stored(runs, "table5") if row["status"] == "run"]
    weak, unsupervised, *reported = _stored(runs, "table1")
    for mean, variant in ((weak, "weakly-supervised"), (unsupervised, "unsupervised")):
        rows = [row for row in by_class if row["variant"] == variant]
        for column in ("value", "low", "high"):
            values = [float(row[column]) for row in rows]
            assert float(mean[column]) == pytest.approx(sum(values) / 2)
        assert mean["tasks"] == " ".join(row["tasks"] for row in rows)
        assert mean["classes"] == "car ship"
    papers = sum(PAPER.values()) / 2
    assert float(weak["paper_value"]) == pytest.approx(papers)
    assert weak["paper_source"] == "Table 5, mean over car, ship"
    assert float(weak["difference"]) == pytest.approx(float(weak["value"]) - papers)
    assert f"{float(weak['difference']):+.1f}" in ended.out
    assert "Not the paper's figures:" in ended.out
    assert unsupervised["paper_value"] == ""
    assert {row["status"] for row in reported} == {"reported"}
    assert {row["dataset"] for row in reported} == {"cifar10"}
    assert {"AnoGAN", "GANomaly", "DAGMM", "DSEBM", "Deep IF"} <= {
        row["method"] for row in reported
    }


def test_tables_2_and_3_share_their_studies(
    hpsearch: Command, tiny: Path, inline: list[str], runs: Path
) -> None:
    usual = ["--dataset", tiny, *TINY, "--axis", "start_resolution=8"]
    second = hpsearch("reproduce", "table2", *usual)
    assert (second.code, second.err) == (0, "")
    inline.clear()
    third = hpsearch("reproduce", "table3", *usual)
    assert (third.code, third.err) == (0, "")
    assert not inline, "nothing is trained anew"
    assert [(row["variant"], row["status"]) for row in _stored(runs, "table2")] == [
        ("weakly-supervised, without growing", "run"),
        ("unsupervised, without growing", "run"),
        ("weakly-supervised, with growing", "run"),
    ]
    rows = _stored(runs, "table3")
    assert [row["variant"].split(", ")[1] for row in rows] == ["without growing", "with growing"]
    for row in rows:
        paths = [runs / task for task in row["tasks"].split()]
        found = [read_result(path.parent, path.name) for path in paths]
        minutes = [result.seconds / 60 for result in found if result]
        assert float(row["value"]) == pytest.approx(sum(minutes) / 2)
        assert [float(row["low"]), float(row["high"])] == pytest.approx(sorted(minutes))
        params = json.loads((paths[0] / "task.json").read_text())["params"]
        assert params["start_resolution"] == (8 if row["variant"].endswith("with growing") else 0)
        assert (row["paper_value"], row["difference"]) == ("", "")


def test_images_that_are_not_there_are_said_in_their_rows(
    hpsearch: Command, runs: Path, monkeypatch: pytest.MonkeyPatch, cifar_folders: Path
) -> None:
    from hpsearch.datasets.registry import DatasetRequest, load_dataset

    def load(request: DatasetRequest, **options: Any) -> Any:
        if request.name != "camelyon16":
            return load_dataset(request, **options)
        root = DatasetRequest("cifar10", root=cifar_folders, normal_class="car")
        return load_dataset(root, **options)

    monkeypatch.setattr("hpsearch.study.inputs.load_dataset", load)
    few = ["--axis", "random_crop=1.0", "--axis", "start_resolution=8"]
    ended = hpsearch("reproduce", "table2", *TINY, *few, "--n-anomaly-types", 1, "--n-runs", 1)
    assert (ended.code, ended.err) == (0, "")
    assert "t-nih-pa: not run: nih-pa: " in ended.out
    rows = [row for row in _stored(runs, "table2") if row["method"] == "Ours"]
    status = {row["dataset"]: row["status"] for row in rows}
    nih = {"nih-subset": "absent", "nih-pa": "absent", "nih-ap": "absent"}
    assert status == {"camelyon16": "run", **nih}
    assert all((row["why"] != "") == (row["status"] == "absent") for row in rows)
    papers = {row["variant"]: row["paper_value"] for row in rows if row["status"] == "run"}
    assert papers == {
        "weakly-supervised, without growing": "92.7",
        "unsupervised, without growing": "87.9",  # of Table 4
        "weakly-supervised, with growing": "93.4",
    }


def test_a_failed_study_leaves_the_others_their_rows(
    table: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpsearch.errors import StudyError
    from hpsearch.study.run import run_study

    def run(spec: Any, **options: Any) -> Any:
        if spec.dataset.normal_class == "car":
            raise StudyError("it broke")
        return run_study(spec, **options)

    monkeypatch.setattr("hpsearch.paper.running.run_study", run)
    ended = table("table5", "--n-runs", 1)
    assert ended.code == 1
    assert "t-cifar10-car: failed: it broke" in ended.out
    ours = [row for row in _stored(runs, "table5") if row["method"] == "Ours"]
    assert [(row["classes"], row["status"]) for row in ours] == [
        *[("car", "failed")] * 2,
        *[("ship", "run")] * 2,
    ]


def test_a_plan_trains_and_writes_nothing_and_knows_what_is_there(
    table: Command, inline: list[str], runs: Path
) -> None:
    before = table("table5", "--plan", "--json")
    assert before.code == 0
    assert not inline
    assert not runs.exists()
    plan = json.loads(before.out)["plan"]
    assert [(study["normal_class"], study["images"]) for study in plan] == [
        ("car", 78),
        ("ship", 78),
    ]
    assert all((study["configurations"], study["folds"]) == (1, 3) for study in plan)
    assert all((study["to_search"], study["to_finish"]) == (3, 4) for study in plan)
    assert {study["basis"] for study in plan} == {"rule of thumb"}
    assert table("table5", "--classes", "car").code == 0
    inline.clear()
    after = table("table5", "--plan", "--json")
    assert not inline
    car, ship = json.loads(after.out)["plan"]
    assert (car["on_disk"], car["to_search"], car["to_finish"], car["seconds"]) == (3, 0, 0, 0)
    assert (ship["on_disk"], ship["to_search"], ship["to_finish"]) == (0, 3, 4)
    assert (car["basis"], ship["basis"]) == ("its own", "its neighbours'")
    seconds = [
        json.loads(path.read_text())["seconds"]
        for path in runs.glob("t-cifar10-car/tasks/*/result.json")
        if json.loads(path.with_name("task.json").read_text())["detector"] == "dpa"
    ]
    # `inline` trains one after the other, but a plan is for as many as the machine would take.
    workers = ship["seconds"] / (7 * sum(seconds) / len(seconds))
    assert round(1 / workers) == pytest.approx(1 / workers)


def test_the_plan_of_table4_is_that_of_its_studies(
    hpsearch: Command, tiny: Path, inline: list[str], runs: Path
) -> None:
    asked = ["reproduce", "table4", "--dataset", tiny, *TINY, "--rows", "1,2,3", "--plan"]
    ended = hpsearch(*asked)
    assert ended.code == 0
    assert "nothing was trained" in ended.out
    plan = json.loads(hpsearch(*asked, "--json").out)["plan"]
    assert [study["name"] for study in plan] == ["t-row-1", "t-rows-2-3"]
    assert [study["to_finish"] for study in plan] == [2, 4]  # two runs a criterion
    assert not inline
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table5", "--classes", "car,lorry"], "no class of cifar10; it has plane, car"),
        (["table5", "--classes", "car,,ship"], "--classes 'car,,ship'"),
        (["table5", "--rows", "1"], "--rows: is for table4"),
        (["table2", "--classes", "car"], "--classes: is for table1, table5"),
        (["table1", "--normal-class", "car"], "use --classes"),
        (["table1", "--root", "somewhere"], "name it with --dataset"),
        (["table5", "--dataset", "synthetic-histology"], "name them with --classes"),
        (["table2", "--scale", "2"], "--scale must be above 0"),
        (["table2", "--dataset", "camelyon16", "--backbone", "vgg-mini"], "no images here"),
        (["table2", "--dataset", "nonsense"], "'nonsense' is unknown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], says: str, hpsearch: Command, runs: Path
) -> None:
    ended = hpsearch("reproduce", *arguments)
    assert ended.code == 2
    assert says in ended.err, ended.err
    assert ended.err.startswith("hpsearch: ")
    assert ended.err.count("\n") == 1
    assert not runs.exists()

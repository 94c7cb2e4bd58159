"""Detectors that are trained on labelled anomalies: what they score, and what they are chosen by.

`Memory` knows again what it was trained on, and nothing else: it scores 1 what it or the group saw,
and anything else by chance. Were an anomaly ever scored by a model that saw it, that would show.
"""

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import hpsearch.study.inputs
from hpsearch.config.spec import StudySpec, TrainingSpec
from hpsearch.detectors import base
from hpsearch.detectors.base import CURVE_COLUMNS, ImageView, Setup, Training
from hpsearch.errors import DataError, StudyError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import auroc_interval, estimate_aurocs
from hpsearch.evaluation.heads import best_head
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.evaluation.label_budget.study_curves import study_curves
from hpsearch.evaluation.selection import fold_scores
from hpsearch.evaluation.stored_scores import read_heads, read_scores
from hpsearch.protocol.labels import split_labels
from hpsearch.protocol.protocol import labelled_anomalies
from hpsearch.search.events import SilentListener
from hpsearch.search.task import Task, TaskContext, run_task
from hpsearch.storage.database import load_study
from hpsearch.storage.results import FoldResult, read_result, read_task
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of
from hpsearch.study.repair import recover_study
from hpsearch.study.result import read_winner
from hpsearch.study.run import StudyRun, run_study

Run = Callable[[StudySpec], StudyRun]
BESIDE = ("stripes", "stripes", "blobs", "blobs")
TWO_TYPES = {"n_anomaly_types": 2, "n_examples": 12}
HEADS = {
    "few": {"inputs": ["both", "raw"], "kind": ["logistic"], "C": [0.003], "layer": ["r12"]},
    "features": {"kind": ["knn"], "layer": ["colour", "r12"]},
    "preprocessing": {"resolution": [16]},
}


class Memory:
    """Scores 1 what it was trained on, and by chance, below 0.5, what it was not."""

    trains_on_labels: ClassVar[bool] = True
    axes: ClassVar[dict[str, tuple[Any, ...]]] = {"salt": (1, 2)}

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.seen: set[bytes] = set()

    @staticmethod
    def check(*_: Any) -> None:
        """Anything goes."""

    @staticmethod
    def size(params: Any) -> None:
        """None."""

    def fit(self, train: ImageView, *_: Any, **__: Any) -> Training:
        assert self.setup.labelled is not None
        self.seen = {image.tobytes() for image in self.setup.labelled.images.array()}
        assert len(self.seen) == len(self.setup.labelled.groups) == len(self.setup.labelled.types)
        return Training(0, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))

    def score(self, images: ImageView) -> np.ndarray:
        return np.array([self._score(image) for image in images.array()])

    def _score(self, image: np.ndarray) -> float:
        if image.tobytes() in self.seen:
            return 1.0
        salt = str(self.setup.params["salt"]).encode()
        return int.from_bytes(hashlib.sha256(image.tobytes() + salt).digest()[:4]) / 2**33

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Run:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec: run_study(spec, listener=SilentListener(), **where)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"{__name__}:Memory"
    monkeypatch.setattr(base, "BUILT_IN", {**base.BUILT_IN, "memory": module})


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("use", ["shared", "partition"])
def test_no_model_scores_what_it_or_its_group_was_trained_on(
    use: str, run: Run, tiny_spec: Any
) -> None:
    ran = run(tiny_spec(detector="memory", labels={**TWO_TYPES, "anomalies": use}))
    folder, table = ran.folder, ran.folder.images().set_index("image_id")
    labelled = labelled_anomalies(folder.spec(), folder.images())
    by_position = folder.images()
    heads = read_heads(folder)
    assert heads is not None
    judged = []
    for digest in folder.task_digests():
        task, result = read_task(folder.tasks, digest), read_result(folder.tasks, digest)
        assert result is not None
        if task["detector"] != "memory":
            assert "labelled_digest" not in task
            continue
        split = split_labels(
            by_position,
            labelled,
            fold=task["fold"],
            n_folds=3,
            left_out_type=task.get("left_out_type"),
        )
        assert len(split.trained)
        assert result.trained_on_labels
        assert result.scores["score"].max() < 0.5, "nothing that is scored was in its memory"
        groups = set(table.loc[result.scores["image_id"], "group"])
        assert not groups & set(by_position["group"].iloc[split.trained])
        scored = set(result.scores["image_id"])
        assert set(by_position["image_id"].iloc[split.scored]) <= scored
        judged += [*split.scored]
    assert set(judged) == set(labelled.positions)
    for trial in load_study(folder.path).get_trials():
        by_chance = []
        for fold, digest in enumerate(facts_of(trial).tasks):
            result = read_result(folder.tasks, digest)
            assert result is not None
            split = split_labels(by_position, labelled, fold=fold, n_folds=3)
            scores = result.scores[result.scores["role"] != "synthetic"].set_index("image_id")
            of_anomalies = scores["score"].loc[by_position["image_id"].iloc[split.scored]]
            by_chance.append(auroc(result.of_role("normal"), of_anomalies))
        assert trial.value == pytest.approx(np.mean(by_chance))
        assert facts_of(trial).fold_values["weak"] == pytest.approx(by_chance)
    of_folds = estimate_aurocs(fold_scores(heads, labelled)).values
    assert of_folds == pytest.approx([trial.value for trial in heads.trials])


@pytest.fixture
def shuffled(tmp_path: Path) -> Path:
    """A manifest of noise, where a label says nothing: 120 training images, a quarter anomalous."""
    rng = np.random.default_rng(3)
    with (tmp_path / "shuffled.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "label_index", "split", "anomaly_type", "group"])
        for number in range(150):
            name = f"{number}.png"
            pixels = rng.normal(rng.uniform(80, 160), rng.uniform(5, 40), (16, 16, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / name)
            split = "train" if number < 120 else "test"
            label = int(number % 4 == 0)
            rows.writerow([name, label, split, "some" if label else "", f"g{number}"])
    return tmp_path / "shuffled.csv"


def test_shuffled_labels_give_a_validation_auc_of_one_half(
    shuffled: Path, run: Run, tiny_spec: Any
) -> None:
    """Models of 20 anomalies and twice as many numbers fit anything; they must not show it."""
    space = {"few": HEADS["few"] | {"C": [1.0]}, "preprocessing": {"resolution": [16]}}
    spec = tiny_spec(
        dataset={"name": str(shuffled)},
        detector="few",
        labels={"n_anomaly_types": 1, "n_examples": 30},
        space=space,
    )
    folder = run(spec).folder
    heads = read_heads(folder)
    assert heads is not None
    estimates = estimate_aurocs(fold_scores(heads, labelled_anomalies(spec, folder.images())))
    for number in range(len(heads.trials)):
        low, high = auroc_interval(estimates, number)
        assert low < 0.5 < high
        assert high - low < 0.35


@pytest.fixture
def heads_alone(finished_study: Callable[[StudySpec], RunDir], tiny_spec: Any) -> RunDir:
    """A finished study of two heads, with two labelled types; the test's own copy."""
    return finished_study(
        tiny_spec(study_name="heads", detector="few", labels=TWO_TYPES, space=HEADS)
    )


def test_a_study_of_heads_alone_ends_with_the_best_head(
    heads_alone: RunDir, run: Run, inline: list[str]
) -> None:
    folder, result = heads_alone, read_winner(heads_alone)
    labelled = labelled_anomalies(folder.spec(), folder.images())
    heads = read_scores(folder)
    assert heads.trained_on_labels
    assert result.params["inputs"] == "both", "residuals are preferred"
    assert result.trial == best_head(heads, labelled) == result.selection.trial
    n_tasks = len(list(folder.task_digests()))
    assert n_tasks == 2 * 3 + 2 * 3 + 1 + 4, "folds, two types left out, final, references"
    assert [one.name for one in result.selection.held_out_types] == list(labelled.types)
    for one in result.selection.held_out_types:
        words = f"trained without {one.name}: AUC {one.unseen:.3f} on it"
        assert words in result.selection.sentence
    assert result.flagging is not None
    inline.clear()
    again = run(folder.spec())
    assert (again.result, inline) == (result, [])


def test_the_figure_of_a_type_left_out_is_of_models_that_did_not_see_it(
    heads_alone: RunDir,
) -> None:
    folder, table = heads_alone, heads_alone.images()
    labelled = labelled_anomalies(folder.spec(), table)
    tasks = {digest: read_task(folder.tasks, digest) for digest in folder.task_digests()}
    for one in read_winner(folder).selection.held_out_types:
        of_type = [d for d, task in tasks.items() if task.get("left_out_type") == one.name]
        assert sorted(tasks[digest]["fold"] for digest in of_type) == [0, 1, 2]
        names = table["image_id"].iloc[labelled.positions][
            (table["anomaly_type"].iloc[labelled.positions] == one.name).to_numpy()
        ]
        assert one.n_anomalies == len(names)
        aurocs = []
        for digest in of_type:
            result = read_result(folder.tasks, digest)
            assert result is not None
            scores = result.scores[result.scores["role"] != "synthetic"].set_index("image_id")
            aurocs.append(auroc(result.of_role("normal"), scores["score"].loc[names]))
        assert one.unseen == pytest.approx(np.mean(aurocs))


def test_one_labelled_type_says_that_nothing_measured_others(run: Run, tiny_spec: Any) -> None:
    selection = run(tiny_spec(detector="few", space=HEADS)).result.selection
    assert selection.held_out_types == ()
    assert "nothing measured how it finds other types" in selection.sentence


def test_beside_other_detectors_heads_are_kept_apart(run: Run, tiny_spec: Any) -> None:
    """They are in the search, and in none of the choices that compare values."""
    ran = run(tiny_spec(detector="features,few", labels=TWO_TYPES, space=HEADS))
    folder = ran.folder
    trials = {trial.number: trial for trial in load_study(folder.path).get_trials()}
    assert len(trials) == 4
    assert all(trial.state.name == "COMPLETE" for trial in trials.values())
    plain, heads = read_scores(folder), read_heads(folder)
    assert heads is not None
    assert {trial.params["detector"] for trial in plain.trials} == {"features"}
    assert {trial.params["detector"] for trial in heads.trials} == {"few"}
    assert not np.isnan(plain.pool_scores).any()
    assert {trials[choice.trial].params["detector"] for choice in ran.result.choices} == {
        "features"
    }
    curves = study_curves(folder, Question((1,), (2,), 3, 0), train=None)
    assert (curves.n_configurations, curves.n_heads) == (2, 2)


def test_an_average_with_a_head_rests_on_normals_that_all_score(
    run: Run, tiny: Path, tiny_spec: Any, tmp_path: Path
) -> None:
    """Normals beside labelled anomalies are scored by every detector but the heads."""
    table = pd.read_csv(tiny, keep_default_na=False)
    beside = {f"train--{n}": f"train-{kind}-{n % 2}" for n, kind in enumerate(BESIDE)}
    table["group"] = table["group"].replace(beside)
    table.to_csv(tmp_path / "beside.csv", index=False)
    dataset = {"name": str(tmp_path / "beside.csv"), "root": str(tiny.parent)}
    study = {"detector": "features,few", "labels": TWO_TYPES, "final": {"model": "average"}}
    spec = tiny_spec(dataset=dataset, space=HEADS, **study)
    ran = run(spec)
    result, heads = ran.result, read_heads(ran.folder)
    assert heads is not None
    assert [member.trained_on_labels for member in result.members] == [False, False, True]
    assert result.flagging is not None
    assert result.flagging.threshold.n == sum(map(len, heads.normals)) < 36


def test_other_detectors_are_given_no_anomaly_and_keep_their_names(
    run: Run, tiny_spec: Any
) -> None:
    """Digests as before there were heads: nothing of an older study is trained again."""
    task = Task(
        detector="features",
        params={"kind": "knn", "layer": "r12", "resolution": 32},
        training=TrainingSpec(),
        backbone_digest="b",
        data_fingerprint="d",
        fold=1,
        n_folds=3,
        split_seed=0,
        seed=0,
        fold_digest="f",
    )
    assert task.digest == "2fa3cacd13cb094a"
    folder = run(tiny_spec()).folder
    assert read_heads(folder) is None
    for digest in folder.task_digests():
        assert "trained_on_labels" not in (folder.tasks / digest / "result.json").read_text()


def test_a_study_does_not_go_on_with_other_labels_than_it_was_trained_on(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    spec = {"detector": "features,few", "space": HEADS}
    run(tiny_spec(**spec, labels=TWO_TYPES))
    inline.clear()
    with pytest.raises(StudyError, match=r"on its labelled .*another --study-name") as caught:
        run(tiny_spec(**spec, labels={"n_anomaly_types": 2, "n_examples": 10}))
    assert "\n" not in str(caught.value)
    assert not inline


def test_a_database_that_was_lost_is_made_again(
    heads_alone: RunDir, run: Run, cache: Path, inline: list[str]
) -> None:
    folder, before = heads_alone, read_winner(heads_alone)
    folder.database.unlink()
    folder.ledger.unlink()
    for backup in folder.backups.glob("*"):
        backup.unlink()
    recover_study(folder, cache_dir=cache, listener=SilentListener())
    trials = load_study(folder.path).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(facts_of(trial).trained_on_labels for trial in trials)
    inline.clear()
    assert (run(folder.spec()).result.test, inline) == (before.test, [])


def test_a_killed_study_goes_on_with_the_same_trainings(
    heads_alone: RunDir, run: Run, inline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, whole = heads_alone.spec(), sorted(heads_alone.task_digests())
    shutil.rmtree(heads_alone.path)
    inline.clear()
    kill = {2, 5, 9}  # trainings before which the process ends

    def killed(task: Task, context: TaskContext) -> FoldResult:
        if len(inline) in kill:
            kill.remove(len(inline))
            inline.pop()
            raise KeyboardInterrupt
        return run_task(task, context)

    engine: Any = hpsearch.study.inputs.LocalEngine  # that trains in this process
    monkeypatch.setitem(engine.wait.__globals__, "run_task", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(spec)
    run(spec)
    assert sorted(inline) == sorted(heads_alone.task_digests()) == whole


def test_one_group_of_labelled_anomalies_is_one_line(run: Run, tiny_spec: Any) -> None:
    labels = {"n_anomaly_types": 1, "n_examples": 1}
    with pytest.raises(DataError, match="all 1 share a group with those that a fold is judged by"):
        run(tiny_spec(detector="few", space=HEADS, labels=labels))
    ran = run(tiny_spec(detector="features,few", space=HEADS, labels=labels))
    trials = load_study(ran.folder.path).get_trials()
    assert {trial.params["detector"] for trial in trials} == {"features"}, "few is left out"


def test_the_budget_of_heads_alone_cannot_be_asked_for(heads_alone: RunDir) -> None:
    with pytest.raises(StudyError, match="were trained on its labelled anomalies"):
        study_curves(heads_alone, Question((1,), (2,), 3, 0), train=None)

"""A tiny set of images, and an engine that trains in this process."""

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
import yaml
from optuna.storages._rdb.storage import _VersionManager
from PIL import Image

import hpsearch.study.inputs
import hpsearch.study.run
from hpsearch.config.space import Params
from hpsearch.config.spec import StudySpec, TrainingSpec, build_spec
from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.errors import TaskError
from hpsearch.model.bundle import (
    BackboneFacts,
    Calibration,
    ModelFacts,
    Provenance,
    preprocessing_facts,
)
from hpsearch.search.engine import Finished, Workers
from hpsearch.search.events import SilentListener
from hpsearch.search.task import Task, TaskContext, run_task
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.inputs import StudyInputs, load_inputs

SIDE = 16
COUNTS = {  # split, type: images
    ("train", ""): 36,
    ("train", "stripes"): 6,
    ("train", "blobs"): 6,
    ("test", ""): 12,
    ("test", "stripes"): 5,
    ("test", "blobs"): 5,
}
TINY = {
    "study_name": "tiny",
    "labels": {"n_anomaly_types": 1, "n_examples": 4},
    "detector": "features",
    "backbone": {"name": "vgg-mini"},
    "space": {
        "features": {"kind": ["mahalanobis", "knn"], "layer": ["colour", "r12"]},
        "dpa": {"latent_dim": [2], "latent_res": [1, 4], "layers": ["r12"]},
        "preprocessing": {"resolution": [SIDE]},
    },
    "training": {"max_steps": 6, "batch_size": 8, "check_every": 3},
}


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a database then does not wait for the disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cache(quick_disk: Path) -> Path:
    return quick_disk / "cache"


@pytest.fixture
def runs(quick_disk: Path) -> Path:
    return quick_disk / "runs"


@pytest.fixture(autouse=True)
def _own_folders(cache: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test does reaches the user's cache or runs."""
    monkeypatch.setenv("HPSEARCH_CACHE", str(cache))
    monkeypatch.setenv("HPSEARCH_RUNS", str(runs))


@pytest.fixture(autouse=True, scope="session")
def _quick_optuna() -> Iterator[None]:
    """Quiet, and without reading its migrations anew whenever a study is opened."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    read, once = _VersionManager._create_alembic_script, []  # Optuna 5: alike for every database

    def script(manager: _VersionManager) -> Any:
        if not once:
            once.append(read(manager))
        return once[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", script)
        yield


def _image(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A flat colour with noise; stripes or one blob make it anomalous."""
    pixels = rng.normal(120, 12, (SIDE, SIDE, 3)) + rng.normal(0, 6, 3)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    if kind == "stripes":
        pixels += 50 * np.sign(np.sin(rows * np.pi / 2 + rng.uniform(0, 6)))[..., None]
    if kind == "blobs":
        row, column = rng.integers(4, SIDE - 4, 2)
        pixels += 70 * (np.hypot(rows - row, columns - column) < 4)[..., None]
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 70 images of 16 px: normals in groups of three, stripes and blobs."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    with (folder / "tiny.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "label_index", "split", "anomaly_type", "group"])
        for (split, kind), count in COUNTS.items():
            for number in range(count):
                name = f"{split}-{kind or 'normal'}-{number}.png"
                Image.fromarray(_image(kind, rng)).save(folder / name)
                group = f"{split}-{kind}-{number // 3}"
                rows.writerow([name, int(bool(kind)), split, kind, group])
    return folder / "tiny.csv"


@pytest.fixture
def tiny_spec(tiny: Path) -> Any:
    """Makes a study of the tiny set: the `features` detector on four points of a grid."""

    def make(**options: Any) -> StudySpec:
        return build_spec(TINY, {"dataset": {"name": str(tiny)}, **options})

    return make


@pytest.fixture
def tiny_yaml(tiny: Path, tmp_path: Path) -> Path:
    """The same study as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"dataset": {"name": str(tiny)}}))
    return path


class InlineEngine:
    """Runs every task in this process, one after the other."""

    trained: ClassVar[list[str]] = []  # digests, over all engines of a test

    def __init__(
        self, context: TaskContext, workers: Workers, *, fold_timeout: float | None = None
    ) -> None:
        self.context = context
        self.waiting: list[Task] = []

    @property
    def idle(self) -> int:
        return 2 - len(self.waiting)

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        task = self.waiting.pop(0)
        if not (self.context.tasks / task.digest).is_dir():
            InlineEngine.trained.append(task.digest)
        try:
            return [Finished(task, run_task(task, self.context))]
        except TaskError as error:
            return [Finished(task, error)]

    def close(self) -> None:
        self.waiting.clear()


@pytest.fixture
def prepare(cache: Path) -> Callable[[StudySpec], StudyInputs]:
    """Prepares a study in this process."""
    return lambda spec: load_inputs(spec, cache_dir=cache, workers=1, listener=SilentListener())


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> Callable[[StudyInputs], TaskContext]:
    """The context of a prepared study's tasks, with results in `tmp_path / "tasks"`."""
    return lambda prepared: TaskContext(
        table=prepared.dataset.table,
        pixels=prepared.pixels,
        backbone=prepared.spec.backbone.name,
        backbone_weights=None,
        tasks=tmp_path / "tasks",
        cache_dir=cache,
        device="cpu",
        folds=prepared.folds,
    )


PLUGIN = """
import os, signal, sys, time
import numpy as np, pandas as pd
from hpsearch.detectors.base import CURVE_COLUMNS, Training
from hpsearch.errors import TaskError

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)
        self.cannot = lambda: None

class Fragile:
    axes = {"mode": ("calm",)}

    def __init__(self, setup):
        self.mode, self.folder, self.seed = setup.params["mode"], setup.cache_dir, setup.seed

    @staticmethod
    def check(params, architecture, training):
        if params["mode"] == "unchecked":
            raise ZeroDivisionError("by nought")

    @staticmethod
    def size(params):
        return None

    def fit(self, train, early_stop, *, max_steps, checkpoints=None):
        with open(self.folder / f"fitted-{self.mode}", "a") as log:
            print(os.getpid(), file=log)
        died = self.folder / "died"
        if self.mode == "always" or (self.mode == "once" and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "diverges":
            raise TaskError("non_finite", "it diverged")
        if self.mode == "sleeps":
            time.sleep(600)
        if self.mode == "raises":
            raise Unpicklable("one\\x1b[31m", "\\n" * 500)
        if self.mode == "memory":
            raise MemoryError
        if self.mode == "exits":
            sys.exit(3)
        if self.mode == "nothing":
            return None
        if self.mode == "curve":
            return Training(0, None, pd.DataFrame({"step": [lambda: 1]}))
        return Training(0, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))

    def score(self, images):
        scores = images.array().mean(axis=(1, 2, 3)).astype(float)
        if self.mode == "single":
            return scores.astype(np.float32)
        wrong = {"none": None, "short": scores[1:], "column": scores[:, None]}
        return scores * np.nan if self.mode == "blank" else wrong.get(self.mode, scores)

    def save(self, folder):
        folder.mkdir()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs a detector `fragile` of another package, as pip would; gives its folder."""
    folder = tmp_path / "site"
    info = folder / "fragile-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "fragile.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpsearch.detectors]\nfragile = fragile:Fragile\n")
    monkeypatch.syspath_prepend(folder)  # spawned workers take over this process's sys.path
    return folder


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Studies train in this process; gives the digests of what was trained."""
    monkeypatch.setattr(hpsearch.study.inputs, "LocalEngine", InlineEngine)
    monkeypatch.setattr(InlineEngine, "trained", [])
    yield InlineEngine.trained


@pytest.fixture(scope="session")
def kept_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a finished study leaves a copy for the others."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def finished_study(
    kept_studies: Path, runs: Path, cache: Path, inline: list[str]
) -> Callable[[StudySpec], RunDir]:
    """Runs a study, once for all tests; its run directory is the test's own."""

    def finished(spec: StudySpec) -> RunDir:
        kept = kept_studies / spec.study_name
        if not kept.exists():
            options = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
            ran = hpsearch.study.run.run_study(spec, listener=SilentListener(), **options)
            shutil.copytree(ran.folder.path, kept)
        return RunDir(shutil.copytree(kept, runs / spec.study_name, dirs_exist_ok=True))

    return finished


@pytest.fixture(scope="session")
def make_setup() -> Callable[..., Setup]:
    """All that a detector is built from, by its parameters and normals."""

    def make(
        params: Params, normals: ImageView, *, backbone: str = "vgg-mini", **training: Any
    ) -> Setup:
        return Setup(
            params=params,
            training=TrainingSpec(**training),
            backbone=load_backbone(backbone),
            normals=normals,
            seed=0,
            device="cpu",
            cache_dir=Path("/nowhere"),
        )

    return make


@pytest.fixture(scope="session")
def facts_by_hand() -> Callable[..., ModelFacts]:
    """What a bundle says of a detector that was fitted on colour images outside any study."""

    def make(name: str, detector: Any, calibration: Calibration | None = None) -> ModelFacts:
        setup: Setup = detector.setup
        return ModelFacts(
            detector=name,
            params=setup.params,
            seed=setup.seed,
            preprocessing=preprocessing_facts(setup.params, channels=3),
            backbone=BackboneFacts(name="vgg-mini", digest=setup.backbone.digest),
            provenance=Provenance(study="by hand"),
            calibration=calibration,
        )

    return make

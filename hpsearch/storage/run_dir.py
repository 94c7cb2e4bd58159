"""The run directory of a study: what lies where, what it began with, and which one the user means.

`runs/<study>/{study.db, trials.jsonl, spec.yaml, images.csv, env.json, winner.txt, tasks/, final/,
report/, backups/, damaged/, artifacts/}` and `runs/latest.txt`.
"""

import csv
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import yaml

from hpsearch.config.spec import StudySpec, build_spec, first_difference, read_study
from hpsearch.datasets.table import Dataset
from hpsearch.errors import SpecError, StudyError
from hpsearch.io.files import write_text_atomic
from hpsearch.io.text import printable
from hpsearch.storage.results import RECIPE, recipe_of

if TYPE_CHECKING:  # it imports torch, which a command that only reads need not wait for
    from hpsearch.detectors.backbones.backbone import Backbone

AVERAGE: Literal["average"] = "average"
FinalName = int | Literal["average"]
"""Which of a study's final models: that of a trial, or the average of several."""

DATABASE = "study.db"
LEDGER = "trials.jsonl"
SPEC = "spec.yaml"
_LATEST = "latest.txt"
_FACTS = {"data_fingerprint", "backbone_digest"}  # of the environment, without which nothing goes
_PACKAGES = ("hpsearch", "torch", "torchvision", "optuna", "numpy", "scikit-learn", "pandas")
_OTHER_VERSION = "another version of hpsearch began it and computed otherwise"


class RunDir:
    """Paths and identity of one study.

    Args:
        path: `runs/<study>`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / DATABASE
        self.ledger = path / LEDGER
        self.spec_file = path / SPEC
        self.images_file = path / "images.csv"
        self.environment_file = path / "env.json"
        self.winner_file = path / "winner.txt"
        self.lock_file = path / "study.lock"
        self.owner_file = path / "study.owner"
        self.tasks = path / "tasks"
        self.final = path / "final"
        self.report = path / "report"
        self.backups = path / "backups"
        self.damaged = path / "damaged"
        self.artifacts = path / "artifacts"

    def task_digests(self) -> list[str]:
        """Of the trainings whose results are on disk, whole or damaged, in order."""
        return sorted(path.name for path in self.tasks.glob("[0-9a-f]*"))

    def final_of(self, name: FinalName) -> Path:
        """The folder of a final model and of what belongs to it."""
        return self.final / str(name)

    def result_file(self, name: FinalName) -> Path:
        """What a final model is worth."""
        return self.final_of(name) / "result.json"

    def model(self, name: FinalName) -> Path:
        """The bundle of a final model."""
        return self.final_of(name) / "model"

    def examples(self, name: FinalName) -> Path:
        """Pictures of what a final model scored."""
        return self.final_of(name) / "examples"

    def require_same_settings(self, spec: StudySpec, *, recipe: int) -> None:
        """Check, before any of its inputs is read, that a study that is here may go on with `spec`.

        Raises:
            StudyError: a setting is another, or an earlier version computed otherwise.
        """
        if not self.spec_file.exists():
            return
        self._require_recipe(recipe)
        began = self.spec()
        if spec.search.protocol == began.search.protocol == "official":  # as its files have it
            n_folds = {"search": {"n_folds": began.search.n_folds}}
            spec = build_spec(spec.model_dump(mode="json"), n_folds)
        self._refuse(first_difference(began, spec))

    def require_same(self, spec: StudySpec, table: pd.DataFrame, inputs: Mapping[str, Any]) -> None:
        """Check that a study that is here began with these inputs.

        Args:
            spec: the settings, resolved.
            table: the images.
            inputs: see `identity_of`.

        Raises:
            StudyError: the settings, the images or the backbone are others than when it began.
        """
        if not self.spec_file.exists():
            return
        self._require_recipe(inputs["recipe"])
        difference = first_difference(self.spec(), spec)
        self._refuse(difference or self._data_difference(table, inputs))

    def known_images(self, dataset: Dataset, fingerprint: str | None = None) -> Dataset:
        """`dataset` by the names that the study has for its images, where it began with them.

        They may lie elsewhere since, and a manifest may write their paths in another way. Other
        images come back as they are.

        Args:
            dataset: the images of now.
            fingerprint: of those that it began with, None for that of the environment record.

        Raises:
            StudyError: the study is damaged.
            DataError: an image cannot be read.
        """
        if not self.spec_file.exists():
            return dataset
        fingerprint = fingerprint or self.environment()["data_fingerprint"]
        if dataset.fingerprint == fingerprint:
            return dataset
        began = self.images()
        if not _same_but_for_names(began, dataset.table):
            return dataset
        moved = dataset.known_as(began)
        return moved if moved.fingerprint == fingerprint else dataset

    def begin(
        self,
        spec: StudySpec,
        table: pd.DataFrame,
        environment: Mapping[str, Any],
        *,
        latest: bool = True,
    ) -> None:
        """Write what the study is, or check that it is the one that is here already.

        Args:
            spec: its settings.
            table: its images.
            environment: see `environment`.
            latest: whether commands that are told no study mean this one from now on.

        Raises:
            StudyError: the settings, the images or the backbone are others than when it began.
        """
        if self.spec_file.exists():
            self.require_same(spec, table, environment)
            began, warnings = self.environment(), environment.get("warnings", [])
            if began.get("warnings", []) != warnings:  # of the labelled anomalies of now
                renewed = began | {"warnings": warnings}
                write_text_atomic(self.environment_file, json.dumps(renewed, indent=1))
        else:
            self.tasks.mkdir(parents=True, exist_ok=True)
            self.write_data(table, environment)
        # Last, for its presence says that the other two are there.
        settings = spec.model_dump(mode="json")
        write_text_atomic(self.spec_file, yaml.safe_dump(settings, sort_keys=False))
        if latest:
            write_text_atomic(self.path.parent / _LATEST, f"{self.path.name}\n")

    def write_data(self, table: pd.DataFrame, environment: Mapping[str, Any]) -> None:
        """Write the image table and what else results depend on."""
        write_text_atomic(self.environment_file, json.dumps(environment, indent=1))
        # Quoted, for the name of an image may hold any character, a carriage return too.
        quoted = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
        write_text_atomic(self.images_file, quoted)

    def record_winner(self, name: FinalName) -> None:
        """Keep which final model is the study's answer."""
        write_text_atomic(self.winner_file, f"{name}\n")

    def winner(self) -> FinalName:
        """Which final model is the study's answer.

        Raises:
            StudyError: the study has no answer yet.
        """
        try:
            name = self.winner_file.read_text(encoding="utf-8").strip()
            return AVERAGE if name == AVERAGE else int(name)
        except (OSError, ValueError) as error:
            raise self.unfinished() from error

    def unfinished(self) -> StudyError:
        """The error of a study without an answer."""
        mend = (
            "run the same `hpsearch run` again to go on"
            if self.recipe == RECIPE
            else f"{_OTHER_VERSION}, so begin anew with another --study-name"
        )
        return StudyError(f"study {self.path.name}: the winner is not trained yet; {mend}")

    def spec(self) -> StudySpec:
        """The resolved spec that was written when the study began.

        Raises:
            StudyError: the file is missing or damaged.
        """
        try:
            return build_spec(read_study(str(self.spec_file)), {})
        except SpecError as error:
            raise StudyError(f"damaged study: {error}, or give another --study-name") from error

    def environment(self) -> dict[str, Any]:
        """Versions, data and backbone that the study began with.

        Raises:
            StudyError: the file is missing or damaged.
        """
        try:
            record: dict[str, Any] = json.loads(self.environment_file.read_text(encoding="utf-8"))
            if not record.keys() >= _FACTS:
                raise ValueError(f"lacks one of {', '.join(sorted(_FACTS))}")
        except (OSError, ValueError, AttributeError) as error:
            raise StudyError(
                f"{self.environment_file}: damaged ({error}); `hpsearch recover {self.path}` makes "
                "it again from the data"
            ) from error
        return record

    def _refuse(self, difference: str | None) -> None:
        if difference is not None:
            raise StudyError(
                f"study {self.path.name} in {printable(self.path)}: {difference}; "
                "go on with the old settings, or give another --study-name"
            )

    @property
    def recipe(self) -> int:
        """By which its results were computed, see `hpsearch.storage.results.RECIPE`.

        Raises:
            StudyError: the environment record is missing or damaged.
        """
        return recipe_of(self.environment())

    def _require_recipe(self, recipe: int) -> None:
        if self.recipe != recipe:
            raise StudyError(
                f"study {self.path.name} in {printable(self.path)}: {_OTHER_VERSION}, so it cannot "
                "go on; give another --study-name (report, predict, export, status, best, "
                "dashboard and label-budget --no-train still work on it)"
            )

    def _data_difference(self, table: pd.DataFrame, inputs: Mapping[str, Any]) -> str | None:
        began = self.environment()
        if began["data_fingerprint"] != inputs["data_fingerprint"]:
            old = self.images()
            if len(old) != len(table):
                return f"the data had {len(old)} images and has {len(table)} now"
            changed = (old.astype(str).to_numpy() != table.astype(str).to_numpy()).any(axis=1)
            if changed.any():
                name = printable(table["image_id"].iloc[int(changed.argmax())])
                return f"the table differs, first at image {name}"
            return "the pixels of the images differ from those that it began with"
        if began["backbone_digest"] != inputs["backbone_digest"]:
            return "the backbone weights are others than when it began"
        if began.get("statistics_digest") != inputs.get("statistics_digest"):
            return "the channel statistics of the backbone are others than when it began"
        if began.get("folds_digest") != inputs.get("folds_digest"):
            return "the fold files list other images than when it began"
        return None

    def images(self) -> pd.DataFrame:
        """The image table that the study began with.

        Raises:
            StudyError: the file is missing or damaged.
        """
        try:
            table = pd.read_csv(self.images_file, keep_default_na=False, dtype=str)
            return table.astype({"label": "int64"})
        except (OSError, ValueError, KeyError) as error:
            raise StudyError(
                f"{printable(self.images_file)}: damaged ({printable(error)}); "
                "give another --study-name"
            ) from error


def identity_of(
    dataset: Dataset, backbone: "Backbone", *, folds_digest: str | None = None
) -> dict[str, Any]:
    """The part of `environment` that must be the same for a study to go on: what it computes from.

    Args:
        dataset, backbone: of the study.
        folds_digest: of the fold files' content, None where no such files are read.
    """
    return {
        "recipe": RECIPE,
        "data_fingerprint": dataset.fingerprint,
        "backbone_digest": backbone.digest,
        "statistics_digest": backbone.statistics_digest,
        "folds_digest": folds_digest,
    }


def environment(
    dataset: Dataset,
    backbone: "Backbone",
    device: str,
    *,
    folds_digest: str | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Plain values for `env.json`.

    Args:
        dataset, backbone: of the study.
        device: where it trains.
        folds_digest: of the fold files' content, None where no such files are read.
        warnings: what everyone who reads a result must be told first, a line each.
    """
    return {
        **identity_of(dataset, backbone, folds_digest=folds_digest),
        "dataset": dataset.name,
        "n_images": len(dataset.table),
        "warnings": list(warnings),
        "backbone": backbone.architecture.name,
        "backbone_source": backbone.source,
        "statistics_source": backbone.statistics_source,
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def find_study(run: str | None, runs: Path) -> RunDir:
    """The study that the user means: a run directory, a study name, or None for the latest.

    Raises:
        StudyError: there is no such study.
    """
    if run is None:
        latest = runs / _LATEST
        if not latest.exists():
            raise StudyError(f"{runs}: no study has been run here; start one with `hpsearch run`")
        return _existing(runs / latest.read_text(encoding="utf-8").strip())
    path = Path(run)
    return _existing(path if (path / SPEC).exists() else runs / run)


def damaged_study(run: str, runs: Path) -> RunDir:
    """The study that the user means, whatever of it is damaged or lost but for its spec.

    Raises:
        StudyError: there is no such study.
    """
    for path in (Path(run), runs / run):
        if (path / SPEC).exists():
            return RunDir(path)
    raise StudyError(f"{run}: no run directory with a {SPEC}; see `hpsearch status`")


def list_studies(runs: Path) -> list[RunDir]:
    """Every study in the folder `runs`, by name."""
    return [RunDir(path.parent) for path in sorted(runs.glob(f"*/{DATABASE}"))]


def _existing(path: Path) -> RunDir:
    study = RunDir(path)
    if study.spec_file.exists() and not (path / DATABASE).exists() and any(study.tasks.glob("*")):
        raise StudyError(
            f"{path}: its {DATABASE} is gone; `hpsearch recover {path}` makes it again"
        )
    if not (path / DATABASE).exists() or not study.spec_file.exists():
        names = ", ".join(study.path.name for study in list_studies(path.parent)) or "none"
        raise StudyError(f"{path}: holds no study; the studies in {path.parent} are: {names}")
    return study


def _same_but_for_names(old: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Whether two tables part their rows alike; what the rows are called is left aside."""
    if len(old) != len(new) or list(old.columns) != list(new.columns):
        return False
    alike = all(
        (old[column].to_numpy() == new[column].to_numpy()).all()
        for column in ("label", "anomaly_type", "split")
    )
    groups = (pd.factorize(table["group"])[0] for table in (old, new))
    return alike and bool(np.equal(*groups).all())

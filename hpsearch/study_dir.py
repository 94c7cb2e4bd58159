"""The run directory of a study: what lies where, and which one the user means.

`runs/<study>/{study.db, spec.yaml, images.csv, env.json, winner.txt, tasks/, final/}` and
`runs/latest.txt`.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from hpsearch.errors import SpecError, StudyError
from hpsearch.files import write_text_atomic
from hpsearch.spec import StudySpec, build_spec, first_difference
from hpsearch.storage import DATABASE
from hpsearch.studies import read_study

SPEC = "spec.yaml"
_LATEST = "latest.txt"
_FACTS = {"data_fingerprint", "backbone_digest"}  # of the environment, without which nothing goes


class StudyDir:
    """Paths and identity of one study.

    Args:
        path: `runs/<study>`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tasks = path / "tasks"
        self.final = path / "final"
        self.winner_file = path / "winner.txt"
        self.spec_file = path / SPEC
        self.images_file = path / "images.csv"
        self.environment_file = path / "env.json"

    def begin(self, spec: StudySpec, table: pd.DataFrame, environment: Mapping[str, Any]) -> None:
        """Write what the study is, or check that it is the one that is here already.

        Raises:
            StudyError: the settings, the images or the backbone are others than when it began.
        """
        if self.spec_file.exists():
            self._require_same(spec, table, environment)
        else:
            self.tasks.mkdir(parents=True, exist_ok=True)
            self.write_data(table, environment)
        # Last, for its presence says that the other two are there.
        settings = spec.model_dump(mode="json")
        write_text_atomic(self.spec_file, yaml.safe_dump(settings, sort_keys=False))
        write_text_atomic(self.path.parent / _LATEST, f"{self.path.name}\n")

    def write_data(self, table: pd.DataFrame, environment: Mapping[str, Any]) -> None:
        """Write the image table and what else results depend on."""
        write_text_atomic(self.environment_file, json.dumps(environment, indent=1))
        # Quoted, for the name of an image may hold any character, a carriage return too.
        quoted = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
        write_text_atomic(self.images_file, quoted)

    def record_winner(self, trial: int) -> None:
        """Keep the number of the trial whose final model is the study's answer."""
        write_text_atomic(self.winner_file, f"{trial}\n")

    def winner(self) -> int:
        """Number of the trial whose final model is the study's answer.

        Raises:
            StudyError: the study has no answer yet.
        """
        try:
            return int(self.winner_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.unfinished() from error

    def unfinished(self) -> StudyError:
        """The error of a study without an answer."""
        return StudyError(
            f"study {self.path.name}: the winner is not trained yet; run the same `hpsearch run` "
            "again to go on"
        )

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
            found: dict[str, Any] = json.loads(self.environment_file.read_text(encoding="utf-8"))
            if not found.keys() >= _FACTS:
                raise ValueError(f"lacks one of {', '.join(sorted(_FACTS))}")
        except (OSError, ValueError, AttributeError) as error:
            raise StudyError(
                f"{self.environment_file}: damaged ({error}); `hpsearch recover {self.path}` makes "
                "it again from the data"
            ) from error
        return found

    def _require_same(
        self, spec: StudySpec, table: pd.DataFrame, environment: Mapping[str, Any]
    ) -> None:
        difference = first_difference(self.spec(), spec)
        if difference is None:
            difference = self._data_difference(table, environment)
        if difference is not None:
            raise StudyError(
                f"study {self.path.name} in {self.path}: {difference}; "
                "go on with the old settings, or give another --study-name"
            )

    def _data_difference(self, table: pd.DataFrame, environment: Mapping[str, Any]) -> str | None:
        began = self.environment()
        if began["data_fingerprint"] != environment["data_fingerprint"]:
            return _first_changed_row(self._images(), table)
        if began["backbone_digest"] != environment["backbone_digest"]:
            return "the backbone weights are others than when it began"
        if began.get("folds_digest") != environment.get("folds_digest"):
            return "the fold files list other images than when it began"
        return None

    def _images(self) -> pd.DataFrame:
        return pd.read_csv(self.images_file, keep_default_na=False, dtype=str)


def find_study(run: str | None, runs: Path) -> StudyDir:
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


def damaged_study(run: str, runs: Path) -> StudyDir:
    """The study that the user means, whatever of it is damaged or lost but for its spec.

    Raises:
        StudyError: there is no such study.
    """
    for path in (Path(run), runs / run):
        if (path / SPEC).exists():
            return StudyDir(path)
    raise StudyError(f"{run}: no run directory with a {SPEC}; see `hpsearch status`")


def list_studies(runs: Path) -> list[StudyDir]:
    """Every study in the folder `runs`, by name."""
    return [StudyDir(path.parent) for path in sorted(runs.glob(f"*/{DATABASE}"))]


def _existing(path: Path) -> StudyDir:
    study = StudyDir(path)
    if study.spec_file.exists() and not (path / DATABASE).exists() and any(study.tasks.glob("*")):
        raise StudyError(
            f"{path}: its {DATABASE} is gone; `hpsearch recover {path}` makes it again"
        )
    if not (path / DATABASE).exists() or not study.spec_file.exists():
        names = ", ".join(found.path.name for found in list_studies(path.parent)) or "none"
        raise StudyError(f"{path}: holds no study; the studies in {path.parent} are: {names}")
    return study


def _first_changed_row(old: pd.DataFrame, new: pd.DataFrame) -> str:
    if len(old) != len(new):
        return f"the data had {len(old)} images and has {len(new)} now"
    changed = (old.astype(str).to_numpy() != new.astype(str).to_numpy()).any(axis=1)
    if changed.any():
        row = int(changed.argmax())
        return f"the table differs, first at image {new['image_id'].iloc[row]}"
    return "the pixels of the images differ from those that it began with"

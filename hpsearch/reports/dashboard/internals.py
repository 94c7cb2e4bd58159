"""What is taken from the inside of optuna-dashboard (0.21, the version that `setup.cfg` asks for).

All of it is here, so that one file is to be looked at when the dashboard changes.

- Artifacts: Optuna's `upload_artifact` registers a file before it is written, and never one of a
  trial that has ended. Here the file is written first and whole, and then registered where the
  dashboard itself registers files of ended trials: in an attribute of the study.
- Notes: the public `get_note` would read all attributes of the study again for every trial.
- Figures: there is a public way to save one, and none to ask which are there.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import optuna
from optuna.trial import FrozenTrial

from hpsearch.io.files import atomic_path
from hpsearch.storage.optuna_storage import storage_of, study_id, system_attributes, trial_id
from hpsearch.storage.trials import facts_of

_PREFIX = "dashboard:artifacts"
_PNG = "image/png"


class Shelf:
    """The pictures of a study's trials; a picture that is there is not added again.

    Args:
        folder: where files lie.
        study: for its one writer.
    """

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.folder, self.study = folder, study
        self._registered = {key for key in system_attributes(study) if key.startswith(_PREFIX)}

    def holds(self, trial: FrozenTrial, name: str) -> bool:
        """Whether the picture is there."""
        artifact, key = _names(trial, name)
        return key in self._registered and (self.folder / artifact).is_file()

    def put(self, trial: FrozenTrial, name: str, png: bytes) -> None:
        """Show a picture with a trial, in place of one of the same name.

        Args:
            trial: of the study.
            name: a file name of ours.
            png: the file's content.
        """
        artifact, key = _names(trial, name)
        path = self.folder / artifact
        if not path.is_file() or path.read_bytes() != png:
            with atomic_path(path) as partial:
                partial.write_bytes(png)
        if key not in self._registered:
            facts = {"artifact_id": artifact, "filename": name, "mimetype": _PNG, "encoding": None}
            self._registered.add(key)
            storage = storage_of(self.study)
            storage.set_study_system_attr(study_id(self.study), key, json.dumps(facts))


def _names(trial: FrozenTrial, name: str) -> tuple[str, str]:
    """Of a picture's file, the same for the same trainings, and of its registration."""
    tasks = " ".join(facts_of(trial).tasks)
    artifact = str(uuid5(NAMESPACE_URL, f"hpsearch {trial.number} {tasks} {name}"))
    return artifact, f"{_PREFIX}:{trial_id(trial)}:{artifact}"


def shown_notes(study: optuna.Study, of: Iterable[int | None]) -> dict[int | None, str]:
    """The notes that the dashboard shows, empty where there is none.

    Args:
        study: whose.
        of: Optuna's ids of trials, None for the study itself.
    """
    from optuna_dashboard._note import get_note_from_system_attrs

    attributes = system_attributes(study)
    return {one: get_note_from_system_attrs(attributes, one)["body"] for one in of}


def shown_figures(study: optuna.Study) -> dict[str, str]:
    """The figures that the dashboard shows with a study, as JSON by name."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    figures: dict[str, str] = get_plotly_graph_objects(system_attributes(study))
    return figures

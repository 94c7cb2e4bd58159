"""Files that Optuna's dashboard shows with a trial, in `runs/<study>/artifacts/`.

Optuna's `upload_artifact` registers a file before it is written, and never one of a trial that has
ended. Here the file is written first and whole, and then registered where the dashboard itself
registers files of ended trials: in an attribute of the study. Names and types are ours.
"""

import json
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpsearch.io.files import atomic_path
from hpsearch.storage.trials import facts_of

_PREFIX = "dashboard:artifacts"
_PNG = "image/png"


class Shelf:
    """The pictures of a study's trials; a picture that is there is not added again.

    Args:
        folder: where files lie.
        storage: of the study, for its one writer.
        study_id: Optuna's, in `storage`.
    """

    def __init__(self, folder: Path, storage: BaseStorage, study_id: int) -> None:
        self.folder, self.storage, self.study_id = folder, storage, study_id
        self._registered = {
            key: value
            for key, value in storage.get_study_system_attrs(study_id).items()
            if key.startswith(_PREFIX)
        }

    def holds(self, trial: FrozenTrial, name: str) -> bool:
        """Whether the picture is there."""
        artifact = _artifact_id(trial, name)
        return _key(trial, artifact) in self._registered and (self.folder / artifact).is_file()

    def put(self, trial: FrozenTrial, name: str, png: bytes) -> None:
        """Show a picture with a trial, in place of one of the same name.

        Args:
            trial: of the study.
            name: a file name of ours.
            png: the file's content.
        """
        artifact = _artifact_id(trial, name)
        path = self.folder / artifact
        if not path.is_file() or path.read_bytes() != png:
            with atomic_path(path) as partial:
                partial.write_bytes(png)
        key = _key(trial, artifact)
        if key not in self._registered:
            facts = {"artifact_id": artifact, "filename": name, "mimetype": _PNG, "encoding": None}
            self._registered[key] = json.dumps(facts)
            self.storage.set_study_system_attr(self.study_id, key, self._registered[key])


def _artifact_id(trial: FrozenTrial, name: str) -> str:
    """The same for the same picture: of its trial, by its trainings, should numbers change."""
    tasks = " ".join(facts_of(trial).tasks)
    return str(uuid5(NAMESPACE_URL, f"hpsearch {trial.number} {tasks} {name}"))


def _key(trial: FrozenTrial, artifact: str) -> str:
    return f"{_PREFIX}:{trial._trial_id}:{artifact}"

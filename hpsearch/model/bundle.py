"""The model bundle: a folder with `model.json` and the tensors that it names with their SHA-256.

Nothing in it can run code, and nothing of it is used before the hashes are checked. Every file that
lies in it must be named, or what is named by nobody would be used without a hash.

Which model the user means: a bundle, or the final model of a study.
"""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from hpsearch.errors import WeightsError
from hpsearch.evaluation.threshold import conformal_threshold
from hpsearch.io.files import printable, write_directory_atomic, write_text_atomic
from hpsearch.model.facts import Calibration, ModelFacts
from hpsearch.storage.run_dir import SPEC, find_study

FACTS = "model.json"
MAX_JSON_BYTES = 64 * 1024**2  # about two million scores of calibration
MAX_FILE_BYTES = 8 * 1024**3  # of a file that is named; larger ones are not even hashed


def write_bundle(folder: Path, *, saved: Path, facts: ModelFacts) -> None:
    """Make the bundle `folder` of what a detector saved and of the facts, whole or not at all.

    Args:
        folder: must not exist.
        saved: folder that `Detector.save` wrote.
        facts: `files` is filled in here.

    Raises:
        FileExistsError: `folder` exists.
    """
    names = sorted(path.name for path in saved.iterdir() if path.is_file() and path.name != FACTS)
    with write_directory_atomic(folder) as partial:
        for name in names:
            shutil.copyfile(saved / name, partial / name)
        files = {name: _sha256(partial / name) for name in names}
        text = facts.model_copy(update={"files": files}).to_json()
        (partial / FACTS).write_text(text, encoding="utf-8")


def read_bundle(folder: Path) -> ModelFacts:
    """The facts of a bundle whose every file is as it was written.

    Raises:
        WeightsError: it is no bundle, a file is missing, damaged or another one, or one lies there
            that is not named.
    """
    try:
        facts = _facts(folder)
        for name, digest in facts.files.items():
            _check_file(folder, name, digest)
        # Hidden files are what a desktop or a killed write leaves; no detector saves one.
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError as error:
        raise _refused(folder, f"cannot be read ({error.strerror})") from error
    if unnamed := there - facts.files.keys() - {FACTS}:
        what = f"holds {min(unnamed)!r}, of which {FACTS} has no hash"
        raise _refused(folder, what, mend="remove it, or copy the model anew")
    if not facts.files:
        raise _refused(folder, f"{FACTS} names no files")
    return facts


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise _refused(folder, f"has no file {name!r} of its own")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _refused(folder, f"{name} has more than {MAX_FILE_BYTES >> 30} GB")
    if _sha256(path) != digest:
        raise _refused(folder, f"{name} is not the file whose hash {FACTS} holds")


def calibrated(scores: ArrayLike, *, rate: float) -> Calibration:
    """The conformal threshold from scores `(n,)` of normals that were held out.

    Args:
        scores: in any order.
        rate: share of normal images that may be called anomalous.

    Raises:
        SpecError, DataError: as `hpsearch.evaluation.threshold.conformal_threshold`.
    """
    found = conformal_threshold(scores, rate=rate)
    ascending = np.sort(np.asarray(scores, dtype=np.float64))
    return Calibration(**asdict(found), scores=tuple(ascending.tolist()))


def attach_calibration(folder: Path, calibration: Calibration) -> None:
    """Store it in the bundle, replacing the one that was there, in one step.

    Raises:
        WeightsError: as `read_bundle`.
    """
    facts = read_bundle(folder).model_copy(update={"calibration": calibration})
    write_text_atomic(folder / FACTS, facts.to_json())


def _facts(folder: Path) -> ModelFacts:
    path = folder / FACTS
    if not path.is_file():
        raise _refused(folder, f"has no {FACTS}")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise _refused(folder, f"{FACTS} has more than {MAX_JSON_BYTES >> 20} MB")
    try:
        return ModelFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise _refused(folder, f"{FACTS} is damaged ({place}: {first['msg']})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_MEND = (
    "give the folder final/<trial>/model of a finished run; `hpsearch run` makes a damaged one anew"
)


def _refused(folder: Path, what: str, mend: str = _MEND) -> WeightsError:
    return WeightsError(printable(f"model {folder}: {what:.300}; {mend}"))


def find_model(name: str | Path, runs: Path) -> Path:
    """The folder of a bundle.

    Args:
        name: such a folder, a run directory, or the name of a study in `runs`.
        runs: folder of run directories.

    Raises:
        StudyError: there is no such study, or its winner is not trained yet.
        WeightsError: the folder cannot be looked into.
    """
    try:
        path = Path(name).expanduser()
        if (path / FACTS).exists() or (path.is_dir() and not (path / SPEC).exists()):
            return path
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who is none
        what = error.strerror if isinstance(error, OSError) else str(error)
        mend = "give the folder of a model, a run directory, or the name of a study"
        raise WeightsError(printable(f"model {name}: cannot be opened ({what}); {mend}")) from error
    study = find_study(str(path), runs)
    model = study.model(study.winner())
    if not (model / FACTS).exists():
        raise study.unfinished()
    return model

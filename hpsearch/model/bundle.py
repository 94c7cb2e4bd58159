"""The model bundle: a folder with `model.json` and the tensors that it names with their SHA-256.

A model that averages others has theirs in `members/0`, `members/1` and so on, each an ordinary
bundle, and names their `model.json` with its SHA-256.

Nothing in it can run code, and nothing of it is used before the hashes are checked. Every file that
lies in it must be named, or what is named by nobody would be used without a hash.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpsearch.config.space import Params, preprocessing_of, statistics_in_words
from hpsearch.config.spec import AxisValue
from hpsearch.datasets.window import Window
from hpsearch.errors import WeightsError
from hpsearch.evaluation.averaging import Part
from hpsearch.evaluation.threshold import conformal_threshold
from hpsearch.io.files import write_directory_atomic, write_text_atomic
from hpsearch.io.text import printable
from hpsearch.model.images import PreprocessingFacts
from hpsearch.storage.run_dir import SPEC, find_study

if TYPE_CHECKING:  # these import torch, which a command that only reads need not wait for
    from hpsearch.detectors.backbones.backbone import Backbone
    from hpsearch.search.task import Task

FACTS = "model.json"
MEMBERS = "members"
MAX_MEMBERS = 100
MAX_JSON_BYTES = 64 * 1024**2  # about two million scores of calibration
MAX_FILE_BYTES = 8 * 1024**3  # of a file that is named; larger ones are not even hashed

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # SHA-256


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneFacts(_Facts):
    """The frozen network, found by its name, and the values that its weights must have."""

    name: str
    digest: Digest
    statistics: str | None = None  # over which images those of its channels are; older: not said


class Calibration(_Facts):
    """From which score on an image is called anomalous, by normals that were held out.

    Split-conformal; see `hpsearch.evaluation`.
    """

    rate: float = Field(gt=0, lt=1)  # share of normal images that may be called anomalous
    threshold: float  # scores above it are
    bound: float = Field(ge=0, le=1)  # upper 95 % bound of the rate, given these normals
    n: int = Field(ge=1)
    scores: tuple[float, ...]  # of the held-out normals, ascending

    @model_validator(mode="after")
    def _is_consistent(self) -> "Calibration":
        if len(self.scores) != self.n or list(self.scores) != sorted(self.scores):
            raise ValueError("scores must be n numbers in ascending order")
        return self


class Provenance(_Facts):
    """Where the model came from; nothing of it is needed to use it."""

    study: str
    trial: int | None = None
    task: str = ""  # digest of its training
    steps: int | None = None
    dataset: str = ""
    data_fingerprint: str = ""
    test_auroc: float | None = None
    test_auroc_interval: tuple[float, float] | None = None  # 95 %
    versions: dict[str, str] = {}


class ModelFacts(_Facts):
    """A trained model but for its tensors.

    The configuration decides the architecture, the layers and the losses; `files` names what the
    detector saved, with its SHA-256.
    """

    format: Literal["hpsearch model 1"] = "hpsearch model 1"
    detector: str
    params: dict[str, AxisValue]
    seed: int
    preprocessing: PreprocessingFacts
    backbone: BackboneFacts
    provenance: Provenance
    calibration: Calibration | None = None
    files: dict[str, Digest] = {}

    def to_json(self) -> str:
        """Text from which `model_validate_json` makes the same."""
        return json.dumps(self.model_dump(mode="json"), indent=1)


class MemberFacts(_Facts):
    """One of the models of an average; its score s counts as weight * (s - location) / scale."""

    weight: float = Field(gt=0, le=1)
    location: float  # median of its held-out normals
    scale: float = Field(gt=0)  # their spread
    facts: Digest  # of its own model.json

    @property
    def part(self) -> Part:
        """How its scores count."""
        return Part(self.weight, self.location, self.scale)


class AverageFacts(_Facts):
    """A model that averages the scores of others, but for these."""

    format: Literal["hpsearch average 1"] = "hpsearch average 1"
    members: tuple[MemberFacts, ...] = Field(min_length=1, max_length=MAX_MEMBERS)
    provenance: Provenance
    calibration: Calibration | None = None  # of the average

    def to_json(self) -> str:
        """Text from which `model_validate_json` makes the same."""
        return json.dumps(self.model_dump(mode="json"), indent=1)


_Kind = TypeVar("_Kind", ModelFacts, AverageFacts)


def model_facts(
    task: "Task",
    *,
    backbone: "Backbone",
    channels: int,
    window: Window | None,
    provenance: Provenance,
) -> ModelFacts:
    """What the bundle of a trained task says beside its tensors.

    Args:
        task: that trained the model.
        backbone: the frozen network.
        channels: of the stored pixels, 1 or 3.
        window: through which files of more than 8 bits were seen.
        provenance: where the model came from.
    """
    return ModelFacts(
        detector=task.detector,
        params=dict(task.params),
        seed=task.seed,
        preprocessing=preprocessing_facts(task.params, channels=channels, window=window),
        backbone=BackboneFacts(
            name=backbone.architecture.name,
            digest=task.backbone_digest,
            statistics=statistics_in_words(task.params, backbone.statistics_source),
        ),
        provenance=provenance,
    )


def preprocessing_facts(
    params: Params, *, channels: int, window: Window | None = None
) -> PreprocessingFacts:
    """The preprocessing of a configuration, for images that are stored with `channels`.

    Raises:
        SpecError: a value out of its range.
    """
    return PreprocessingFacts(
        window=window,
        steps=preprocessing_of(params),
        resolution=int(params["resolution"]),
        channels=1 if channels == 1 else 3,
    )


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


class SavedMember(NamedTuple):
    """A model to average: what its detector saved, what its bundle says, and how it counts."""

    saved: Path
    facts: ModelFacts
    part: Part


def write_average(
    folder: Path,
    members: Sequence[SavedMember],
    *,
    provenance: Provenance,
    calibration: Calibration | None,
) -> None:
    """Make the bundle `folder` of a model that averages others, whole or not at all.

    Args:
        folder: must not exist.
        members: the others.
        provenance: where the average came from.
        calibration: of its scores.

    Raises:
        FileExistsError: `folder` exists.
    """
    with write_directory_atomic(folder) as partial:
        of_members = []
        for number, member in enumerate(members):
            own = partial / MEMBERS / str(number)
            write_bundle(own, saved=member.saved, facts=member.facts)
            of_members.append(MemberFacts(**asdict(member.part), facts=_sha256(own / FACTS)))
        facts = AverageFacts(
            members=tuple(of_members), provenance=provenance, calibration=calibration
        )
        (partial / FACTS).write_text(facts.to_json(), encoding="utf-8")


def read_bundle(folder: Path) -> ModelFacts | AverageFacts:
    """The facts of a bundle whose every file is as it was written.

    Raises:
        WeightsError: it is no bundle, a file is missing, damaged or another one, or one lies there
            that is not named.
    """
    try:
        if (folder / MEMBERS).is_dir():
            return _read_average(folder)
        return _read_detector(folder)
    except OSError as error:
        raise _refused(folder, f"cannot be read ({error.strerror})") from error


def member_folders(folder: Path, facts: AverageFacts) -> list[Path]:
    """The bundles of the models that a bundle averages."""
    return [folder / MEMBERS / str(number) for number in range(len(facts.members))]


def _read_average(folder: Path) -> AverageFacts:
    facts = _facts(folder, AverageFacts)
    members = member_folders(folder, facts)
    _require_only(folder, {FACTS, MEMBERS})
    _require_only(folder / MEMBERS, {member.name for member in members})
    windows = set()
    for own, member in zip(members, facts.members, strict=True):
        if own.is_symlink() or own.parent.is_symlink() or not own.is_dir():
            raise _refused(folder, f"has no folder {MEMBERS}/{own.name} of its own")
        _check_file(own, FACTS, member.facts)
        windows.add(_read_detector(own).preprocessing.window)
    if len(windows) > 1:
        raise _refused(folder, "averages models that see images through different windows")
    return facts


def _read_detector(folder: Path) -> ModelFacts:
    facts = _facts(folder, ModelFacts)
    for name, digest in facts.files.items():
        _check_file(folder, name, digest)
    _require_only(folder, {FACTS, *facts.files})
    if not facts.files:
        raise _refused(folder, f"{FACTS} names no files")
    return facts


def _require_only(folder: Path, names: set[str]) -> None:
    # Hidden files are what a desktop or a killed write leaves; no detector saves one.
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if unnamed := there - names:
        what = f"holds {min(unnamed)!r}, of which {FACTS} has no hash"
        raise _refused(folder, what, mend="remove it, or copy the model anew")


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


def _facts(folder: Path, kind: type[_Kind]) -> _Kind:
    path = folder / FACTS
    if not path.is_file():
        raise _refused(folder, f"has no {FACTS}")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise _refused(folder, f"{FACTS} has more than {MAX_JSON_BYTES >> 20} MB")
    try:
        return kind.model_validate_json(path.read_bytes())
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

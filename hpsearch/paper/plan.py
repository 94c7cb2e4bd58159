"""What the studies of a table would still train, and about how long that takes.

Nothing is downloaded or generated for it, and no pixels are read.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from hpsearch.config.spec import DatasetSpec
from hpsearch.datasets.nih import NIH_SETS
from hpsearch.datasets.registry import DatasetRequest, dataset_infos, load_dataset
from hpsearch.errors import DataError, StudyError
from hpsearch.paper.contents import TableStudy
from hpsearch.paper.growing import START_RESOLUTION
from hpsearch.storage.database import load_study, winner
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of, trials_of
from hpsearch.study.result import read_final
from hpsearch.study.space import space_of


def count_images(dataset: DatasetSpec, cache_dir: Path) -> int | None:
    """Their number; None where it is not known, or where the images cannot be read.

    Raises:
        SpecError: the name is unknown, or an option does not fit it.
    """
    known = {info.name: info for info in dataset_infos(cache_dir)}.get(dataset.name)
    if known and dataset.root is None:
        if known.n_normals is None or known.n_anomalies is None:
            return None
        return known.n_normals + known.n_anomalies
    if dataset.name in {source.name for source in NIH_SETS}:  # reading these makes copies
        return None
    request = DatasetRequest(
        dataset.name, root=dataset.root, normal_class=dataset.normal_class, seed=dataset.seed
    )
    try:
        return len(load_dataset(request, cache_dir=cache_dir).table)
    except DataError:
        return None


def whereabouts(dataset: DatasetSpec, cache_dir: Path) -> str:
    """Where the images are, or how to get them."""
    if dataset.root is not None:
        return f"in {dataset.root}"
    known = {info.name: info for info in dataset_infos(cache_dir)}.get(dataset.name)
    if known is None:
        return f"in {dataset.name}"
    return "on the disk" if known.on_disk else known.how


Basis = Literal["its own", "its neighbours'", "rule of thumb"]

RULE = (
    "rule of thumb: two cores, VGG-19 to r42, every training to its cap; 2.3 s a step of 128 "
    "images of 32 px, and two thirds of that for scoring 128, in proportion to images and pixels; "
    "scoring is left out where the number of images is not known; a GPU takes far less"
)
"""The reference code's measured step: three passes of the network, of which scoring takes two."""
_STEP_SECONDS, _STEP_IMAGES, _STEP_SIDE = 2.3, 128, 32
_SCORING = 2 / 3


@dataclass(frozen=True)
class StudyPlan:
    """What a study would train.

    Attributes:
        name: of its run directory.
        dataset, normal_class: what on.
        images: their number, None where it is not known before they are read.
        data: where they are, or how to get them.
        configurations, folds: of the search; their product is its trainings. No folds where
            nothing is searched.
        max_steps: the cap of a training, or its length where nothing is searched.
        n_runs: final trainings of a chosen configuration.
        on_disk: trainings of the search that are there.
        to_search: those that are still to be done.
        to_finish: final trainings still to be done; at most, for two criteria may choose the same.
        seconds: about how long that takes.
        basis: of this: stored seconds of the study, or of others of the table, or `RULE`.
    """

    name: str
    dataset: str
    normal_class: str | None
    images: int | None
    data: str
    configurations: int
    folds: int
    max_steps: int
    n_runs: int
    on_disk: int
    to_search: int
    to_finish: int
    seconds: float
    basis: Basis


def plan_studies(
    studies: Sequence[TableStudy], *, runs: Path, cache_dir: Path, at_once: int
) -> list[StudyPlan]:
    """A plan a study, in the same order. Reads settings and run directories, and no pixels.

    Args:
        studies: of the table.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        at_once: trainings that will run beside each other, as the stored ones did.

    Raises:
        SpecError: a setting breaks a rule.
        StudyError: a study on the disk is damaged.
    """
    stored = [_stored(_folder(study, runs), study.spec.detectors) for study in studies]
    plans = []
    for study, own in zip(studies, stored, strict=True):
        alike = [
            training.seconds
            for other, trainings in zip(studies, stored, strict=True)
            if _is_growing(other) == _is_growing(study)
            for training in trainings
        ]
        data = study.spec.dataset
        images, place = count_images(data, cache_dir), whereabouts(data, cache_dir)
        plans.append(_plan(study, _folder(study, runs), images, place, own, alike, at_once))
    return plans


@dataclass(frozen=True)
class _Stored:
    """A training on the disk.

    Attributes:
        of_search: whether it is a fold of a trial, not a final training.
        seconds: of training and scoring.
    """

    of_search: bool
    seconds: float


def _plan(
    study: TableStudy,
    folder: RunDir,
    images: int | None,
    place: str,
    own: Sequence[_Stored],
    alike: Sequence[float],
    at_once: int,
) -> StudyPlan:
    spec = study.spec
    space = space_of(spec)
    n_trials = spec.search.n_trials or len(space.grid)
    on_disk = sum(training.of_search for training in own)
    to_search, to_finish = _to_do(study, folder, n_trials, on_disk)
    if not study.searched:
        to_search, to_finish = 0, max(0, spec.final.n_runs - len(own))
    training = spec.training
    sides = [float(side) for axes in space.branches.values() for side in axes["resolution"]]
    pixels = fmean(side**2 for side in sides) / _STEP_SIDE**2
    passed = training.max_steps * (training.batch_size or _STEP_IMAGES) + _SCORING * (images or 0)
    seconds = _STEP_SECONDS * pixels * passed / _STEP_IMAGES  # by `RULE`
    basis: Basis = "rule of thumb"
    if alike:
        seconds = fmean([training.seconds for training in own] or alike) / at_once
        basis = "its own" if own else "its neighbours'"
    return StudyPlan(
        name=spec.study_name,
        dataset=spec.dataset.name,
        normal_class=spec.dataset.normal_class,
        images=images,
        data=place,
        configurations=n_trials,
        folds=spec.search.n_folds if study.searched else 0,
        max_steps=spec.training.max_steps,
        n_runs=spec.final.n_runs,
        on_disk=on_disk,
        to_search=to_search,
        to_finish=to_finish,
        seconds=seconds * (to_search + to_finish),
        basis=basis,
    )


def _to_do(study: TableStudy, folder: RunDir, n_trials: int, on_disk: int) -> tuple[int, int]:
    """Trainings of the search, and final ones, that are not there yet."""
    n_runs, n_folds = study.spec.final.n_runs, study.spec.search.n_folds
    most = n_runs * len(study.criteria)
    if not folder.database.exists():
        return max(0, n_trials * n_folds - on_disk), most
    found = load_study(folder.path)
    ended = trials_of(found).ended
    under_way = max(0, on_disk - sum(len(facts_of(trial).tasks) for trial in ended))
    if len(ended) < n_trials:
        return max(0, (n_trials - len(ended)) * n_folds - under_way), most
    try:
        chosen = {winner(found, criterion).number for criterion in study.criteria}
    except StudyError:  # every trial failed: there is nothing to choose from
        return 0, 0
    finals = [read_final(folder, number) for number in chosen]
    return 0, n_runs * sum(final is None or len(final.runs) != n_runs for final in finals)


def _stored(folder: RunDir, detectors: Collection[str]) -> list[_Stored]:
    """The stored trainings of the detectors, reference rows left out."""
    trainings = []
    for path in sorted(folder.tasks.glob("[!.]*/result.json")):
        try:
            task = json.loads(path.with_name("task.json").read_text(encoding="utf-8"))
            seconds = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
            if task["detector"] in detectors:
                trainings.append(_Stored(task["fold"] is not None, seconds))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{path.parent}: damaged ({error}); delete this directory and run again"
            ) from error
    return trainings


def _folder(study: TableStudy, runs: Path) -> RunDir:
    return RunDir(runs / study.spec.study_name)


def _is_growing(study: TableStudy) -> bool:
    return any(
        START_RESOLUTION in study.spec.space.get(detector, {}) for detector in study.spec.detectors
    )

"""Everything that a study reads, checked before anything is written for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsearch.backbones.backbone import Backbone
from hpsearch.backbones.registry import load_backbone
from hpsearch.budget import LabelledAnomalies, TestRoles, test_roles
from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.registry import load_dataset, request_of
from hpsearch.datasets.table import Dataset
from hpsearch.detectors.base import detector_names, load_detector
from hpsearch.errors import SpecError
from hpsearch.final import REFERENCES
from hpsearch.fold_files import OfficialFolds
from hpsearch.listener import Listener
from hpsearch.parts import part_images
from hpsearch.space import (
    PREPROCESSING,
    PREPROCESSING_AXES,
    Params,
    SearchSpace,
    build_space,
    preprocessing_of,
)
from hpsearch.spec import MAX_SEED, StudySpec, TrainingSpec
from hpsearch.task import Task, TaskContext


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study whose every input has been checked and is in memory or in the cache.

    Attributes:
        spec: what was asked for, with the numbers of folds and labels that there are.
        space: the configurations.
        dataset, backbone: what tasks read.
        labelled: the anomalies that the search may see.
        roles: what the test images can tell.
        pixels: file of each stored image variant.
        official: folds that were read from fold files, None where tasks make their own.
        warnings: leaks of those folds, a line each.
    """

    spec: StudySpec
    space: SearchSpace
    dataset: Dataset
    backbone: Backbone
    labelled: LabelledAnomalies
    roles: TestRoles
    pixels: Mapping[Preprocessing, Path]
    official: OfficialFolds | None
    warnings: tuple[str, ...]

    def task(self, params: Params, fold: int) -> Task:
        """The task of one fold of a configuration."""
        return self._task(self.spec.detector, params, fold=fold, seed=self.spec.search.seed)

    def final_task(self, params: Params, *, run: int, steps: int) -> Task:
        """The task that trains a configuration on all normals."""
        seed = (self.spec.search.seed + run) % (MAX_SEED + 1)
        return self._task(self.spec.detector, params, fold=None, seed=seed, steps=steps)

    def reference_tasks(self, params: Params) -> dict[str, Task]:
        """The reference rows, at the preprocessing of `params`."""
        same = {axis: params[axis] for axis in PREPROCESSING_AXES}
        plain = TrainingSpec()
        return {
            name: self._task("features", {**same, **own}, fold=None, seed=0, training=plain)
            for name, own in REFERENCES.items()
        }

    def context(self, tasks: Path, cache_dir: Path) -> TaskContext:
        """Where its tasks find what they name, with results in `tasks`; engines set the device."""
        return TaskContext(
            table=self.dataset.table,
            pixels=self.pixels,
            backbone=self.spec.backbone.name,
            backbone_weights=self.spec.backbone.weights,
            tasks=tasks,
            cache_dir=cache_dir,
            device="cpu",
            folds=self.official.folds if self.official else None,
        )

    def _task(
        self,
        detector: str,
        params: Params,
        *,
        fold: int | None,
        seed: int,
        steps: int | None = None,
        training: TrainingSpec | None = None,
    ) -> Task:
        return Task(
            detector=detector,
            params=params,
            training=training or self.spec.training,
            backbone_digest=self.backbone.digest,
            data_fingerprint=self.dataset.fingerprint,
            fold=fold,
            n_folds=self.spec.search.n_folds,
            split_seed=self.spec.search.seed,
            seed=seed,
            steps=steps,
            fold_digest=self._fold_digest(fold),
        )

    def _fold_digest(self, fold: int | None) -> str | None:
        if self.official is None or fold is None:
            return None
        return self.official.folds[fold].digest


def prepare_study(
    spec: StudySpec, *, cache_dir: Path, workers: int, listener: Listener
) -> Prepared:
    """Check every setting and every image before anything is written for the study.

    Raises:
        UserError: whatever is wrong, in one line.
    """
    detector = load_detector(spec.detector)
    _check_sections(spec)
    space = build_space(spec, detector.axes)
    dataset = load_dataset(
        request_of(spec.dataset), cache_dir=cache_dir, progress=listener.progress
    )
    parts = part_images(spec, dataset.table)
    roles = test_roles(dataset.table, parts.labelled)
    backbone = load_backbone(spec.backbone.name, weights_file=spec.backbone.weights)
    for params in space.grid:
        detector.check(params, backbone.architecture, spec.training)
    variants = {preprocessing_of(params) for params in space.grid}
    pixels = {
        variant: _stored(dataset, variant, cache_dir, workers, listener)
        for variant in sorted(variants, key=repr)
    }
    for line in (*dataset.notes, *(f"warning: {leak}" for leak in parts.warnings)):
        listener.note(line)
    return Prepared(
        spec=parts.spec,
        space=space,
        dataset=dataset,
        backbone=backbone,
        labelled=parts.labelled,
        roles=roles,
        pixels=pixels,
        official=parts.official,
        warnings=parts.warnings,
    )


def _check_sections(spec: StudySpec) -> None:
    sections = (PREPROCESSING, *detector_names())
    for section in spec.space:
        if section not in sections:
            raise SpecError(
                f"space.{section:.60}: no such section; there are {', '.join(sections)}"
            )


def _stored(
    dataset: Dataset, variant: Preprocessing, cache_dir: Path, workers: int, listener: Listener
) -> Path:
    pixels = load_pixels(
        dataset, variant, cache_dir=cache_dir, workers=workers, progress=listener.progress
    )
    if not isinstance(pixels, np.memmap) or pixels.filename is None:
        raise TypeError("load_pixels must return a memory map of a file")
    return Path(pixels.filename)

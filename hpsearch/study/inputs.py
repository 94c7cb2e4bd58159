"""Everything that a study reads, checked before anything is written for it; then its workers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpsearch.config.space import (
    AXIS,
    NATURAL,
    PREPROCESSING_AXES,
    Params,
    SearchSpace,
    network_of,
    preprocessing_of,
)
from hpsearch.config.spec import MAX_SEED, DatasetSpec, StudySpec, TrainingSpec
from hpsearch.datasets.pixels import Pixels, Preprocessing, load_variants
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.table import Dataset
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.backbones.statistics import natural_statistics, statistics_of_folder
from hpsearch.detectors.backbones.weight_files import read_statistics
from hpsearch.detectors.base import (
    faults_of,
    load_detector,
    trains_on_labels,
)
from hpsearch.errors import SpecError, StudyError
from hpsearch.io.text import printable
from hpsearch.protocol.folds import Fold
from hpsearch.protocol.labels import (
    EvaluationRoles,
    LabelledAnomalies,
    evaluation_roles,
)
from hpsearch.protocol.protocol import StudySplit, split_images
from hpsearch.search.engine import LocalEngine, Workers
from hpsearch.search.events import Listener
from hpsearch.search.task import Task, TaskContext
from hpsearch.storage.database import sole_writer_of
from hpsearch.storage.results import RECIPE, read_task
from hpsearch.storage.run_dir import RunDir, environment, identity_of
from hpsearch.study.result import COLOURS, frozen_rows
from hpsearch.study.space import require_sections, space_of, space_on


@dataclass(frozen=True, eq=False)
class StudyInputs:
    """A study whose every input has been checked and is in memory or in the cache.

    Attributes:
        spec: what was asked for, with the numbers of folds and labels that there are.
        space: the configurations.
        dataset: what tasks read.
        backbone: the study's network.
        networks: every network that a configuration is on, by name; the study's among them.
        labelled: the anomalies that the search may see.
        roles: what the test images can tell.
        statistics_file: of the channel statistics, None for those that come with the backbone.
        pixels: file of each stored image variant.
        folds: what the normals are cross-validated on.
        folds_digest: of the fold files that they were read from, None where they were drawn.
        warnings: what is wrong with the folds, a line each.
    """

    spec: StudySpec
    space: SearchSpace
    dataset: Dataset
    backbone: Backbone
    networks: Mapping[str, Backbone]
    statistics_file: Path | None
    labelled: LabelledAnomalies
    roles: EvaluationRoles
    pixels: Mapping[Preprocessing, Path]
    folds: tuple[Fold, ...]
    folds_digest: str | None
    warnings: tuple[str, ...]

    def in_words(self) -> str:
        """What is searched, for whom, in a line."""
        spec = self.spec
        return (
            f"study {spec.study_name}: {', '.join(spec.detectors)} on {self.dataset.name}, "
            f"{len(self.space.grid)} configurations x {spec.search.n_folds} folds"
            f"{f' of {spec.search.folds}' if self.folds_digest else ''}; "
            f"{len(self.labelled.positions)} labelled anomalies of type "
            f"{', '.join(self.labelled.types)}; chosen by the {spec.search.criterion} criterion"
        )

    def task(self, params: Params, fold: int) -> Task:
        """The task of one fold of a configuration."""
        return self._task(*self.space.configuration(params), fold=fold, seed=self.spec.search.seed)

    def final_task(self, params: Params, *, run: int, steps: int) -> Task:
        """The task that trains a configuration on all normals."""
        seed = (self.spec.search.seed + run) % (MAX_SEED + 1)
        return self._task(*self.space.configuration(params), fold=None, seed=seed, steps=steps)

    def left_out_tasks(self, params: Params, left_out_type: str) -> list[Task]:
        """The tasks of all folds of a configuration that sees labelled anomalies, but this type."""
        return [
            replace(self.task(params, fold), left_out_type=left_out_type)
            for fold in range(self.spec.search.n_folds)
        ]

    def reference_tasks(self, params: Params) -> dict[str, Task]:
        """Simple methods that are not searched, at the preprocessing of `params`."""
        _, chosen = self.space.configuration(params)
        same = {axis: chosen[axis] for axis in PREPROCESSING_AXES}
        rows = dict(COLOURS)
        if "features" not in self.spec.detectors or len(self.spec.detectors) == 1:
            rows |= frozen_rows(self.spec.backbone.name, self.backbone.architecture.layers)
        plain = TrainingSpec()
        return {
            name: self._task("features", {**same, **row}, fold=None, seed=0, training=plain)
            for name, row in rows.items()
        }

    def network(self, params: Params) -> Backbone:
        """The network that a configuration of one detector is on."""
        return self.networks[network_of(params) or self.spec.backbone.name]

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
            folds=self.folds,
            backbone_statistics=self.statistics_file,
            labelled=self.labelled,
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
            backbone_digest=self.network(params).digest,
            data_fingerprint=self.dataset.fingerprint,
            fold=fold,
            n_folds=self.spec.search.n_folds,
            split_seed=self.spec.search.seed,
            seed=seed,
            steps=steps,
            fold_digest=None if fold is None else self.folds[fold].digest,
            statistics_digest=(
                self.backbone.statistics_digest if params.get(AXIS) == NATURAL else None
            ),
            labelled_digest=self.labelled.digest if trains_on_labels(detector) else None,
        )


def load_inputs(
    spec: StudySpec,
    *,
    cache_dir: Path,
    workers: int,
    listener: Listener,
    folder: RunDir | None = None,
) -> StudyInputs:
    """Check every setting and every image before anything is written for the study.

    Args:
        spec: what was asked for.
        cache_dir: folder of what can be computed again.
        workers: processes that decode images.
        listener: told of progress.
        folder: the run directory; of a study that is there already, what differs is refused
            before images are rendered or decoded, and images that were moved are known again.

    Raises:
        UserError: whatever is wrong, in one line.
    """
    require_sections(spec)
    if spec.search.criterion not in spec.criteria:
        raise SpecError(
            f"search.criterion {spec.search.criterion}: several detectors score on different "
            f"scales; choose {' or '.join(spec.criteria)}, or search one detector"
        )
    space = space_of(spec)
    if folder is not None:
        folder.require_same_settings(spec, recipe=RECIPE)
    dataset = load_dataset(
        request_of(spec.dataset), cache_dir=cache_dir, progress=listener.progress
    )
    if folder is not None:
        dataset = folder.known_images(dataset)
    split = split_images(spec, dataset.table)
    space = space_on(space, spec, dataset, split, listener)
    trained_on = any(map(trains_on_labels, space.branches.keys() - space.left_out))
    roles = evaluation_roles(dataset.table, split.labelled, trained_on=trained_on)
    backbone, statistics_file = backbone_of(spec, space, cache_dir, listener)
    configurations = [space.configuration(params) for params in space.grid]
    networks = _networks(spec, backbone, configurations)
    if folder is not None:
        identity = identity_of(dataset, backbone, folds_digest=split.folds_digest)
        folder.require_same(split.spec, dataset.table, identity)
        _require_same_labels(folder, split)
        _require_same_folds(folder, split, dataset)
    shown: list[str] = []
    variants = load_variants(
        dataset,
        sorted({preprocessing_of(params) for _, params in configurations}, key=repr),
        cache_dir=cache_dir,
        workers=workers,
        progress=listener.progress,
        note=shown.append,
    )
    for line in (*dataset.notes, *shown, *(f"warning: {line}" for line in split.warnings)):
        listener.note(line)
    return StudyInputs(
        spec=split.spec,
        space=space,
        dataset=dataset,
        backbone=backbone,
        networks=networks,
        statistics_file=statistics_file,
        labelled=split.labelled,
        roles=roles,
        pixels={variant: _file_of(pixels) for variant, pixels in variants.items()},
        folds=split.folds,
        folds_digest=split.folds_digest,
        warnings=split.warnings,
    )


def _networks(
    spec: StudySpec, backbone: Backbone, configurations: Sequence[tuple[str, Params]]
) -> dict[str, Backbone]:
    """Every network that a configuration is on, by name; each configuration is checked on its own.

    Raises:
        SpecError: a configuration cannot be built or trained.
        WeightsError: weights are missing or damaged.
    """
    networks = {spec.backbone.name: backbone}
    for name, params in configurations:
        network = network_of(params) or spec.backbone.name
        if network not in networks:
            networks[network] = load_backbone(network)
        with faults_of(name, "check"):
            load_detector(name).check(params, networks[network].architecture, spec.training)
    return networks


def _file_of(pixels: Pixels) -> Path:
    """Of a memory map."""
    if not isinstance(pixels, np.memmap) or pixels.filename is None:
        raise TypeError("load_variants must return memory maps of files")
    return Path(pixels.filename)


@contextmanager
def at_work(
    inputs: StudyInputs,
    folder: RunDir,
    plan: Workers,
    *,
    cache_dir: Path,
    latest: bool = True,
) -> Iterator[LocalEngine]:
    """Begin a study, or go on with it: its run directory is held, and workers run its tasks.

    Args:
        inputs: of the study.
        folder: its run directory.
        plan: of the workers.
        cache_dir: folder of what can be computed again.
        latest: whether commands that are told no study mean this one from now on.

    Raises:
        StudyError: another process has it, or the settings, the images or the backbone are others
            than when it began.
    """
    facts = environment(
        inputs.dataset,
        inputs.backbone,
        ", ".join(plan.devices),
        folds_digest=inputs.folds_digest,
        warnings=inputs.warnings,
    )
    with sole_writer_of(folder.path):
        folder.begin(inputs.spec, inputs.dataset.table, facts, latest=latest)
        context = inputs.context(folder.tasks, cache_dir)
        engine = LocalEngine(context, plan, fold_timeout=inputs.spec.search.fold_timeout)
        try:
            yield engine
        finally:
            engine.close()


def _require_same_labels(folder: RunDir, split: StudySplit) -> None:
    """Refuse other labelled anomalies than those that trainings of a study were fitted on.

    Raises:
        StudyError: these trainings would have to be repeated.
    """
    if not folder.spec_file.exists() or folder.spec().labels == split.spec.labels:
        return
    trained_on = {
        read_task(folder.tasks, name).get("labelled_digest") for name in folder.task_digests()
    }
    if trained_on - {None, split.labelled.digest}:
        raise StudyError(
            f"study {folder.path.name} in {printable(folder.path)}: detectors of it were trained "
            "on its labelled anomalies, and these are others; go on with the old settings, or give "
            "another --study-name"
        )


def _require_same_folds(folder: RunDir, split: StudySplit, dataset: Dataset) -> None:
    """Refuse labelled anomalies for which a study's folds would leave out other normals.

    Raises:
        StudyError: all trainings of the study would have to be repeated.
    """
    if not folder.spec_file.exists() or folder.spec().labels == split.spec.labels:
        return
    if not split.has_folds_of(split_images(folder.spec(), dataset.table)):
        raise StudyError(
            f"study {folder.path.name} in {printable(folder.path)}: these labelled anomalies share "
            "groups with other training normals than those before, so no fold would be the same "
            "and every training is repeated; give another --study-name"
        )


def backbone_of(
    spec: StudySpec, space: SearchSpace, cache_dir: Path, listener: Listener
) -> tuple[Backbone, Path | None]:
    """A study's network, and the file of its channel statistics where it names a folder of images.

    Raises:
        UserError: the weights or the images are gone or damaged, or no statistics are there for
            configurations that take them.
    """
    backbone = load_backbone(spec.backbone.name, weights_file=spec.backbone.weights)
    folder, path = spec.backbone.statistics, None
    if not any(NATURAL in axes.get(AXIS, ()) for axes in space.branches.values()):
        if folder is not None:
            raise SpecError(
                f"backbone.statistics: is read by detectors with {AXIS}={NATURAL} alone, and this "
                "study has none such; leave it out"
            )
        return backbone, None
    if folder is not None:
        path = statistics_of_folder(
            backbone, folder, cache_dir=cache_dir, progress=listener.progress
        )
        statistics, images = read_statistics(path)
        backbone = replace(backbone, statistics=statistics, statistics_source=images)
    natural_statistics(backbone)
    listener.note(f"channel statistics: {backbone.statistics_source}")
    return backbone, path


def request_of(asked: DatasetSpec) -> DatasetRequest:
    """The request that a study's settings stand for."""
    return DatasetRequest(
        asked.name,
        root=asked.root,
        normal_class=asked.normal_class,
        seed=asked.seed,
        multi_label=asked.multi_label,
        window=asked.window,
        links=asked.links,
    )

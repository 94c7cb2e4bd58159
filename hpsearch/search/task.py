"""One training: fit a configuration on one fold, and score every image that it was not fitted on.

A task is pure and idempotent: the same task gives the same scores, and where its result is on disk
it is read and not computed. The label budget is no part of it: which labelled anomalies count is
chosen afterwards, from the stored scores. Only where a detector is trained on labelled anomalies do
these decide the result; then whatever shares a group with those of a training gets no score by it.
"""

import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hpsearch.config.space import Params, network_of, preprocessing_of
from hpsearch.config.spec import TrainingSpec
from hpsearch.datasets.cutpaste import counterparts
from hpsearch.datasets.pixels import Preprocessing
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.base import (
    Detector,
    ImageView,
    LabelledView,
    Setup,
    checked_scores,
    checked_training,
    load_detector,
    trains_on_labels,
)
from hpsearch.io.faults import failure_of
from hpsearch.io.files import remove_leftovers
from hpsearch.protocol.folds import Fold, Positions, final_split, in_groups_of
from hpsearch.protocol.labels import LabelledAnomalies, apart_from_labels, split_labels
from hpsearch.storage.results import RECIPE, FoldResult, read_result, write_result


@dataclass(frozen=True)
class Task:
    """What is trained, on what, with which seeds.

    Attributes:
        detector: name of the detector.
        params: the configuration.
        training: settings of the training.
        backbone_digest: of the frozen network's weights.
        data_fingerprint: of table and images.
        fold: number of the fold, or None to train on all training normals.
        n_folds: how many folds the normals are split into.
        split_seed: of the synthetic anomalies made of a fold's normals.
        seed: of the training.
        steps: for `fold` None: how many steps to take.
        fold_digest: of the fold's positions, None for `fold` None.
        statistics_digest: of the channel statistics over natural images; None where the
            configuration takes none.
        labelled_digest: of the labelled anomalies that trainings are fitted on; None for a detector
            that sees none.
        left_out_type: of labelled anomalies, that it is not fitted on but judged by; None for a
            training of the search.
    """

    detector: str
    params: Params
    training: TrainingSpec
    backbone_digest: str
    data_fingerprint: str
    fold: int | None
    n_folds: int
    split_seed: int
    seed: int
    steps: int | None = None
    fold_digest: str | None = None
    statistics_digest: str | None = None
    labelled_digest: str | None = None
    left_out_type: str | None = None

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values."""
        values = asdict(self) | {"training": self.training.model_dump(mode="json")}
        for name in ("fold_digest", "labelled_digest", "left_out_type"):
            if values[name] is None:  # then it decides nothing
                del values[name]
        return values | {"params": dict(self.params), "recipe": RECIPE}

    @property
    def digest(self) -> str:
        """Name of the result's directory."""
        canonical = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class TaskContext:
    """Where a task finds what it names: sent to each worker once.

    Attributes:
        table: the image table.
        pixels: file of each stored image variant.
        backbone: name of the study's network.
        backbone_weights: file of its weights, None for the usual place.
        tasks: folder of the results.
        cache_dir: folder of what can be computed again.
        device: where to train.
        folds: of the study; what trains on all normals needs none.
        backbone_statistics: file of the network's channel statistics, None for those that come with
            the weights.
        labelled: of the study, for detectors that are trained on them.
    """

    table: pd.DataFrame
    pixels: Mapping[Preprocessing, Path]
    backbone: str
    backbone_weights: Path | None
    tasks: Path
    cache_dir: Path
    device: str
    folds: tuple[Fold, ...] = ()
    backbone_statistics: Path | None = None
    labelled: LabelledAnomalies | None = None


def run_task(task: Task, context: TaskContext) -> FoldResult:
    """Train and score, or read the result where it is there already.

    Raises:
        TaskError: whatever ended the training; nothing is left behind but its checkpoints.
    """
    try:
        return read_result(context.tasks, task.digest) or _run(task, context)
    except (Exception, SystemExit) as error:
        raise failure_of(error) from error


def _run(task: Task, context: TaskContext) -> FoldResult:
    started = time.monotonic()
    on_gpu = context.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(context.device)
    checkpoints = context.tasks / f".checkpoints-{task.digest}"
    images, every_normal = _Images(task, context), final_split(context.table)
    if task.fold is None:
        nothing = np.empty(0, dtype=np.intp)
        fold = Fold(train=every_normal, early_stop=nothing, scored=nothing)
    else:
        fold = context.folds[task.fold]
    trained = None  # labelled anomalies
    if trains_on_labels(task.detector):
        assert context.labelled is not None, "the context of a study has its labelled anomalies"
        split = split_labels(
            context.table,
            context.labelled,
            fold=task.fold,
            n_folds=task.n_folds,
            left_out_type=task.left_out_type,
        )
        fold, trained = apart_from_labels(fold, split, context.table), split.trained
    setup = Setup(
        params=task.params,
        training=task.training,
        backbone=_network(task.params, context),
        normals=images(every_normal),
        seed=task.seed,
        device=context.device,
        cache_dir=context.cache_dir,
        labelled=None if trained is None else images.labelled(trained, context.table),
    )
    detector: Detector = load_detector(task.detector)(setup)
    training = checked_training(
        detector.fit(
            images(fold.train),
            images(fold.early_stop) if len(fold.early_stop) else None,
            max_steps=task.steps or task.training.max_steps,
            checkpoints=checkpoints,
        )
    )
    result = FoldResult(
        digest=task.digest,
        scores=_scores(detector, images, fold, context.table, trained, seed=task.split_seed),
        best_step=training.best_step,
        best_loss=training.best_loss,
        curve=training.curve,
        seconds=time.monotonic() - started,
        peak_memory_mb=_peak_memory_mb(context.device),
        device=torch.cuda.get_device_name(context.device) if on_gpu else context.device,
        notes=training.notes,
        trained_on_labels=trained is not None,
    )
    save_model = detector.save if task.fold is None else None
    remove_leftovers(context.tasks / task.digest)
    write_result(context.tasks, task.describe(), result, save_model=save_model)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return result


class _Images:
    """Views of the variant that a task reads, by row positions."""

    def __init__(self, task: Task, context: TaskContext) -> None:
        preprocessing = preprocessing_of(task.params)
        path = context.pixels[preprocessing]
        self.pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        self.key = f"{task.data_fingerprint}-{preprocessing}"
        self.seen = int(task.params["resolution"])  # side in px of what a detector scores

    def __call__(self, positions: Positions) -> ImageView:
        return ImageView(self.pixels, positions, self.key)

    def labelled(self, positions: Positions, table: pd.DataFrame) -> LabelledView:
        """Labelled anomalies to train on."""
        rows = table.iloc[positions]
        return LabelledView(self(positions), tuple(rows["group"]), tuple(rows["anomaly_type"]))

    def synthetic(self, positions: Positions, *, seed: int) -> ImageView:
        """Synthetic anomalies made of these images."""
        pixels = counterparts(self.pixels, positions, size=self.seen, seed=seed)
        # Named by content, for what a cache keeps of these must serve no other fold, seed or size.
        key = f"synthetic-{hashlib.sha256(pixels.data).hexdigest()}"
        return ImageView(pixels, np.arange(len(pixels)), key)


def _network(params: Params, context: TaskContext) -> Backbone:
    """The network that a configuration names, or the study's."""
    name = network_of(params)
    if name is None or name == context.backbone:
        return _backbone(context.backbone, context.backbone_weights, context.backbone_statistics)
    return _backbone(name, None, None)


@lru_cache(maxsize=4)
def _backbone(name: str, weights: Path | None, statistics: Path | None) -> Backbone:
    return load_backbone(name, weights_file=weights, statistics_file=statistics)


def _scores(
    detector: Detector,
    images: _Images,
    fold: Fold,
    table: pd.DataFrame,
    trained: Positions | None,
    *,
    seed: int,
) -> pd.DataFrame:
    """Scores of all images that training did not see, and of synthetic anomalies.

    A test image's role is `test`, whatever its label. The synthetic anomalies are made of the
    fold's scored normals; a training on all normals has none. Where fold files leak, a scored
    normal that training saw is scored all the same, in that role alone. What shares a group with
    the labelled anomalies `trained`, themselves among it, has no score.
    """
    role = pd.Series("", index=table.index)
    role[table["label"] == 1] = "anomaly"
    role[table["split"] == "test"] = "test"
    role.iloc[fold.early_stop] = "early_stop"
    role.iloc[fold.scored] = "normal"
    if trained is not None:
        role[in_groups_of(table, np.arange(len(table)), trained)] = ""
    positions = np.flatnonzero(role != "")
    scores = checked_scores(detector.score(images(positions)), len(positions))
    roles = role.to_numpy()[positions]
    if len(fold.scored):
        synthetic = images.synthetic(fold.scored, seed=seed)
        made = checked_scores(detector.score(synthetic), len(fold.scored))
        positions = np.concatenate([positions, fold.scored])
        scores = np.concatenate([scores, made])
        roles = np.concatenate([roles, np.full(len(made), "synthetic", dtype=object)])
    return pd.DataFrame(
        {
            "image_id": table["image_id"].to_numpy()[positions],
            "role": roles,
            "score": scores,
        }
    )


def _peak_memory_mb(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

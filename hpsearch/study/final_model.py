"""What a final model needs beside its training: the tensors, the facts, a threshold."""

import shutil

import numpy as np

from hpsearch.config.space import preprocessing_of
from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.selection import threshold_of
from hpsearch.evaluation.stored_scores import FloatArray
from hpsearch.model.bundle import Calibration, ModelFacts, Provenance, calibrated, model_facts
from hpsearch.search.events import Listener
from hpsearch.search.task import Task
from hpsearch.storage.results import model_is_whole
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.inputs import StudyInputs


def forget_without_model(folder: RunDir, task: Task, listener: Listener) -> None:
    """Remove a training whose scores are on disk and whose model is not, to train it again."""
    place = folder.tasks / task.digest
    if place.is_dir() and not model_is_whole(folder.tasks, task.digest):
        listener.note(f"{place / 'model'}: lost or damaged; training it again")
        shutil.rmtree(place)


def provenance_of(
    inputs: StudyInputs,
    folder: RunDir,
    test: Estimate,
    *,
    trial: int | None = None,
    task: str = "",
    steps: int | None = None,
) -> Provenance:
    """Where a final model comes from.

    Args:
        inputs, folder: of its study.
        test: its test figure.
        trial, task, steps: of its training, where it is of one.
    """
    return Provenance(
        study=inputs.spec.study_name,
        trial=trial,
        task=task,
        steps=steps,
        dataset=inputs.dataset.name,
        data_fingerprint=inputs.dataset.fingerprint,
        test_auroc=test.auroc,
        test_auroc_interval=test.interval,
        versions=folder.environment()["versions"],
    )


def facts_of_model(inputs: StudyInputs, task: Task, provenance: Provenance) -> ModelFacts:
    """What the bundle of a final training says beside its tensors."""
    pixels = np.load(inputs.pixels[preprocessing_of(task.params)], mmap_mode="r")
    return model_facts(
        task,
        backbone=inputs.network(task.params),
        channels=pixels.shape[3],
        window=inputs.spec.dataset.window,
        provenance=provenance,
    )


def calibration_of(held_out: FloatArray, *, rate: float) -> Calibration | None:
    """The threshold from scores of held-out normals, None where they are too few for the rate."""
    return None if threshold_of(held_out, rate=rate) is None else calibrated(held_out, rate=rate)

"""Draw the example pictures of a final model: the only part of a report that needs the model."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.registry import load_dataset
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import remove_leftovers, write_directory_atomic
from hpsearch.io.processes import Progress, silent
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.reports.examples.store import (
    Chosen,
    Example,
    choose_examples,
    read_examples,
    write_index,
)
from hpsearch.storage.results import scores_at
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.result import FinalResult, final_runs

if TYPE_CHECKING:
    from hpsearch.model.images import Seen
    from hpsearch.model.model import AnyModel

_SHOWN_SIDE = 192  # px at least, so that a small image can be seen


def key_of(result: FinalResult) -> str:
    """What the pictures depend on: the model, and the threshold that scales the maps."""
    threshold = result.flagging.threshold.threshold if result.flagging else None
    models = result.tasks if result.members else result.tasks[0]
    text = json.dumps([models, threshold])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_examples(
    folder: RunDir,
    result: FinalResult,
    roles: EvaluationRoles,
    *,
    cache_dir: Path,
    device: str = "auto",
    dataset: Dataset | None = None,
    progress: Progress = silent,
) -> tuple[Example, ...]:
    """The examples of a final model, drawn unless they are there; for the holder of the lock.

    Args:
        folder: of the study.
        result: of the final model.
        roles: the test images that its figures are of.
        cache_dir: where generated data are kept.
        device: as `hpsearch.load` takes it.
        dataset: of the study, where it is in memory already.
        progress: told how many pictures are drawn.

    Raises:
        UserError: the images, the weights or the model are gone or are others.
    """
    target, key = folder.examples(result.name), key_of(result)
    known = read_examples(target, key)
    if known is not None:
        return known
    # These import torch, which takes seconds: who finds the pictures there should not wait for it.
    from hpsearch.model.model import load_model
    from hpsearch.study.inputs import request_of

    spec = folder.spec()
    if dataset is None:
        request = request_of(spec.dataset)
        dataset = load_dataset(request, cache_dir=cache_dir, progress=progress)
    dataset = folder.known_images(dataset)
    if dataset.fingerprint != folder.environment()["data_fingerprint"]:
        raise DataError(f"{dataset.name}: the images are others than when the study began")
    chosen = _choose(folder, result, roles, dataset)
    bundle = folder.model(result.name)
    model = load_model(bundle, device=device, backbone_weights=spec.backbone.weights)
    remove_leftovers(target)
    shutil.rmtree(target, ignore_errors=True)
    with write_directory_atomic(target) as partial:
        examples = _draw(model, chosen, dataset, partial, progress)
        write_index(partial, key, examples)
    return examples


def _choose(
    folder: RunDir, result: FinalResult, roles: EvaluationRoles, dataset: Dataset
) -> tuple[Chosen, ...]:
    run = final_runs(folder, result)[0]
    anomalies = np.concatenate([roles.seen, roles.unseen])
    scores = np.full(len(dataset.table), np.nan)
    for positions in (roles.normals, anomalies):
        scores[positions] = scores_at(run, dataset.table, positions)
    return choose_examples(scores, roles.normals, anomalies)


def _draw(
    model: "AnyModel",
    chosen: Sequence[Chosen],
    dataset: Dataset,
    folder: Path,
    progress: Progress,
) -> tuple[Example, ...]:
    from hpsearch.model.images import as_seen
    from hpsearch.model.predict.heat import overlay

    images = [dataset.open(choice.position) for choice in chosen]
    seen = [np.stack([as_seen(image, how) for image in images]) for how in model.preprocessings]
    heats = _heats(model, seen)
    how = model.preprocessings[model.mapped]
    start = (how.steps.size - how.resolution) // 2
    part = slice(start, start + how.resolution)
    shown = seen[model.mapped][:, part, part]
    examples = []
    for number, (choice, pixels) in enumerate(zip(chosen, shown, strict=True)):
        name = f"{number:02d}-{choice.kind}"
        covered = None if heats is None else f"{name}-overlay.png"
        _save(pixels, folder / f"{name}.png")
        if heats is not None and covered is not None:
            _save(overlay(pixels, heats[number]), folder / covered)
        row = dataset.table.iloc[choice.position]
        facts = (str(row["image_id"]), str(row["anomaly_type"]), choice.score)
        examples.append(Example(choice.kind, *facts, f"{name}.png", covered))
        progress("drawing examples", number + 1, len(chosen))
    return tuple(examples)


def _heats(model: "AnyModel", seen: "Seen") -> NDArray[np.float64] | None:
    """Maps from 0 to 1, at twice the threshold; None where the detector has none."""
    try:
        maps = model.maps_seen(seen)
    except SpecError:
        return None
    calibration = model.facts.calibration
    top = 2 * calibration.threshold if calibration else float(maps.max())
    heats: NDArray[np.float64] = (maps / (top or 1.0)).clip(0, 1).astype(np.float64)
    return heats


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    times = max(1, -(-_SHOWN_SIDE // len(pixels)))
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.resize((len(pixels) * times,) * 2, Image.Resampling.NEAREST).save(path, optimize=True)

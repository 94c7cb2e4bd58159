"""Score images block by block into a table; a run that was stopped goes on where it was."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsearch.datasets.pixels import VERSION
from hpsearch.errors import DataError
from hpsearch.io.processes import Progress, silent
from hpsearch.io.text import printable
from hpsearch.model.model import AnyModel
from hpsearch.model.predict.heat import HeatMaps
from hpsearch.model.predict.inputs import Decoded, ImageBlock, Input, decoded_blocks
from hpsearch.model.predict.tables import (
    BlockFiles,
    ScoreRow,
    check_table,
    kept_blocks,
    write_table,
    write_unreadable,
)

BATCH = 128  # images


@dataclass(frozen=True)
class Prediction:
    """What was written.

    Attributes:
        out: the table of scores.
        unreadable: the list of images without a score, None where there are none.
        n_scored: images in the table.
        n_unreadable: images in the list.
        n_anomalies: images that are called anomalous, None without a calibration.
        n_many_frames: images of files with further frames, which are not scored.
        n_before: images that an earlier run had done.
        images_per_second: of those that this run has done.
    """

    out: Path
    unreadable: Path | None
    n_scored: int
    n_unreadable: int
    n_anomalies: int | None
    n_many_frames: int
    n_before: int
    images_per_second: float


def predict(
    model: AnyModel,
    images: Sequence[Input],
    out: Path,
    *,
    maps: Path | None = None,
    batch_size: int = BATCH,
    workers: int | None = None,
    progress: Progress = silent,
) -> Prediction:
    """Write score, p-value and flag of each image to `out`, in the order of `images`.

    Memory does not grow with the number of images, but for their names. Images that cannot be read
    are left out and listed in `<stem>.unreadable.csv` beside `out`.

    Args:
        model: to score with.
        images: which.
        out: a CSV or Parquet file; it appears when all is done.
        maps: folder for a heat map and an overlay of each image.
        batch_size: images that are decoded, scored and written together.
        workers: processes that decode, None for half of the cores.
        progress: told after each batch.

    Raises:
        SpecError: `out` has another suffix, or the detector has no maps.
        DataError: `out` cannot be written, or no image at all can be read: then there is the list,
            and no table.
    """
    check_table(out)
    blocks = [
        ImageBlock(number, tuple(images[start : start + batch_size]), model.preprocessings)
        for number, start in enumerate(range(0, len(images), batch_size))
    ]
    heat = HeatMaps(model, maps) if maps else None
    started = time.monotonic()
    with kept_blocks(out, _key(model, images, batch_size, maps)) as kept:
        waiting = [block for block in blocks if not kept.has(block.number)]
        n_before = done = len(images) - sum(len(block.images) for block in waiting)
        for block, decoded in decoded_blocks(waiting, workers=workers):
            if heat:
                first = block.number * batch_size
                ids = (image.image_id for image in block.images)
                heat.write({image: first + place for place, image in enumerate(ids)}, decoded)
            kept.write(block.number, _rows(model, block, decoded))
            done += len(block.images)
            progress("scoring", done, len(images))
        seconds = time.monotonic() - started
        rate = (len(images) - n_before) / seconds
        has_calibration = model.facts.calibration is not None
        prediction = _finish(kept, len(blocks), out, has_calibration, n_before=n_before, rate=rate)
    if not prediction.n_scored:  # only now, so that the kept are gone and a rerun reads anew
        what = f"none of {prediction.n_unreadable:,} images can be read"
        where = printable(str(prediction.unreadable))
        raise DataError(f"{what}; {where} says why of each, mend or convert them")
    return prediction


def _rows(model: AnyModel, block: ImageBlock, decoded: Decoded) -> list[ScoreRow]:
    """Of every image of the block, in its order."""
    scores = model.score_seen(decoded.seen)
    if model.facts.calibration:
        p_values: list[float] | list[None] = model.p_values(scores).tolist()
        flags: list[bool] | list[None] = model.is_anomaly(scores).tolist()
    else:
        p_values, flags = [None] * len(scores), [None] * len(scores)
    known = {
        image.image_id: ScoreRow(image.image_id, score, p_value, flag, frames=shown.frames)
        for image, score, p_value, flag, shown in zip(
            decoded.images, scores.tolist(), p_values, flags, decoded.facts, strict=True
        )
    }
    return [
        known.get(image.image_id)
        or ScoreRow(image.image_id, None, None, None, decoded.unreadable[image.image_id])
        for image in block.images
    ]


def _finish(
    kept: BlockFiles, n_blocks: int, out: Path, has_calibration: bool, *, n_before: int, rate: float
) -> Prediction:
    def rows() -> Iterator[ScoreRow]:
        for number in range(n_blocks):
            yield from kept.rows(number)

    n_scored = n_unreadable = n_anomalies = n_many_frames = 0
    for row in rows():
        n_scored += not row.reason
        n_unreadable += bool(row.reason)
        n_anomalies += bool(row.is_anomaly)
        n_many_frames += row.frames > 1
    unreadable = out.with_name(f"{out.stem}.unreadable.csv")
    if n_unreadable:
        write_unreadable(unreadable, (row for row in rows() if row.reason))
    else:
        unreadable.unlink(missing_ok=True)  # of an earlier run
    if n_scored:
        write_table(out, (row for row in rows() if not row.reason))
    return Prediction(
        out=out,
        unreadable=unreadable if n_unreadable else None,
        n_scored=n_scored,
        n_unreadable=n_unreadable,
        n_anomalies=n_anomalies if has_calibration else None,
        n_many_frames=n_many_frames,
        n_before=n_before,
        images_per_second=rate,
    )


def _key(model: AnyModel, images: Iterable[Input], batch_size: int, maps: Path | None) -> str:
    """Tells this job from any other: pixels, model, batches, and each image's state."""
    digest = hashlib.sha256(model.facts.to_json().encode())
    digest.update(json.dumps([VERSION, batch_size, str(maps)]).encode())
    for image in images:
        try:
            status = image.path.stat()
            state = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):
            state = []
        digest.update(json.dumps([image.image_id, str(image.path), *state]).encode())
    return digest.hexdigest()

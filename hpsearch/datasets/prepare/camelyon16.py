"""The slides of Camelyon16 to the paper's tiles and their manifest (section 4.1.1.1).

    <out>/manifest.csv             one row a tile; written last
    <out>/settings.json            what decides the tiles
    <out>/target.png               the tile to whose stains the others are normalised
    <out>/slides/<slide>/*.png     a slide's tiles, named by their place at level 0
    <out>/slides/<slide>/slide.json
    <out>/thumbnails/<slide>.png   the slide, its tissue and its tiles, for people to look at

A slide's folder appears whole or not at all; a run that was killed goes on with the slides that
have none. All training slides with a tumour are tiled; how many of them a search may learn of is
for the study's label budget (the paper: 4 slides, 50 tiles of each).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hpsearch.datasets.manifest import MANIFEST
from hpsearch.datasets.prepare.challenge import LEFT_OUT, ChallengeSlide, find_slides
from hpsearch.datasets.prepare.patches import ManifestRow, PreparedTiles, write_manifest
from hpsearch.datasets.prepare.settings import (
    SETTINGS_FILE,
    TilingSettings,
    check_same,
    check_slides,
    check_space_for_tiles,
    write_settings,
)
from hpsearch.datasets.prepare.stains.normaliser import normaliser
from hpsearch.datasets.prepare.tiling import (
    SLIDES,
    TARGET,
    THUMBNAILS,
    BadSlide,
    TilingJob,
    choose_target,
    read_record,
    read_target,
    slide_folder,
    target_digest,
    thumbnail_file,
    tile_name,
    tile_slide,
    write_target,
)
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import remove_leftovers
from hpsearch.io.processes import Reporter, each_in_processes
from hpsearch.io.text import printable

_LOCK = ".lock"


def prepare_camelyon16(
    slides: Path,
    out: Path,
    settings: TilingSettings,
    *,
    target: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    reporter: Reporter,
) -> PreparedTiles:
    """Tile every slide below `slides` into `out`, or go on where that was stopped.

    Args:
        slides: the challenge's folder, in a layout of `hpsearch.datasets.prepare.challenge`.
        out: a new folder, or one that was begun with the same settings.
        settings: what decides the tiles; its `target` is set from the argument `target`.
        target: the file of a target tile, None for that of `choose_target`.
        workers: processes, None for one a core.
        device: of the stain normalisation, `cpu` or `cuda`.
        reporter: told of progress, of what is left out, and of bad slides.

    Raises:
        UserError: whatever is wrong, in one line. Bad slides are told of as they are met; the
            others are tiled, and the error at the end names the first.
        HpsearchError: a worker died.
    """
    cores = joblib.cpu_count()
    workers = cores if workers is None else workers
    if not 1 <= workers <= cores:
        rule = f"must be from 1 to {cores}, the cores of this machine"
        raise SpecError(f"workers {rule}, got {workers}")
    named = None if target is None else read_target(target)
    if named is not None:
        settings = replace(settings, target=target_digest(named))
    try:
        check_same(out, settings)
        every = find_slides(slides)
        used = [slide for slide in every if slide.name not in LEFT_OUT]
        to_do = [slide for slide in used if read_record(slide_folder(out, slide.name)) is None]
        if to_do:
            check_slides(to_do, settings, reporter)
            check_space_for_tiles(out, settings, to_do, reporter)
        tile = _new_target(out, used, settings, named, device, reporter)
        jobs = [TilingJob(slide, settings, out, device, cores // workers) for slide in to_do]
        with _sole_writer(out):
            check_same(out, settings)  # again: another run may have begun it since
            folders = (slide_folder(out, slide.name) for slide in to_do)
            pictures = (thumbnail_file(out, slide.name) for slide in to_do)
            # Of a run that was killed while it wrote.
            for written in (out / SETTINGS_FILE, out / TARGET, out / MANIFEST, *folders, *pictures):
                remove_leftovers(written)
            write_settings(out, settings)
            if tile is not None:
                write_target(tile, out / TARGET)
            _tile(jobs, done=len(used) - len(jobs), workers=workers, reporter=reporter)
            return _finish(out, every)
    except OSError as error:
        what = f"cannot be read or written ({printable(error.strerror or error)})"
        remedy = "mend that and run the same command again"
        raise DataError(f"{printable(error.filename or out)}: {what}; {remedy}") from error


@contextmanager
def _sole_writer(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / _LOCK, timeout=0):
            yield
    except Timeout as error:
        what = "is being prepared by another process"
        raise DataError(f"{printable(out)}: {what}; wait for it or give another folder") from error


def _new_target(
    out: Path,
    slides: Sequence[ChallengeSlide],
    settings: TilingSettings,
    named: NDArray[np.uint8] | None,
    device: str,
    reporter: Reporter,
) -> NDArray[np.uint8] | None:
    """The target tile to begin with, found to be of use; None where none is needed."""
    if settings.stain == "none" or (out / TARGET).exists():
        return None
    tile = named
    if tile is None:
        tile, slide = choose_target(slides, settings)
        reporter.note(f"stains are normalised to a tile of {slide}, kept in {TARGET}")
    normaliser(settings.stain, tile, device=device)
    return tile


def _tile(jobs: Sequence[TilingJob], *, done: int, workers: int, reporter: Reporter) -> None:
    """Tile the slides; tell of bad ones and go on, for a damaged file should not cost a night."""
    total = done + len(jobs)
    bad: list[str] = []
    reporter.progress("tiling slides", done, total)
    for _, result in each_in_processes(tile_slide, jobs, workers=min(workers, len(jobs) or 1)):
        if isinstance(result, BadSlide):
            bad.append(result.message)
            reporter.note(f"error: {result.message}")
        done += 1
        reporter.progress("tiling slides", done, total)
    if bad:
        rest = f"({len(bad)} such slides; the other {total - len(bad)} are done)"
        raise DataError(f"{bad[0]} {rest}, then run the same command again")


def _finish(out: Path, slides: Sequence[ChallengeSlide]) -> PreparedTiles:
    rows: list[ManifestRow] = []
    left_out: list[tuple[str, str]] = []
    for slide in slides:
        if slide.name in LEFT_OUT:
            left_out.append((slide.name, LEFT_OUT[slide.name]))
            continue
        record = read_record(slide_folder(out, slide.name))
        if record is None:
            raise DataError(f"{slide.name}: its tiles are gone; run the same command again")
        if record.left_out:
            left_out.append((slide.name, record.left_out))
        rows += [
            ManifestRow(
                image_path=f"{SLIDES}/{slide.name}/{tile_name(corner)}",
                label_index=int(not slide.is_normal),
                split=slide.split,
                anomaly_type="" if slide.is_normal else slide.name,
                group=slide.name,
                metastasis=slide.metastasis,
            )
            for corner in record.corners
        ]
    manifest = write_manifest(out, rows)
    return PreparedTiles(manifest, tuple(rows), tuple(left_out), out / THUMBNAILS)

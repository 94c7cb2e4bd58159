"""`hpsearch prepare`: what a source gives, to images that a study reads."""

import json as json_format
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import JsonOption
from hpsearch.cli.screen import say
from hpsearch.datasets.nih import MULTI_LABELS, NIH_SETS, finding_counts, parse_multi_label
from hpsearch.datasets.nih_copies import NIH_SIDE
from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.patches import WHAT_IS_LOST, PreparedTiles, prepare_patches
from hpsearch.datasets.prepare.settings import MAGNIFICATIONS, TilingSettings
from hpsearch.datasets.prepare.stains.normaliser import STAINS, parse_stain
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.table import ANOMALY, NORMAL, SPLITS, Dataset
from hpsearch.errors import SpecError
from hpsearch.io.cache import cache_dir
from hpsearch.io.text import printable

_KINDS = {NORMAL: "normal", ANOMALY: "tumour"}
NIH_NAMES = tuple(source.name for source in NIH_SETS)

prepare_app = typer.Typer(
    name="prepare", help="Turn what a source gives into images for a study.", no_args_is_help=True
)


@prepare_app.callback()
def _common() -> None:
    """Turn what a source gives into images for a study."""


@prepare_app.command()
def camelyon16(
    slides: Annotated[
        Path | None, typer.Option(help="Folder of the challenge's slides (training, testing).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tiles.")] = None,
    patches: Annotated[
        Path | None,
        typer.Option(help="Instead of slides: patches in train/good, test/good, test/Ungood."),
    ] = None,
    stain: Annotated[str, typer.Option(help=f"Normalisation: {', '.join(STAINS)}.")] = STAINS[0],
    target: Annotated[
        Path | None, typer.Option(help="Image whose stains to take; one is chosen by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of tiles.")] = 0,
    tile_size: Annotated[int, typer.Option(help="Side of a tile at x40, in px.")] = 768,
    magnification: Annotated[
        int, typer.Option(help=f"Of the tiles: {', '.join(map(str, MAGNIFICATIONS))}.")
    ] = MAGNIFICATIONS[0],
    tiles_per_slide: Annotated[int, typer.Option(help="At most so many of a slide.")] = 50,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one a core by default.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Of the normalisation: cpu or cuda.")] = "cpu",
    json: JsonOption = False,
) -> None:
    """Cut the slides of Camelyon16 into the paper's tiles; goes on where it was stopped.

    At most 50 tiles of 768 px a slide at x40, tissue only; those of slides with a tumour lie wholly
    inside its annotation. OUT/thumbnails shows what of each slide is taken for tissue. Slides of
    x20 give tiles with --magnification 20: the same tissue in 384 px.
    Then: hpsearch run --dataset camelyon16 --root OUT.
    """
    with listener_for(json=json) as listener:
        if patches is not None:
            if slides is not None or out is not None:
                raise SpecError("--patches: takes no --slides and no --out; leave them out")
            prepared = prepare_patches(patches)
            listener.note(WHAT_IS_LOST)
        else:
            if slides is None or out is None:
                raise SpecError("camelyon16: give --slides DIR and --out DIR, or --patches DIR")
            prepared = prepare_camelyon16(
                slides,
                out,
                TilingSettings(
                    seed,
                    parse_stain(stain),
                    tile_size,
                    tiles_per_slide,
                    magnification=magnification,
                ),
                target=target,
                workers=workers,
                device=device,
                reporter=listener,
            )
    _print_tiles(prepared, json=json)


@prepare_app.command()
def nih(
    root: Annotated[
        Path | None, typer.Option(help="Folder of the table, the lists, and the images or tars.")
    ] = None,
    dataset: Annotated[str, typer.Option(help=f"{', '.join(NIH_NAMES)}.")] = NIH_NAMES[0],
    multi_label: Annotated[
        str,
        typer.Option(help="X-rays of several findings to search with: pure (aside), first (kept)."),
    ] = MULTI_LABELS[0],
    json: JsonOption = False,
) -> None:
    """Reduce the X-rays of an NIH set to 300 px, ahead of a study; goes on where it was stopped.

    A study makes these copies itself where they are missing. They take some 60 kB an image in the
    cache folder (HPSEARCH_CACHE). Then: hpsearch run --dataset nih-pa --root DIR.
    """
    if dataset not in NIH_NAMES:
        raise SpecError(
            f"--dataset '{printable(dataset)[:50]}': give one of {', '.join(NIH_NAMES)}"
        )
    request = DatasetRequest(dataset, root=root, multi_label=parse_multi_label(multi_label))
    with listener_for(json=json) as listener:
        loaded = load_dataset(request, cache_dir=cache_dir(), progress=listener.progress)
    _print_findings(loaded, request, json=json)


def _print_findings(loaded: Dataset, request: DatasetRequest, *, json: bool) -> None:
    counts = finding_counts(loaded.table).rename(index={"": "normal"})
    if json:
        images = {split: counts[split].to_dict() for split in SPLITS}
        copies = str(loaded.root)
        print(json_format.dumps({"copies": copies, "images": images, "notes": loaded.notes}))
        return
    width = max(map(len, counts.index))
    say(f"{request.name:<{width}}" + "".join(f"{split:>9}" for split in SPLITS))
    for finding, numbers in counts.iterrows():
        say(f"{finding:<{width}}" + "".join(f"{numbers[split]:>9,}" for split in SPLITS))
    for note in loaded.notes:
        say(note)
    say(f"copies of {NIH_SIDE} px are in {loaded.root}; now:")
    ways = "" if request.multi_label == MULTI_LABELS[0] else f" --multi-label {request.multi_label}"
    command = f"hpsearch run --dataset {request.name} --root {quote(str(request.root))}{ways}"
    say(f"{command} --n-anomaly-types 1 --n-examples 20")


def _print_tiles(prepared: PreparedTiles, *, json: bool) -> None:
    counts = Counter[tuple[str, int]]((row.split, row.label_index) for row in prepared.rows)
    if json:
        tiles = {
            f"{split}_{_KINDS[label]}": counts[split, label]
            for split in SPLITS
            for label in (NORMAL, ANOMALY)
        }
        told = {
            "manifest": str(prepared.manifest.absolute()),
            "thumbnails": str(prepared.thumbnails.absolute()) if prepared.thumbnails else None,
            "tiles": tiles,
            "left_out": dict(prepared.left_out),
        }
        print(json_format.dumps(told))
        return
    for name, reason in prepared.left_out:
        say(f"left out: {name}: {reason}")
    for split in SPLITS:
        words = (f"{counts[split, label]:,} {_KINDS[label]}" for label in (NORMAL, ANOMALY))
        say(f"{split}: {', '.join(words)} tiles")
    if prepared.thumbnails is not None:
        say(f"{prepared.thumbnails} shows the tissue and the tiles of each slide: look at them")
    say(f"{prepared.manifest} lists them; now:")
    folder = quote(str(prepared.manifest.parent))
    say(f"hpsearch run --dataset camelyon16 --root {folder} --n-anomaly-types 1 --n-examples 20")

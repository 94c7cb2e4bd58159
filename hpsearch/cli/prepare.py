"""`hpsearch prepare`: what a source gives, to images that a study reads."""

import json as json_format
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import JsonOption
from hpsearch.datasets.table import ANOMALY, NORMAL, SPLITS
from hpsearch.errors import SpecError
from hpsearch.prepare.camelyon16 import prepare_camelyon16
from hpsearch.prepare.manifest import PreparedTiles
from hpsearch.prepare.patches import WHAT_IS_LOST, prepare_patches
from hpsearch.prepare.settings import STAINS, TilingSettings, parse_stain

KINDS = {NORMAL: "normal", ANOMALY: "tumour"}

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
    tiles_per_slide: Annotated[int, typer.Option(help="At most so many of a slide.")] = 50,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one a core by default.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Of the normalisation: cpu or cuda.")] = "cpu",
    json: JsonOption = False,
) -> None:
    """Cut the slides of Camelyon16 into the paper's tiles; goes on where it was stopped.

    At most 50 tiles of 768 px a slide at x40, tissue only; those of slides with a tumour lie wholly
    inside its annotation. Then: hpsearch run --dataset camelyon16 --root OUT.
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
                TilingSettings(seed, parse_stain(stain), tile_size, tiles_per_slide),
                target=target,
                workers=workers,
                device=device,
                listener=listener,
            )
    _print(prepared, json=json)


def _print(prepared: PreparedTiles, *, json: bool) -> None:
    counts = Counter[tuple[str, int]]((row.split, row.label_index) for row in prepared.rows)
    if json:
        tiles = {
            f"{split}_{KINDS[label]}": counts[split, label]
            for split in SPLITS
            for label in (NORMAL, ANOMALY)
        }
        manifest = str(prepared.manifest.absolute())
        print(
            json_format.dumps(
                {"manifest": manifest, "tiles": tiles, "left_out": dict(prepared.left_out)}
            )
        )
        return
    for name, reason in prepared.left_out:
        print(f"left out: {name}: {reason}")
    for split in SPLITS:
        words = (f"{counts[split, label]:,} {KINDS[label]}" for label in (NORMAL, ANOMALY))
        print(f"{split}: {', '.join(words)} tiles")
    print(f"{prepared.manifest} lists them; now:")
    folder = prepared.manifest.parent
    print(f"hpsearch run --dataset camelyon16 --root {folder} --n-anomaly-types 1 --n-examples 20")

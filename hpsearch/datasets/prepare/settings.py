"""What decides the tiles, kept in the folder of the tiles so that a restart goes on alike.

And what can be found out in seconds before hours of tiling: bad files, and a disk too small.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hpsearch.datasets.prepare.challenge import ChallengeSlide
from hpsearch.datasets.prepare.slides import UNSAID, open_slide, reduction_to
from hpsearch.datasets.prepare.stains.normaliser import StainName
from hpsearch.datasets.prepare.tissue import PIXELS_A_CELL, TISSUE_RULE
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import write_text_atomic
from hpsearch.io.processes import Reporter
from hpsearch.io.text import printable

MIN_TILE_SIZE = 24  # px
MAGNIFICATIONS = (40, 20, 10)

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class TilingSettings:
    """How slides become tiles; the defaults are the paper's (section 4.1.1.1).

    Tiles are stored at x40. x20 and x10 are bilinear halvings of them, which a study makes: the
    thirds of 768 px tiles that `studies/camelyon16.yaml` crops are 256 px at x40, and its
    resolutions 128 and 64 are those at x20 and x10. Where some slides are of x20, tiles of the same
    tissue at x20 are enough for the resolutions 128 and 64; all slides give them alike, for tiles
    of some slides that are sharper than those of others would be told by it.

    Attributes:
        seed: of the random choice of tiles.
        stain: the normalisation.
        tile_size: side of a tile in px at x40; at `magnification` a multiple of 3 (the thumbnail's
            pixels along a tile).
        tiles_per_slide: at most so many of each slide.
        target: digest of the target tile that the user names; "" where the rule chooses it.
        magnification: of the tiles, of `MAGNIFICATIONS`.

    Raises:
        SpecError: a value breaks its rule.
    """

    seed: int = 0
    stain: StainName = "vahadane"
    tile_size: int = 768
    tiles_per_slide: int = 50
    target: str = ""
    magnification: int = MAGNIFICATIONS[0]

    def __post_init__(self) -> None:
        if self.magnification not in MAGNIFICATIONS:
            known = ", ".join(map(str, MAGNIFICATIONS))
            raise SpecError(f"magnification {self.magnification}: give one of {known}")
        halving = MAGNIFICATIONS[0] // self.magnification
        if self.side < MIN_TILE_SIZE or self.tile_size % (PIXELS_A_CELL * halving):
            rule = f"give a multiple of {PIXELS_A_CELL * halving} from {MIN_TILE_SIZE * halving}"
            raise SpecError(f"tile size {self.tile_size}: {rule}, such as 768")
        if self.tiles_per_slide < 1:
            raise SpecError(f"tiles per slide {self.tiles_per_slide}: give at least 1")
        if self.seed < 0:
            raise SpecError(f"seed {self.seed}: give 0 or more")
        if self.target and self.stain == "none":
            raise SpecError("target: stain none has no use for one; leave it out")

    @property
    def side(self) -> int:
        """Of a stored tile, in px."""
        return self.tile_size * self.magnification // MAGNIFICATIONS[0]

    @property
    def largest_slide_bytes(self) -> int:
        """What a slide's tiles can take on the disk: a PNG is hardly larger than its pixels."""
        return self.tiles_per_slide * self.side**2 * 3


def check_same(out: Path, settings: TilingSettings) -> None:
    """Refuse to go on in a folder that was begun with other settings, or holds something else.

    Raises:
        DataError: it is so; the message names the first difference.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{printable(out)}: is a file; give a folder for the tiles")
    if not (out / SETTINGS_FILE).exists():
        if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            what = "holds other files and no tiles that were begun here"
            raise DataError(f"{printable(out)}: {what}; give a new or empty folder")
        return
    try:
        kept = json.loads((out / SETTINGS_FILE).read_text(encoding="utf-8"))
        began = {"tissue_rule": 1, "magnification": MAGNIFICATIONS[0], **kept}
        pairs = {name: (began[name], value) for name, value in asdict(settings).items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"is damaged ({printable(error)})"
        raise DataError(f"{printable(out / SETTINGS_FILE)}: {what}; give another folder") from error
    if began["tissue_rule"] != TISSUE_RULE:
        what = "was begun by a version that finds other tissue in the slides"
        raise DataError(f"{printable(out)}: {what}; give another folder")
    for name, (old, new) in pairs.items():
        if old != new:
            what = f"was begun with {name.replace('_', ' ')} {_said(old)}, not {_said(new)}"
            raise DataError(f"{printable(out)}: {what}; give the same options or another folder")


def write_settings(out: Path, settings: TilingSettings) -> None:
    """Keep the settings with what they decide."""
    kept = {**asdict(settings), "tissue_rule": TISSUE_RULE}
    write_text_atomic(out / SETTINGS_FILE, json.dumps(kept, indent=1) + "\n")


def _said(value: str | int) -> str:
    return "chosen by rule" if value == "" else printable(value)[:12]


def check_slides(
    slides: Sequence[ChallengeSlide], settings: TilingSettings, reporter: Reporter
) -> None:
    """Open every slide and read every annotation; tell of what is odd and does no harm.

    Raises:
        DataError: a slide or an annotation is bad, or a slide is coarser than the tiles.
    """
    unsaid = []
    for done, source in enumerate(slides):
        reporter.progress("checking slides", done, len(slides))
        with open_slide(source.path) as slide:
            reduction_to(slide, settings.magnification)
            if slide.magnification is None:
                unsaid.append(source.name)
        if source.annotation is not None:
            for line in source.annotation.read().ignored:
                reporter.note(line)
    reporter.progress("checking slides", len(slides), len(slides))
    if unsaid:
        reporter.note(
            f"{len(unsaid)} slides say no magnification (first: {unsaid[0]}); "
            f"their level 0 is taken as x{UNSAID:.0f}"
        )


def check_space_for_tiles(
    out: Path, settings: TilingSettings, slides: Sequence[ChallengeSlide], reporter: Reporter
) -> None:
    """Say how much disk the tiles may need, and refuse where there is less.

    Raises:
        DataError: there is less.
    """
    needed = len(slides) * settings.largest_slide_bytes
    folder = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    need = f"{len(slides)} slides to tile need up to {_size(needed)} of disk"
    reporter.note(f"{need}; {_size(free)} are free in {printable(folder)}")
    if needed > free:
        remedy = "free space, give another folder or fewer tiles per slide"
        raise DataError(f"{printable(out)}: {need}, {_size(free)} are free; {remedy}")


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.1f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f} MB"

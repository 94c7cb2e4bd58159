"""What can be found out in seconds before hours of tiling: bad files, and a disk too small."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hpsearch.errors import DataError
from hpsearch.files import printable
from hpsearch.listener import Listener
from hpsearch.prepare.challenge import ChallengeSlide
from hpsearch.prepare.settings import TilingSettings
from hpsearch.prepare.slides import UNSAID, open_slide, reduction_to


def check_slides(
    slides: Sequence[ChallengeSlide], settings: TilingSettings, listener: Listener
) -> None:
    """Open every slide and read every annotation; tell of what is odd and does no harm.

    Raises:
        DataError: a slide or an annotation is bad, or a slide is coarser than the tiles.
    """
    unsaid = []
    for done, source in enumerate(slides):
        listener.progress("checking slides", done, len(slides))
        with open_slide(source.path) as slide:
            reduction_to(slide, settings.magnification)
            if slide.magnification is None:
                unsaid.append(source.name)
        if source.annotation is not None:
            for line in source.annotation.read().ignored:
                listener.note(line)
    listener.progress("checking slides", len(slides), len(slides))
    if unsaid:
        listener.note(
            f"{len(unsaid)} slides say no magnification (first: {unsaid[0]}); "
            f"their level 0 is taken as x{UNSAID:.0f}"
        )


def check_room(
    out: Path, settings: TilingSettings, slides: Sequence[ChallengeSlide], listener: Listener
) -> None:
    """Say how much disk the tiles may need, and refuse where there is less.

    Raises:
        DataError: there is less.
    """
    needed = len(slides) * settings.largest_slide_bytes
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    need = f"{len(slides)} slides to tile need up to {_size(needed)} of disk"
    listener.note(f"{need}; {_size(free)} are free in {printable(there)}")
    if needed > free:
        mend = "free space, give another folder or fewer tiles per slide"
        raise DataError(f"{printable(out)}: {need}, {_size(free)} are free; {mend}")


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.1f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f} MB"

"""A small challenge: pyramidal tiled slides of x40 in two stains, with annotations of ASAP."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.patches import PreparedTiles
from hpsearch.datasets.prepare.settings import TilingSettings

SIDE = 96  # of a tile; the thumbnail is then the 32nd scale
WIDTH, HEIGHT = 16 * SIDE, 12 * SIDE
MICRONS = 0.243
GLASS = (243, 241, 244)
STAINS = {"pink": (214, 138, 186), "blue": (150, 118, 196)}  # as two laboratories stain
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Ellipse:
    """Tissue of known shape, in px of level 0."""

    x: float
    y: float
    width: float
    height: float

    def mask(self, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.bool_]:
        rows, columns = np.ogrid[:height, :width]
        return ((columns - self.x) / self.width) ** 2 + ((rows - self.y) / self.height) ** 2 <= 1


TISSUE = Ellipse(800, 600, 640, 480)
TUMOUR: Points = ((480, 300), (1150, 340), (1100, 860), (520, 800))
HOLE: Points = ((700, 500), (800, 480), (820, 620), (690, 600))
LESION: Points = ((860, 420), (1200, 420), (1200, 760), (860, 760))


def slide_pixels(tissue: Ellipse | None, stain: str, seed: int) -> NDArray[np.uint8]:
    """Grainy tissue with dark nuclei on glass, (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((HEIGHT, WIDTH, 3))
    pixels[:] = GLASS
    if tissue is not None:
        inside = tissue.mask()
        pixels[inside] = STAINS[stain]
        pixels[inside & (rng.random(inside.shape) < 0.2)] *= 0.6
    return (pixels + rng.normal(0, 4, (HEIGHT, WIDTH, 1))).clip(0, 255).astype(np.uint8)


PENS = {"blue": (35, 65, 165), "green": (30, 130, 70), "black": (38, 36, 42), "ink": (32, 30, 150)}
PEN: Points = ((60, 1000), (500, 700), (420, 300), (800, 80), (1300, 500))  # over tissue and glass
PEN_WIDTH = 100
GREY = (128, 128, 130)
RING = 120  # px from the edge
BUBBLES = ((300, 1000, 110), (820, 600, 150))  # x, y, radius; on glass, on tissue


def pen_mask() -> NDArray[np.bool_]:
    """Where `with_pen` draws."""
    mask = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(mask).line(list(PEN), fill=1, width=PEN_WIDTH, joint="curve")
    return np.asarray(mask)


def ring_mask() -> NDArray[np.bool_]:
    """Where `with_ring` lies."""
    mask = np.ones((HEIGHT, WIDTH), dtype=bool)
    mask[RING:-RING, RING:-RING] = False
    return mask


def bubble_mask() -> NDArray[np.bool_]:
    """The edges that `with_bubbles` draws."""
    outer, inner = (
        [Ellipse(x, y, radius - less, radius - less).mask() for x, y, radius in BUBBLES]
        for less in (0, 40)
    )
    edges = [out & ~within for out, within in zip(outer, inner, strict=True)]
    return np.logical_or.reduce(edges)


def with_pen(pixels: NDArray[np.uint8], pen: str) -> NDArray[np.uint8]:
    """A stroke of nearly opaque pen over a slide."""
    mask = pen_mask()
    marked = pixels.astype(float)
    marked[mask] = 0.9 * np.array(PENS[pen]) + 0.1 * marked[mask]
    return marked.astype(np.uint8)


def with_ring(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The scanner's grey frame around a slide."""
    marked = pixels.copy()
    marked[ring_mask()] = GREY
    return marked


def with_bubbles(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bubbles under the cover glass, whose edges let a third of the light through."""
    marked = pixels.copy()
    marked[bubble_mask()] //= 3
    return marked


def write_slide(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    levels: int = 6,
    microns: float | None = MICRONS,
    compression: str | None = None,
) -> Path:
    """A tiled TIFF with its pyramid, as openslide reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"resolution": (1e4 / microns,) * 2, "resolutionunit": "CENTIMETER"} if microns else {}
    common: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    common["compression"] = compression
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, **common, **known)
        level = pixels
        for _ in range(levels - 1):
            rows, columns = level.shape[0] // 2, level.shape[1] // 2
            quads = level[: rows * 2, : columns * 2].reshape(rows, 2, columns, 2, 3)
            level = np.rint(quads.mean(axis=(1, 3))).astype(np.uint8)
            file.write(level, subfiletype=1, **common)
    return path


def asap_xml(*outlines: tuple[str, Points]) -> str:
    """An annotation file as ASAP writes it: pairs of a group and its points."""
    annotations = "".join(
        f'<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{group}" Color="#F4">'
        "<Coordinates>"
        + "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points))
        + "</Coordinates></Annotation>"
        for number, (group, points) in enumerate(outlines)
    )
    return (
        f'<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>{annotations}</Annotations>\n'
        '\t<AnnotationGroups><Group Name="_0" PartOfGroup="None" Color="#00ff00">'
        "<Attributes /></Group></AnnotationGroups>\n</ASAP_Annotations>\n"
    )


OUTLINES: dict[str, tuple[tuple[str, Points], ...]] = {
    "tumor_001": (("_0", TUMOUR), ("_2", HOLE)),
    "tumor_002": (("_1", LESION), ("_0", TUMOUR[:3])),
    "test_001": (("Tumor", TUMOUR), ("Exclusion", HOLE)),
}
REFERENCE = "test_001,Tumor,IDC,Macro\ntest_002,Normal,None,None\n"


def _build(folder: Path) -> Path:
    """normal_002 is blank and normal_027 is on the list of those left out."""
    slides = {
        "training/normal/normal_001": (TISSUE, "pink"),
        "training/normal/normal_002": (None, "pink"),
        "training/normal/normal_003": (Ellipse(700, 560, 560, 420), "blue"),
        "training/normal/normal_027": (TISSUE, "pink"),
        "training/tumor/tumor_001": (TISSUE, "blue"),
        "training/tumor/tumor_002": (TISSUE, "pink"),
        "testing/images/test_001": (TISSUE, "pink"),
        "testing/images/test_002": (TISSUE, "blue"),
    }
    for seed, (place, (tissue, stain)) in enumerate(slides.items()):
        write_slide(folder / f"{place}.tif", slide_pixels(tissue, stain, seed))
    for name, outlines in OUTLINES.items():
        part = "training" if name.startswith("tumor") else "testing"
        file = folder / part / "lesion_annotations" / f"{name}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(asap_xml(*outlines))
    (folder / "testing/reference.csv").write_text(REFERENCE)
    return folder


@pytest.fixture(scope="session")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The challenge's folder in its own layout; not to be changed."""
    return _build(tmp_path_factory.mktemp("challenge"))


@pytest.fixture
def own_challenge(challenge: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage; the slides are links, to be replaced and not written to."""
    return Path(shutil.copytree(challenge, tmp_path / "challenge", copy_function=_link))


def _link(source: str, target: str) -> None:
    if source.endswith(".tif"):
        Path(target).symlink_to(source)
    else:
        shutil.copy(source, target)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))

    def trial(self, report: object) -> None:
        raise AssertionError("no trials here")

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """What the slides are made of and with, for tests that make their own."""
    return SimpleNamespace(
        side=SIDE,
        size=(WIDTH, HEIGHT),
        glass=GLASS,
        stains=STAINS,
        tissue=TISSUE,
        outlines=OUTLINES,
        pixels=slide_pixels,
        write=write_slide,
        xml=asap_xml,
        pens=PENS,
        marks={
            **{
                f"{pen} pen": (lambda pixels, pen=pen: with_pen(pixels, pen), pen_mask())
                for pen in PENS
            },
            "ring": (with_ring, ring_mask()),
            "bubbles": (with_bubbles, bubble_mask()),
        },
    )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def content() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes, but for locks."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def prepare(told: Told) -> Callable[..., PreparedTiles]:
    """Tiles slides in one worker: 12 tiles of 96 px, not normalised, where nothing else is said."""
    usual = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=12)

    def run(
        slides: Path, out: Path, settings: TilingSettings = usual, **options: Any
    ) -> PreparedTiles:
        return prepare_camelyon16(slides, out, settings, workers=1, reporter=told, **options)

    return run

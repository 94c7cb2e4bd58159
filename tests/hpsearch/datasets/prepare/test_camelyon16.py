from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hpsearch.datasets.manifest import OBTAINED_SETS, load_obtained
from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.patches import PreparedTiles
from hpsearch.datasets.prepare.settings import TilingSettings
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError

CAMELYON16 = next(source for source in OBTAINED_SETS if source.name == "camelyon16")
SIDE = 96
SETTINGS = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=12)
Content = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def tiles(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedTiles:
    """The small challenge, tiled with every tile that there is."""
    from hpsearch.search.events import SilentListener

    out = tmp_path_factory.mktemp("tiles") / "out"
    settings = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=1000)
    return prepare_camelyon16(challenge, out, settings, workers=1, reporter=SilentListener())


def corners(prepared: PreparedTiles, slide: str) -> list[tuple[int, int]]:
    rows = [row for row in prepared.rows if row.group == slide]
    names = [Path(row.image_path).stem.split("_") for row in rows]
    return [(int(x[1:]), int(y[1:])) for x, y in names]


def drawn(made: SimpleNamespace, slide: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks of what is annotated as tumour and as cut out, by another program's polygons."""
    masks = [Image.new("1", made.size) for _ in range(2)]
    for group, points in made.outlines[slide]:
        ImageDraw.Draw(masks[group in ("_2", "Exclusion")]).polygon(list(points), fill=1)
    return np.asarray(masks[0]), np.asarray(masks[1])


@pytest.mark.parametrize("slide", ["tumor_001", "tumor_002", "test_001"])
def test_every_tumour_tile_lies_in_its_polygon_and_no_other_does(
    tiles: PreparedTiles, made: SimpleNamespace, slide: str
) -> None:
    tumour, cut_out = drawn(made, slide)
    taken = set(corners(tiles, slide))
    assert taken
    assert all(row.label_index == 1 for row in tiles.rows if row.group == slide)
    for x in range(0, made.size[0], SIDE):
        for y in range(0, made.size[1], SIDE):
            inside = np.s_[
                y + 1 : y + SIDE - 1, x + 1 : x + SIDE - 1
            ]  # outlines are drawn 1 px off
            if (x, y) in taken:
                assert tumour[inside].all()
                assert not cut_out[inside].any()
                assert made.tissue.mask()[inside].all()
            elif slide != "tumor_002":  # has two outlines: a tile lies in one or in none
                whole = tumour[y : y + SIDE, x : x + SIDE].all()
                assert not whole or cut_out[y : y + SIDE, x : x + SIDE].any()


@pytest.mark.parametrize("slide", ["normal_001", "test_002"])
def test_normal_tiles_are_of_tissue_and_of_slides_without_tumour(
    tiles: PreparedTiles, made: SimpleNamespace, slide: str
) -> None:
    cells = made.tissue.mask().reshape(made.size[1] // SIDE, SIDE, -1, SIDE)
    share = cells.mean(axis=(1, 3))
    taken = {(y // SIDE, x // SIDE) for x, y in corners(tiles, slide)}
    assert {tuple(cell) for cell in np.argwhere(share == 1).tolist()} <= taken
    assert min(share[cell] for cell in taken) > 0.9
    normal = {row.group for row in tiles.rows if row.label_index == 0}
    assert normal == {"normal_001", "normal_003", "test_002"}


def test_tiles_are_the_slide_s_pixels(
    tiles: PreparedTiles, challenge: Path, made: SimpleNamespace
) -> None:
    pixels = made.pixels(made.tissue, "pink", 0)  # of normal_001
    for x, y in corners(tiles, "normal_001"):
        with Image.open(tiles.manifest.parent / f"slides/normal_001/x{x:06}_y{y:06}.png") as tile:
            np.testing.assert_array_equal(np.asarray(tile), pixels[y : y + SIDE, x : x + SIDE])


@pytest.mark.parametrize("slide", ["normal_001", "normal_002", "tumor_001"])
def test_a_picture_of_each_slide_shows_tissue_and_tiles(
    tiles: PreparedTiles, made: SimpleNamespace, slide: str
) -> None:
    assert tiles.thumbnails is not None
    with Image.open(tiles.thumbnails / f"{slide}.png") as picture:
        pixels = np.asarray(picture)
    zoom = 4 / (SIDE // 3)  # px of the picture along one of the slide
    width, height = (round(length * zoom) for length in made.size)
    assert pixels.shape == (height, 2 * width, 3)
    plain, marked = pixels[:, :width], pixels[:, width:]
    yellow = (marked == (255, 220, 0)).all(axis=2)
    drawn = {
        (y // SIDE, x // SIDE)
        for y in range(0, made.size[1], SIDE)
        for x in range(0, made.size[0], SIDE)
        if yellow[round(y * zoom), round(x * zoom) : round((x + SIDE) * zoom)].all()
    }
    assert drawn == {(y // SIDE, x // SIDE) for x, y in corners(tiles, slide)}
    assert (marked == (220, 0, 0)).all(axis=2).any() == (slide == "tumor_001")
    middle = np.s_[height // 2 - 8 : height // 2, width // 2 - 8 : width // 2]
    if slide == "normal_001":
        inner = marked[middle][2:-2, 2:-2]  # within a tile
        np.testing.assert_array_equal(inner, plain[middle][2:-2, 2:-2])
        assert (marked[:8, :8] >= plain[:8, :8]).all()


def test_a_marked_slide_gives_tiles_of_its_clean_tissue_alone(
    own_challenge: Path, tmp_path: Path, prepare: Any, made: SimpleNamespace
) -> None:
    pixels, covered = made.pixels(made.tissue, "pink", 0), np.zeros(made.size[::-1], dtype=bool)
    for mark in ("blue pen", "bubbles", "ring"):
        draw, where = made.marks[mark]
        pixels, covered = draw(pixels), covered | where
    (own_challenge / "training/normal/normal_001.tif").unlink()
    made.write(own_challenge / "training/normal/normal_001.tif", pixels)
    prepared = prepare(own_challenge, tmp_path / "out", TilingSettings(0, "none", SIDE, 1000))
    shares = [
        covered[y : y + SIDE, x : x + SIDE].mean() for x, y in corners(prepared, "normal_001")
    ]
    assert len(shares) > 30
    assert max(shares) < 0.1


def test_slides_of_x20_give_tiles_of_x20_at_their_own_scale(
    own_challenge: Path, tmp_path: Path, prepare: Any, made: SimpleNamespace
) -> None:
    path = own_challenge / "training/normal/normal_003.tif"
    path.unlink()
    fine = made.pixels(made.tissue, "blue", 2)
    coarse = fine.reshape(made.size[1] // 2, 2, made.size[0] // 2, 2, 3).mean(axis=(1, 3))
    coarse = coarse.astype(np.uint8)
    made.write(path, coarse, microns=0.5)
    with pytest.raises(DataError, match=r"normal_003.tif: .* x20, not x40; remove it, or give a"):
        prepare(own_challenge, tmp_path / "x40")
    assert not (tmp_path / "x40").exists()
    settings = TilingSettings(0, "none", SIDE, 1000, magnification=20)
    prepared = prepare(own_challenge, tmp_path / "x20", settings)
    half = SIDE // 2
    for slide, side, pixels in (("normal_003", half, coarse), ("normal_001", SIDE, None)):
        pixels = made.pixels(made.tissue, "pink", 0) if pixels is None else pixels
        found = corners(prepared, slide)
        assert len(found) > 80
        for x, y in found[::10]:
            file = tmp_path / f"x20/slides/{slide}/x{x:06}_y{y:06}.png"
            with Image.open(file) as tile:
                assert tile.size == (half, half)
                cut = pixels[y : y + side, x : x + side].reshape(half, side // half, half, -1, 3)
                assert np.abs(np.asarray(tile) - cut.mean(axis=(1, 3))).max() <= 0.5


def test_what_is_left_out_is_said(tiles: PreparedTiles) -> None:
    reasons = dict(tiles.left_out)
    assert set(reasons) == {"normal_002", "normal_027"}
    assert "no 96 px tile of it is wholly tissue" in reasons["normal_002"]
    assert not (tiles.manifest.parent / "slides/normal_027").exists()


def test_the_manifest_is_a_dataset(tiles: PreparedTiles) -> None:
    dataset: Dataset = load_obtained(CAMELYON16, root=tiles.manifest.parent)
    table = dataset.table
    assert len(table) == len(tiles.rows)
    assert table.groupby("group")["split"].nunique().eq(1).all()
    anomalies = table[table["label"] == 1]
    assert (anomalies["anomaly_type"] == anomalies["group"]).all()
    assert dataset.open(0).size == (SIDE, SIDE)


def test_one_seed_gives_one_set_whatever_the_workers_and_the_other_slides(
    own_challenge: Path,
    told: Any,
    tmp_path: Path,
    content: Content,
    prepare: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    prepare_camelyon16(own_challenge, tmp_path / "a", SETTINGS, workers=2, reporter=told)
    (own_challenge / "training/normal/normal_001.tif").unlink()
    prepared = prepare(own_challenge, tmp_path / "b")
    a, b = content(tmp_path / "a"), content(tmp_path / "b")
    assert {name for name in a if name not in b and "normal_001" not in name} == set()
    assert all(a[name] == b[name] for name in b if name != "manifest.csv")
    counts = {slide: len(corners(prepared, slide)) for slide in ("normal_003", "tumor_001")}
    assert counts == {"normal_003": 12, "tumor_001": 12}
    other = prepare(own_challenge, tmp_path / "c", TilingSettings(1, "none", SIDE, 12))
    assert corners(other, "normal_003") != corners(prepared, "normal_003")


def test_stains_are_normalised_to_the_target(
    challenge: Path, tmp_path: Path, prepare: Any, made: SimpleNamespace
) -> None:
    settings = TilingSettings(0, "vahadane", SIDE, 4)
    given = tmp_path / "blue.png"
    Image.fromarray(made.pixels(made.tissue, "blue", 5)[400:496, 600:696]).save(given)
    by_rule = mean_colours(prepare(challenge, tmp_path / "rule", settings))
    to_blue = mean_colours(prepare(challenge, tmp_path / "blue", settings, target=given))
    raw = mean_colours(prepare(challenge, tmp_path / "raw", TilingSettings(0, "none", SIDE, 4)))
    apart = {
        name: float(np.linalg.norm(colours["normal_001"] - colours["normal_003"]))
        for name, colours in (("raw", raw), ("rule", by_rule), ("blue", to_blue))
    }
    assert apart["rule"] < apart["raw"] / 4  # a pink and a blue slide
    assert apart["blue"] < apart["raw"] / 4
    blue = mean_colour(given)
    assert np.linalg.norm(to_blue["normal_001"] - blue) < apart["raw"] / 4
    with pytest.raises(DataError, match="begun with target chosen by rule, not"):
        prepare(challenge, tmp_path / "rule", settings, target=given)


def mean_colours(prepared: PreparedTiles) -> dict[str, np.ndarray]:
    """Of the first tile of each slide."""
    folder = prepared.manifest.parent
    return {row.group: mean_colour(folder / row.image_path) for row in prepared.rows[::-1]}


def mean_colour(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image).mean(axis=(0, 1))

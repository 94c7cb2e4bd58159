from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hpsearch.datasets.table import Dataset
from hpsearch.datasets.unavailable import OBTAINED_SETS, load_obtained
from hpsearch.errors import DataError
from hpsearch.prepare.camelyon16 import prepare_camelyon16
from hpsearch.prepare.manifest import PreparedTiles
from hpsearch.prepare.settings import TilingSettings

CAMELYON16 = next(source for source in OBTAINED_SETS if source.name == "camelyon16")
SIDE = 96
SETTINGS = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=12)
Content = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def tiles(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedTiles:
    """The small challenge, tiled with every tile that there is."""
    from hpsearch.listener import SilentListener

    out = tmp_path_factory.mktemp("tiles") / "out"
    settings = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=1000)
    return prepare_camelyon16(challenge, out, settings, workers=2, listener=SilentListener())


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
    own_challenge: Path, told: Any, tmp_path: Path, content: Content, prepare: Any
) -> None:
    prepare_camelyon16(own_challenge, tmp_path / "a", SETTINGS, workers=2, listener=told)
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

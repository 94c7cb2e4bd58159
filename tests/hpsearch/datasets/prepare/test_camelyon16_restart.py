"""What a run refuses, and how it goes on after what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

import hpsearch.datasets.prepare.settings
from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.settings import TilingSettings
from hpsearch.datasets.prepare.tiling import read_record
from hpsearch.errors import DataError, SpecError, UserError

SIDE = 96
SETTINGS = TilingSettings(stain="none", tile_size=SIDE, tiles_per_slide=12)


def test_a_second_run_does_nothing_again(
    challenge: Path,
    tmp_path: Path,
    content: Callable[[Path], dict[str, bytes]],
    prepare: Any,
    told: Any,
) -> None:
    prepare(challenge, tmp_path / "out")
    before = content(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    told.steps.clear()
    prepare(challenge, tmp_path / "out")
    assert content(tmp_path / "out") == before
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert told.steps == [("tiling slides", 7, 7)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"corners": 3}', "\0"])
def test_a_damaged_record_of_a_slide_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "slide.json").write_text(text)
    with pytest.raises(DataError, match=r"slide.json: is damaged; remove the folder") as caught:
        read_record(tmp_path)
    assert str(caught.value).isprintable()


def test_a_slide_with_damaged_pixels_costs_only_itself(
    own_challenge: Path, tmp_path: Path, prepare: Any, told: Any, made: SimpleNamespace
) -> None:
    path = own_challenge / "training/normal/normal_003.tif"
    path.unlink()
    pixels = made.pixels(made.tissue, "blue", 9)
    whole = made.write(path, pixels, levels=1, compression="zlib").read_bytes()
    middle = len(whole) // 2  # the header is whole, so that it shows only when a tile is read
    path.write_bytes(whole[:middle] + bytes(200_000) + whole[middle + 200_000 :])
    with pytest.raises(DataError, match=r"normal_003\.tif: is damaged at") as caught:
        prepare(own_challenge, tmp_path / "out")
    assert "1 such slides; the other 6 are done" in str(caught.value)
    assert str(caught.value).isprintable()
    assert told.notes[-1].startswith(f"error: {path}: is damaged")
    assert not (tmp_path / "out/manifest.csv").exists()
    names = {folder.name for folder in (tmp_path / "out/slides").iterdir()}
    assert len(names) == 6
    assert "normal_003" not in names
    path.write_bytes(whole)
    told.steps.clear()
    prepare(own_challenge, tmp_path / "out")
    assert ("tiling slides", 6, 7) in told.steps
    assert (tmp_path / "out/slides/normal_003/slide.json").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("training/normal/normal_003.tif", "is damaged or not a tiled slide"),
        ("training/lesion_annotations/tumor_002.xml", "is not well-formed XML"),
        ("testing/reference.csv", "names no test slide"),
    ],
)
def test_what_is_bad_is_refused_before_anything_is_written(
    own_challenge: Path, tmp_path: Path, prepare: Any, damage: str, says: str
) -> None:
    (own_challenge / damage).unlink()
    (own_challenge / damage).write_text("nonsense")
    with pytest.raises(DataError, match=says) as caught:
        prepare(own_challenge, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_slides_that_say_no_magnification_are_named(
    own_challenge: Path, tmp_path: Path, prepare: Any, told: Any, made: SimpleNamespace
) -> None:
    path = own_challenge / "training/normal/normal_003.tif"
    path.unlink()
    made.write(path, made.pixels(made.tissue, "blue", 2), microns=None)
    prepare(own_challenge, tmp_path / "out")
    assert any("1 slides say no magnification (first: normal_003)" in note for note in told.notes)


def test_a_disk_too_small_is_refused_first(
    challenge: Path, tmp_path: Path, prepare: Any, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 7 * 12 * SIDE**2 * 3 - 1
    monkeypatch.setattr(
        hpsearch.datasets.prepare.settings.shutil,
        "disk_usage",
        lambda _: SimpleNamespace(free=free),
    )
    with pytest.raises(DataError, match="7 slides to tile need up to 2 MB of disk") as caught:
        prepare(challenge, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_other_settings_and_other_runs_are_refused(
    challenge: Path, tmp_path: Path, prepare: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(DataError, match="by another process; wait"):
        prepare(challenge, out)
    prepare(challenge, out)
    assert json.loads((out / "settings.json").read_text())["tile_size"] == SIDE
    with pytest.raises(DataError, match="begun with tiles per slide 12, not 13"):
        prepare(challenge, out, TilingSettings(0, "none", SIDE, 13))
    with pytest.raises(SpecError, match="workers must be from 1"):
        prepare_camelyon16(challenge, out, SETTINGS, workers=0, reporter=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "white.png"}, "too little tissue"),
        ({"target": "none.png"}, "cannot be opened"),
        ({"device": "nonsense"}, "device 'nonsense' cannot be used"),
    ],
)
def test_what_normalisation_cannot_work_with_is_refused_before_anything_is_written(
    challenge: Path, tmp_path: Path, prepare: Any, options: dict[str, str], says: str
) -> None:
    Image.new("RGB", (SIDE, SIDE), "white").save(tmp_path / "white.png")
    given = {name: tmp_path / it if name == "target" else it for name, it in options.items()}
    with pytest.raises(UserError, match=says) as caught:
        prepare(challenge, tmp_path / "out", TilingSettings(0, "vahadane", SIDE, 4), **given)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()

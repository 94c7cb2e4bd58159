import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hpsearch.datasets import pixels
from hpsearch.datasets.pixels import (
    FITS,
    Fit,
    Preprocessing,
    central_part,
    load_pixels,
    load_variants,
    preprocess,
)
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError, SpecError

RNG = np.random.default_rng(0)


def make_dataset(root: Path, *images: Image.Image | bytes) -> Dataset:
    root.mkdir(exist_ok=True)
    names = [f"{position}.png" for position in range(len(images))]
    for name, image in zip(names, images, strict=True):
        if isinstance(image, bytes):
            (root / name).write_bytes(image)
        else:
            image.save(root / name)
    blank = {"label": 0, "anomaly_type": "", "group": "", "split": "train", "mask_path": ""}
    return Dataset("set", pd.DataFrame({"image_id": names, "path": names, **blank}), root=root)


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))


def stored_files(cache_dir: Path) -> list[str]:
    return [
        path.name
        for path in cache_dir.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".json")
    ]


def test_rows_are_the_preprocessed_images_in_order(tmp_path: Path) -> None:
    images = [noise(20, 30, 3), noise(40, 16, 3), noise(9, 9)]
    dataset = make_dataset(tmp_path / "data", *images)
    preprocessing = Preprocessing(12, central_crop=0.8)
    stored = load_pixels(dataset, preprocessing, cache_dir=tmp_path / "cache")
    assert (stored.shape, stored.dtype) == ((3, 12, 12, 3), np.uint8)
    for row, image in zip(stored, images, strict=True):
        expected = preprocess(image, preprocessing).convert("RGB")
        np.testing.assert_array_equal(row, np.asarray(expected))


def test_workers_change_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", *(noise(10, 10) for _ in range(70)))
    alone = load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path / "a", workers=1)
    both = load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path / "b", workers=2)
    np.testing.assert_array_equal(alone, both)


def test_second_call_maps_the_file_read_only(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", noise(10, 10))
    told: list[int] = []
    for _ in range(2):
        stored = load_pixels(
            dataset, Preprocessing(8), cache_dir=tmp_path, progress=lambda *call: told.append(1)
        )
    assert len(told) == 1
    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    assert len(stored_files(tmp_path / "pixels")) == 1


VARIANTS = (
    Preprocessing(8),
    Preprocessing(20, greyscale=True),
    Preprocessing(12, equalize=True, central_crop=0.8),
    Preprocessing(16, fit="crop"),
)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded in this process, in order."""
    names: list[str] = []
    read = pixels.read_image

    def reading(path: Path, **options: Any) -> Image.Image:
        names.append(path.name)
        return read(path, **options)

    monkeypatch.setattr(pixels, "read_image", reading)
    return names


@pytest.mark.parametrize("images", [[noise(20, 30, 3), noise(9, 14)], [noise(20, 30), noise(9, 9)]])
def test_each_image_is_decoded_once_for_all_variants(
    tmp_path: Path, opened: list[str], images: list[Image.Image]
) -> None:
    dataset = make_dataset(tmp_path / "data", *images)
    together = load_variants(dataset, VARIANTS, cache_dir=tmp_path / "together")
    assert opened == ["0.png", "1.png"]
    assert tuple(together) == VARIANTS
    for variant in VARIANTS:
        alone = load_pixels(dataset, variant, cache_dir=tmp_path / "alone")
        np.testing.assert_array_equal(together[variant], alone)
    one, other = (tmp_path / name / "pixels" for name in ("together", "alone"))
    for suffix in ("npy", "json"):
        files = sorted(one.glob(f"*.{suffix}"))
        assert len(files) == len(VARIANTS)
        for file in files:
            assert file.read_bytes() == (other / file.name).read_bytes()


def test_only_the_variants_that_are_missing_or_damaged_are_made(
    tmp_path: Path, opened: list[str]
) -> None:
    dataset = make_dataset(tmp_path / "data", noise(20, 30, 3), noise(9, 14))
    load_variants(dataset, VARIANTS[:3], cache_dir=tmp_path)
    kept, damaged, gone = sorted((tmp_path / "pixels").glob("*.npy"))
    before = kept.stat()
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    gone.unlink()
    opened.clear()
    load_variants(dataset, VARIANTS, cache_dir=tmp_path)
    assert opened == ["0.png", "1.png"]
    after = kept.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert damaged.read_bytes() == whole
    opened.clear()
    load_variants(dataset, VARIANTS, cache_dir=tmp_path)
    assert opened == []


def test_variants_are_told_of_and_refused_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glass = Image.new("RGBA", (9, 9), (9, 9, 9, 99))
    told: list[str] = []
    dataset = make_dataset(tmp_path / "data", glass)
    load_variants(dataset, VARIANTS, cache_dir=tmp_path, note=told.append)
    assert told == ["1 image transparent in part, laid on white"]
    bad = make_dataset(tmp_path / "bad", noise(9, 9), b"", b"junk")
    with pytest.raises(
        DataError, match=r"^set: 2 images cannot be used: .*1\.png.*2\.png"
    ) as caught:
        load_variants(bad, VARIANTS, cache_dir=tmp_path / "cache")
    assert str(caught.value).count("1.png") == 1


def test_there_must_be_room_for_all_variants_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(tmp_path / "data", noise(9, 9))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=15_000))
    one, other = Preprocessing(100), Preprocessing(100, equalize=True)  # 10 kB each
    with pytest.raises(DataError, match="are needed"):
        load_variants(dataset, [one, other], cache_dir=tmp_path / "cache")
    assert stored_files(tmp_path / "cache") == []
    load_pixels(dataset, one, cache_dir=tmp_path / "cache")
    load_variants(dataset, [one, other], cache_dir=tmp_path / "cache")


def test_a_kill_half_way_leaves_no_variant(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", *(noise(9, 9) for _ in range(70)))
    code = (
        "import os, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_pixels import *\n"
        "folder = Path(sys.argv[1])\n"
        "dataset = make_dataset(folder / 'data', *(noise(9, 9) for _ in range(70)))\n"
        "load_variants(\n"
        "    dataset, VARIANTS, cache_dir=folder / 'cache', progress=lambda *_: os._exit(9)\n"
        ")\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(command, env={**os.environ}).returncode == 9
    names = stored_files(tmp_path / "cache")
    assert len(names) == len(VARIANTS)
    assert all(name.startswith(".tmp-") for name in names)
    load_variants(dataset, VARIANTS, cache_dir=tmp_path / "cache")
    assert not [name for name in stored_files(tmp_path / "cache") if name.startswith(".tmp-")]


def test_what_was_done_to_images_is_told_whenever_they_are_asked_for(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    glass = Image.new("RGBA", (9, 9), (9, 9, 9, 99))
    dataset = make_dataset(tmp_path / "data", noise(9, 12), glass, glass)
    noise(9, 12).save(tmp_path / "data/0.png", exif=exif)
    noise(9, 9).save(
        tmp_path / "data/2.png", format="TIFF", save_all=True, append_images=[noise(9, 9)]
    )
    for _ in range(2):
        told: list[str] = []
        load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path, note=told.append)
        assert told == [
            "1 image turned upright by the EXIF orientation",
            "1 image transparent in part, laid on white",
            "1 image with further frames, of which only the first is read",
        ]


def test_pixels_of_an_older_version_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(tmp_path / "data", noise(10, 10))
    for version in (pixels.VERSION - 1, pixels.VERSION):
        monkeypatch.setattr(pixels, "VERSION", version)
        load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path)
    assert len(list((tmp_path / "pixels").glob("*.npy"))) == 2


def test_other_preprocessing_and_other_content_are_other_files(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", noise(10, 10))
    variants = [
        Preprocessing(8),
        Preprocessing(9),
        Preprocessing(8, greyscale=True),
        Preprocessing(8, equalize=True),
        Preprocessing(8, central_crop=0.5),
    ]
    for variant in variants:
        load_pixels(dataset, variant, cache_dir=tmp_path)
    changed = make_dataset(tmp_path / "data", noise(10, 10))
    load_pixels(changed, variants[0], cache_dir=tmp_path)
    assert len(stored_files(tmp_path / "pixels")) == len(variants) + 1


@pytest.mark.parametrize(
    ("images", "greyscale", "channels"),
    [
        ([noise(9, 9), noise(9, 9)], False, 1),
        ([noise(9, 9), noise(9, 9, 3)], False, 3),
        ([noise(9, 9), noise(9, 9, 3)], True, 1),
    ],
)
def test_channels(
    tmp_path: Path, images: list[Image.Image], greyscale: bool, channels: int
) -> None:
    dataset = make_dataset(tmp_path / "data", *images)
    stored = load_pixels(dataset, Preprocessing(8, greyscale=greyscale), cache_dir=tmp_path)
    assert stored.shape[3] == channels


@pytest.mark.parametrize(
    ("channels", "greyscale", "kept"), [(1, False, 1), (3, False, 3), (3, True, 1)]
)
def test_images_in_memory(tmp_path: Path, channels: int, greyscale: bool, kept: int) -> None:
    arrays = RNG.integers(0, 256, (2, 8, 8, channels), dtype=np.uint8)
    table = make_dataset(tmp_path / "data", noise(8, 8), noise(8, 8)).table
    dataset = Dataset("set", table, arrays=arrays)
    stored = load_pixels(dataset, Preprocessing(8, greyscale=greyscale), cache_dir=tmp_path)
    assert stored.shape == (2, 8, 8, kept)
    if not greyscale:
        np.testing.assert_array_equal(stored, arrays)


def test_every_bad_image_is_counted_and_nothing_is_left(tmp_path: Path) -> None:
    images = [noise(9, 9), b"", noise(9, 9), *[b"junk"] * 6, Image.new("I;16", (9, 9))]
    dataset = make_dataset(tmp_path / "data", *images)
    with pytest.raises(DataError) as caught:
        load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path / "cache", workers=2)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("set: 8 images cannot be used: ")
    assert "1.png: is empty" in message
    assert message.endswith("and 3 more")
    assert stored_files(tmp_path / "cache") == []


def test_one_bad_image_is_its_own_message(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", noise(9, 9), noise(1, 1))
    with pytest.raises(DataError, match=r"^/.*1\.png: is 1x1 px, below 8x8; remove it$"):
        load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path / "cache")
    assert stored_files(tmp_path / "cache") == []


def test_full_disk_is_told_before_and_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(tmp_path / "data", noise(9, 9))
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(DataError, match=r"are needed and 0 MB are free; .*HPSEARCH_CACHE"):
            load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path / "cache")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_pixels import *\n"
        "dataset = make_dataset(Path(sys.argv[1]) / 'data', noise(9, 9))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "load_pixels(dataset, Preprocessing(200), cache_dir=Path(sys.argv[1]) / 'cache')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    error = subprocess.run(command, capture_output=True, text=True, env={**os.environ}).stderr
    assert "DataError" in error.splitlines()[-1]
    assert "cannot be written (File too large)" in error.splitlines()[-1]
    assert stored_files(tmp_path / "cache") == []


def test_a_damaged_file_is_made_anew_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make_dataset(tmp_path / "data", noise(9, 9))
    load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path)
    (file,) = (tmp_path / "pixels").glob("*.npy")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-1], b"", bytes(flipped), whole[:20]):
        file.write_bytes(content)
        caplog.clear()
        pixels = load_pixels(dataset, Preprocessing(8), cache_dir=tmp_path)
        assert f"{file}: damaged" in caplog.text
        assert file.read_bytes() == whole
        assert pixels.shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"size": 8, "central_crop": 0.0},
        {"size": 8, "central_crop": 1.1},
        {"size": 8, "fit": "pad"},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Preprocessing(**options)  # type: ignore[arg-type]


sides = st.integers(8, 60)


@settings(deadline=None)
@given(width=sides, height=sides, fraction=st.floats(0.01, 1), fit=st.sampled_from(FITS))
def test_what_is_kept_is_central_and_inside(
    width: int, height: int, fraction: float, fit: Fit
) -> None:
    kept = Preprocessing(8, central_crop=fraction, fit=fit)
    left, upper, right, lower = central_part(width, height, kept)
    whole = (width, height) if fit == "stretch" else (min(width, height),) * 2
    assert min(right - left, lower - upper) >= 1
    assert abs((right - left) - whole[0] * fraction) <= 1
    assert abs((lower - upper) - whole[1] * fraction) <= 1
    assert 0 <= left <= right <= width
    assert 0 <= upper <= lower <= height
    assert 0 <= (width - right) - left <= 1
    assert 0 <= (height - lower) - upper <= 1


@settings(deadline=None)
@given(side=st.integers(8, 40), seed=st.integers(0, 99))
def test_square_of_the_stored_side_is_unchanged(side: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stored = preprocess(Image.fromarray(pixels), Preprocessing(side))
    np.testing.assert_array_equal(np.asarray(stored), pixels)


@settings(deadline=None)
@given(width=sides, height=sides, size=st.integers(1, 80), value=st.integers(0, 255))
def test_flat_image_stays_flat(width: int, height: int, size: int, value: int) -> None:
    stored = preprocess(Image.new("L", (width, height), value), Preprocessing(size))
    assert stored.size == (size, size)
    assert stored.getextrema() == (value, value)


@settings(deadline=None)
@given(width=sides, height=sides, fraction=st.floats(0.2, 1))
def test_mirrored_image_gives_the_mirrored_result(width: int, height: int, fraction: float) -> None:
    seed = int(hashlib.sha256(f"{width} {height}".encode()).hexdigest()[:8], 16)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    preprocessing = Preprocessing(16, central_crop=fraction)
    left, upper, right, lower = central_part(width, height, preprocessing)
    if left != width - right or upper != height - lower:
        return  # half a pixel off: the mirror image is cut elsewhere
    stored = np.asarray(preprocess(Image.fromarray(pixels), preprocessing))
    turned = np.asarray(preprocess(Image.fromarray(pixels[::-1, ::-1]), preprocessing))
    np.testing.assert_allclose(turned[::-1, ::-1].astype(int), stored, atol=1)  # rounding


def test_stretching_keeps_what_lies_beside_the_central_square() -> None:
    pixels = np.zeros((20, 60), np.uint8)
    pixels[:, :10] = 255
    crop, stretch = (
        np.asarray(preprocess(Image.fromarray(pixels), Preprocessing(12, fit=fit))) for fit in FITS
    )
    assert crop.max() == 0
    np.testing.assert_allclose(stretch.mean(), pixels.mean(), atol=1)
    assert stretch[:, 0].min() == 255


def test_shrinking_averages() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    stored = preprocess(Image.fromarray(checks.astype(np.uint8)), Preprocessing(8))
    np.testing.assert_allclose(np.asarray(stored), 127.5, atol=8)


def test_equalizing_flattens_the_luminance_and_spares_the_hue() -> None:
    grey = np.clip(RNG.normal(100, 5, (64, 64)), 0, 255).astype(np.uint8)
    stored = np.asarray(preprocess(Image.fromarray(grey), Preprocessing(64, equalize=True)))
    assert stored.max() - stored.min() > 250
    np.testing.assert_allclose(np.sort(stored.ravel()), np.linspace(0, 255, 4096), atol=30)
    reddish = np.stack([grey + 60, grey, grey], axis=-1)
    colour = np.asarray(preprocess(Image.fromarray(reddish), Preprocessing(64, equalize=True)))
    middle = np.abs(colour[:, :, 1].astype(int) - 100) < 60  # where no channel is clipped
    excess = colour[middle, 0].astype(int) - colour[middle, 1]
    np.testing.assert_allclose(excess, 60, atol=4)


def test_greyscale_is_the_luminance_before_equalizing() -> None:
    image = noise(16, 16, 3)
    expected = preprocess(image.convert("L"), Preprocessing(16, equalize=True))
    stored = preprocess(image, Preprocessing(16, greyscale=True, equalize=True))
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(expected))

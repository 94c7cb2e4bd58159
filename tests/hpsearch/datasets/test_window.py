"""Images of more than 8 bits: through a window, or refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.reading import read_image, read_mode
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.window import as_window, parse_window, windowed
from hpsearch.errors import DataError, SpecError

DEEP = np.random.default_rng(0).integers(0, 2**16, (12, 10)).astype(np.uint16)
WINDOW = (1000.0, 40_000.0)


def expected(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The definition, value by value."""
    fractions = [min(max((float(value) - low) / (high - low), 0), 1) for value in values.ravel()]
    return np.array([round(255 * fraction) for fraction in fractions]).reshape(values.shape)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_through_a_window(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(DEEP).save(path)
    image = read_image(path, window=WINDOW)
    assert image.mode == read_mode(path) == "L"
    np.testing.assert_array_equal(np.asarray(image), expected(DEEP, *WINDOW))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_wider_tiffs_through_a_window(tmp_path: Path, kind: type) -> None:
    values = (DEEP.astype(kind) - 30_000) * kind(2)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    image = read_image(tmp_path / "a.tiff", window=(-20_000, 30_000))
    np.testing.assert_array_equal(np.asarray(image), expected(values, -20_000, 30_000))


def test_a_tiff_in_which_zero_is_white_is_turned(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "a.tiff", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tiff") as image:
        assert image.tag_v2[262] == 0
    grey = np.asarray(read_image(tmp_path / "a.tiff", window=WINDOW))
    np.testing.assert_array_equal(grey, 255 - expected(DEEP, *WINDOW))


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    values=st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=20),
)
def test_the_window_keeps_the_order_and_its_ends(
    low: float, width: float, values: list[float]
) -> None:
    ordered = np.sort(np.array([*values, low, low + width]))
    grey = windowed(Path("a"), ordered, (low, low + width)).astype(int)
    assert (np.diff(grey) >= 0).all()
    assert (grey[ordered <= low] == 0).all()
    assert (grey[ordered >= low + width] == 255).all()


def test_8_bits_are_taken_as_they_are(tmp_path: Path) -> None:
    values = (DEEP >> 8).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png", window=WINDOW)), values)


def test_without_a_window_one_line_names_the_setting_and_the_values(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(DEEP).save(path)
    with pytest.raises(DataError) as caught:
        read_image(path)
    what = f"more than 8 bits a channel (values from {DEEP.min()} to {DEEP.max()})"
    mend = "set dataset.window (--window LOW,HIGH) to the values that become black and white"
    assert str(caught.value) == f"{path}: holds {what}; {mend}"
    with pytest.raises(DataError, match=r"is no DICOM file and has no window of its own \(values"):
        read_image(path, window="dicom")


def test_what_is_not_a_number_is_refused(tmp_path: Path) -> None:
    values = DEEP.astype(np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: holds values that are not finite; replace"):
        read_image(tmp_path / "a.tiff", window=WINDOW)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = ["image_path,label_index,split"]
    for number, (label, split) in enumerate([(0, "train"), (0, "test"), (1, "test")]):
        Image.fromarray(DEEP + np.uint16(number)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{label},{split}")
    (tmp_path / "deep.csv").write_text("\n".join(rows))
    return tmp_path / "deep.csv"


def test_a_manifest_is_decoded_once_a_window(manifest: Path, tmp_path: Path) -> None:
    cache, variant = tmp_path / "cache", Preprocessing(size=10, fit="crop")
    pixels = {}
    for window in (WINDOW, (0.0, 65_535.0)):
        request = DatasetRequest(str(manifest), window=window)
        dataset = load_dataset(request, cache_dir=cache)
        pixels[window] = load_pixels(dataset, variant, cache_dir=cache)
        np.testing.assert_array_equal(pixels[window][0, :, :, 0], expected(DEEP[1:11, :], *window))
    assert len(list((cache / "pixels").glob("*.npy"))) == 2
    without = load_dataset(DatasetRequest(str(manifest)), cache_dir=cache)
    with pytest.raises(DataError, match=r"3 images cannot be used: .*set dataset\.window"):
        load_pixels(without, variant, cache_dir=cache)


@pytest.mark.parametrize(
    ("text", "window"),
    [("0,4095", (0, 4095)), (" -1000 , 400.5 ", (-1000, 400.5)), ("DICOM", "dicom")],
)
def test_windows_of_the_command_line(text: str, window: object) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", ["", "5", "1,2,3", "a,b", "4095,0", "1,1", "nan,1", "0,inf"])
def test_windows_that_are_none(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_window(text)
    assert "--window" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("value", "window"), [([0, 9.5], (0, 9.5)), ("dicom", "dicom")])
def test_windows_of_a_study(value: object, window: object) -> None:
    spec = build_spec({"study_name": "a", "dataset": {"window": value}}, {})
    assert spec.dataset.window == window
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("value", [[1], [9, 1], ["0", "1"], [True, 2], "wide", 5, {"low": 1}])
def test_windows_of_a_study_that_are_none(value: object) -> None:
    with pytest.raises(ValueError, match="a window is two numbers"):
        as_window(value)
    with pytest.raises(SpecError, match=r"^dataset\.window: a window is two numbers, the lower"):
        build_spec({"study_name": "a", "dataset": {"window": value}}, {})


def test_where_a_window_does_not_fit(tmp_path: Path) -> None:
    for name in ("digits", "nih-pa"):
        with pytest.raises(SpecError, match=f"--window does not fit {name}; it is for CSV"):
            load_dataset(DatasetRequest(name, window=WINDOW), cache_dir=tmp_path)

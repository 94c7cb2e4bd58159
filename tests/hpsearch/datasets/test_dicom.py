"""DICOM files of pydicom's own test data, which it installs with itself."""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.datasets.reading import read_image, read_mode
from hpsearch.errors import DataError

pydicom = pytest.importorskip("pydicom")
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def sample(name: str) -> Path:
    return SAMPLES / name


@pytest.fixture
def change(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Saves a changed copy of a sample."""

    def changed(name: str, **elements: Any) -> Path:
        header = pydicom.dcmread(sample(name))
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        header.save_as(tmp_path / name)
        return tmp_path / name

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield changed


def raw(path: Path) -> np.ndarray:
    return pydicom.dcmread(path).pixel_array.astype(float)


def grey(path: Path, window: Any) -> np.ndarray:
    image = read_image(path, window=window)
    assert image.mode == read_mode(path) == "L"
    return np.asarray(image)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1))


def test_two_numbers_window_the_rescaled_values() -> None:
    path = sample("CT_small.dcm")  # Hounsfield units: stored values less 1024
    assert raw(path).min() >= 0
    np.testing.assert_array_equal(grey(path, (-200, 300)), ramp(raw(path) - 1024, -200, 300))


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_the_files_own_window_is_that_of_the_standard(name: str) -> None:
    path = sample(name)
    values = raw(path)
    # PS3.3 C.11.2.1.2.1 with centre 600 and width 1600, as the standard writes it.
    fraction = (values - (600 - 0.5)) / (1600 - 1) + 0.5
    fraction[values <= 600 - 0.5 - (1600 - 1) / 2] = 0
    fraction[values > 600 - 0.5 + (1600 - 1) / 2] = 1
    np.testing.assert_array_equal(grey(path, "dicom"), np.rint(255 * fraction))


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": ["300", "9"], "WindowWidth": ["500.5", "7"]},
        {"RescaleSlope": "2.5", "RescaleIntercept": "-800"},
    ],
    ids=["as it is", "exact", "two windows", "rescaled"],
)
def test_the_files_own_window_agrees_with_pydicom(
    change: Callable[..., Path], elements: dict[str, Any]
) -> None:
    path = change("MR_small.dcm", **elements)
    header = pydicom.dcmread(path)
    values = pydicom.pixels.apply_modality_lut(header.pixel_array, header)
    shown = pydicom.pixels.apply_windowing(values, header)
    stored = np.array([-(2.0**15), 2.0**15 - 1])  # 16 bits, signed: what the output spans
    black, white = pydicom.pixels.apply_modality_lut(stored, header)
    reference = 255 * (shown - black) / (white - black)
    assert len(np.unique(reference)) > 50
    assert np.abs(grey(path, "dicom") - reference).max() <= 0.5 + 1e-9  # rounded


def test_monochrome1_is_inverted_after_the_window(change: Callable[..., Path]) -> None:
    path = change("MR_small.dcm", PhotometricInterpretation="MONOCHROME1")
    for window in ((100, 900), "dicom"):
        np.testing.assert_array_equal(
            grey(path, window), 255 - grey(sample("MR_small.dcm"), window)
        )


@pytest.mark.parametrize(
    ("name", "elements", "window", "what"),
    [
        ("CT_small.dcm", {}, None, r"more than 8 bits a channel \(values from -896 to 1167\); set"),
        ("CT_small.dcm", {}, "dicom", r"names no window of its own \(values from -896 to 1167\)"),
        ("MR_small.dcm", {"VOILUTFunction": "SIGMOID"}, "dicom", "window of the kind SIGMOID"),
        ("MR_small.dcm", {"WindowWidth": "1"}, "dicom", "has an empty window"),
        ("examples_rgb_color.dcm", {}, (0, 255), r"is colour DICOM \(RGB\); convert it to PNG"),
        ("examples_palette.dcm", {}, (0, 255), r"is colour DICOM \(PALETTE COLOR\)"),
        ("rtdose.dcm", {}, (0, 1), "holds 15 frames; save each as a file of its own"),
        ("image_dfl.dcm", {}, (0, 255), "is deflated DICOM; save it without"),
        ("MR_small_jpeg_ls_lossless.dcm", {}, (0, 9), "JPEG-LS Lossless.*no decoder is installed"),
        ("JPEG-lossy.dcm", {}, (0, 9), "is damaged DICOM"),  # 12 bits, beyond Pillow
        ("MR_truncated.dcm", {}, (0, 9), "is damaged DICOM"),
        ("MR_small.dcm", {"Rows": 60_000, "Columns": 60_000}, (0, 9), "than 100 million pixels"),
        ("MR_small.dcm", {"Rows": 4}, (0, 9), "is 64x4 px, below 8x8"),
    ],
)
def test_refused_in_one_line(
    change: Callable[..., Path], name: str, elements: dict[str, Any], window: Any, what: str
) -> None:
    path = change(name, **elements) if elements else sample(name)
    with pytest.raises(DataError, match=what) as caught:
        read_image(path, window=window)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "; " in message
    assert message.isprintable()


def test_dicom_without_an_image(tmp_path: Path) -> None:
    header = pydicom.dcmread(sample("MR_small.dcm"))
    for keyword in ("Rows", "PixelData"):
        delattr(header, keyword)
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(DataError, match="is DICOM without an image; remove it"):
        read_image(tmp_path / "a.dcm", window=(0, 1))


@pytest.mark.parametrize("kept", [140, 400, 1500, 5000])
def test_cut_files_are_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(sample("MR_small.dcm").read_bytes()[:kept])
    with pytest.raises(DataError, match="DICOM"):
        read_image(path, window=(0, 1))


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"needs pydicom; pip install 'hpsearch\[medical\]', or"):
        read_image(sample("MR_small.dcm"), window=(0, 1))

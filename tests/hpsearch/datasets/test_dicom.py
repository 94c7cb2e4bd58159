"""DICOM files of pydicom's own test data, which it installs with itself."""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.datasets.reading import Shown, read_image, read_mode
from hpsearch.datasets.window import windowed
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
        ("SC_rgb_rle_16bit.dcm", {}, (0, 255), "is colour DICOM of 16 bits a channel; convert"),
        ("examples_palette.dcm", {}, (0, 255), r"is colour DICOM \(PALETTE COLOR\)"),
        ("image_dfl.dcm", {}, (0, 255), "is deflated DICOM; save it without"),
        ("MR_small_jpeg_ls_lossless.dcm", {}, (0, 9), "JPEG-LS Lossless.*no decoder is installed"),
        ("JPEG-lossy.dcm", {}, (0, 9), "12-bit precision.*pip install pylibjpeg pylibjpeg-libjpeg"),
        ("GDCMJ2K_TextGBR.dcm", {}, None, "broken data.*pip install pylibjpeg pylibjpeg-openjpeg"),
        ("MR_truncated.dcm", {}, (0, 9), "cannot be decoded .*less than expected"),
        ("badVR.dcm", {}, (0, 9), r"cannot be decoded \(ValueError: invalid literal"),
        ("MR_small.dcm", {"WindowCenter": None}, "dicom", "names no window of its own"),
        ("MR_small.dcm", {"WindowWidth": None}, "dicom", "names no window of its own"),
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


def test_an_empty_slope_or_intercept_changes_nothing(change: Callable[..., Path]) -> None:
    path = change("CT_small.dcm", RescaleSlope=None)
    np.testing.assert_array_equal(grey(path, (-200, 300)), ramp(raw(path) - 1024, -200, 300))
    path = change("CT_small.dcm", RescaleIntercept=None)
    np.testing.assert_array_equal(grey(path, (800, 1300)), ramp(raw(path), 800, 1300))


@pytest.mark.parametrize("name", ["implicit", "", "bigendian"])
def test_without_preamble_and_meta_elements(tmp_path: Path, name: str) -> None:
    path = sample(f"MR_small_{name}.dcm" if name else "MR_small.dcm")
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    (tmp_path / "a").write_bytes(content[144 + length :])
    np.testing.assert_array_equal(grey(tmp_path / "a", (0, 2000)), grey(path, (0, 2000)))
    (tmp_path / "b").write_bytes(content[132:])  # with them
    np.testing.assert_array_equal(grey(tmp_path / "b", (0, 2000)), grey(path, (0, 2000)))


@pytest.mark.parametrize("window", [None, "dicom"])
@pytest.mark.parametrize("bits", [8, 6])
def test_8_bits_without_a_window_are_taken_as_they_are(
    change: Callable[..., Path], bits: int, window: Any
) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (64, 64), dtype=np.uint8)
    shape = {"BitsAllocated": 8, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0}
    no_window = {"WindowCenter": None, "WindowWidth": None}
    path = change("MR_small.dcm", **shape, **no_window, PixelData=values.tobytes())
    np.testing.assert_array_equal(grey(path, window), np.rint(values * (255 / (2**bits - 1))))
    path = change(
        "MR_small.dcm", **shape, PixelData=values.tobytes(), PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(grey(path, None), 255 - np.rint(values * (255 / (2**bits - 1))))


def test_signed_8_bits_need_a_window(change: Callable[..., Path]) -> None:
    shape = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 1}
    path = change("MR_small.dcm", **shape, PixelData=bytes(range(256)) * 16)
    with pytest.raises(DataError, match="values from -128 to 127"):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_ybr_full_422_uncompressed.dcm"]
)
def test_colours_of_8_bits_in_any_encoding(name: str) -> None:
    reference = pydicom.dcmread(sample("SC_rgb_rle.dcm")).pixel_array.astype(int)
    image = read_image(sample(name))
    assert image.mode == read_mode(sample(name)) == "RGB"
    difference = np.abs(np.asarray(image, int) - reference)
    assert np.median(difference) <= 2  # the same bars, but for what JPEG loses at their edges


def test_the_first_of_several_frames_and_how_many() -> None:
    image = read_image(sample("rtdose.dcm"), window=(0, 3e6))
    values = raw(sample("rtdose.dcm"))[0]
    header = pydicom.dcmread(sample("rtdose.dcm"))
    expected = pydicom.pixels.apply_modality_lut(values, header)
    np.testing.assert_array_equal(np.asarray(image), ramp(expected, 0, 3e6))
    assert image.info["shown"] == Shown(frames=15)


def test_the_values_of_jpeg_2000_outside_of_dicom_are_those_stored(tmp_path: Path) -> None:
    header = pydicom.dcmread(sample("693_J2KI.dcm"))  # 14 bits, signed
    (frame,) = pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1)
    (tmp_path / "a.j2k").write_bytes(frame)
    window = (float(header.pixel_array.min()), float(header.pixel_array.max()))
    grey = np.asarray(read_image(tmp_path / "a.j2k", window=window))
    np.testing.assert_allclose(grey, ramp(header.pixel_array.astype(float), *window), atol=1)


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


def test_pydicom_rounds_values_halfway_between_two_grey_levels_otherwise(
    change: Callable[..., Path],
) -> None:
    """Why the window is ours: levels would change by one."""
    header = pydicom.dcmread(change("MR_small.dcm", WindowCenter="1863", WindowWidth="1861"))
    header.PixelRepresentation, header.RescaleSlope, header.RescaleIntercept = 0, "0.5", "0"
    values = pydicom.pixels.apply_modality_lut(np.arange(2**16), header)
    black, white = values[0], values[-1]
    shown = pydicom.pixels.apply_windowing(values, header)
    theirs = np.rint(255 * (shown - black) / (white - black))
    ours = windowed(Path("image"), values, (1863 - 0.5 - 930, 1863 - 0.5 + 930))
    assert set(np.abs(theirs - ours)) == {0, 1}

"""Kinds of files through every entry, which must agree on what is read, passed over and refused.

`check` (the audit), a run (the pixels), `predict` and `Model.score` are given one file of each kind
among ordinary images.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.window import Window
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.pooled_features import FeaturesDetector
from hpsearch.errors import DataError
from hpsearch.model.bundle import ModelFacts
from hpsearch.model.estimator import DPADetector
from hpsearch.model.model import Model
from hpsearch.model.predict.inputs import find_images
from hpsearch.model.predict.predict import predict
from hpsearch.protocol.audit.audit import audit

Outcome = Literal["read", "passed over", "refused"]
Make = Callable[[], bytes]

pydicom = pytest.importorskip("pydicom")
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"  # what pydicom installs with itself
RNG = np.random.default_rng(0)
COLOURS = np.kron(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8), np.ones((6, 6, 1), np.uint8))
GREYS = COLOURS[:, :, 0]
DEEP = GREYS.astype(np.uint16) * 16
PARAMS = {
    "resolution": 16,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "stretch",
    "greyscale": False,
    "equalize": False,
    "kind": "mahalanobis",
    "layer": "colour",
}


def saved(pixels: np.ndarray, format: str, mode: str | None = None, **options: Any) -> Make:
    def make() -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(buffer, format, **options)
        return buffer.getvalue()

    return make


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def large_text() -> PngInfo:
    text = PngInfo()
    text.add_text("notes", "x" * 3_000_000, zip=True)
    return text


def frames(format: str) -> Make:
    others = [Image.fromarray(255 - COLOURS), Image.fromarray(COLOURS // 2)]
    return saved(COLOURS, format, save_all=True, append_images=others)


def transparent(pixels: np.ndarray) -> np.ndarray:
    alpha = np.where(GREYS > 99, 255, 40).astype(np.uint8)
    return np.dstack([pixels, alpha])


def dicom(name: str, **changes: Any) -> Make:
    def make() -> bytes:
        if not changes:
            return (SAMPLES / name).read_bytes()
        header = pydicom.dcmread(SAMPLES / name)
        for keyword, value in changes.items():
            setattr(header, keyword, value)
        buffer = io.BytesIO()
        header.save_as(buffer)
        return buffer.getvalue()

    return make


def without_preamble() -> bytes:
    content = (SAMPLES / "MR_small.dcm").read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def cut(make: Make) -> Make:
    return lambda: make()[: len(make()) // 2]


@dataclass(frozen=True)
class Kind:
    """A file: its name, its content, what becomes of it, and what is told."""

    name: str
    make: Make
    outcome: Outcome = "read"
    says: str = ""  # of a refusal, or of what is passed over
    window: Window | None = None
    shown: str = ""  # what a run tells of an image that is not taken as it is stored

    def __str__(self) -> str:
        return f"{self.name}, {self.outcome}"


TURNED, LAID, FRAMES = "turned upright", "laid on white", "further frames"
HU = (-1000.0, 3000.0)
EIGHT_BITS = {
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
    "WindowCenter": None,
    "WindowWidth": None,
    "PixelData": bytes(range(256)) * 16,
}
PNG = saved(COLOURS, "PNG")
KINDS = [
    # suffixes, and none
    Kind("a.PNG", PNG),
    Kind("a.jpg", saved(COLOURS, "JPEG")),
    Kind("a.jfif", saved(COLOURS, "JPEG")),
    Kind("a.JPE", saved(COLOURS, "JPEG")),
    Kind("a.bmp", saved(COLOURS, "BMP")),
    Kind("a.tif", saved(COLOURS, "TIFF")),
    Kind("a.webp", saved(COLOURS, "WEBP")),
    Kind("a.Gif", saved(COLOURS, "GIF")),
    Kind("a.jp2", saved(COLOURS, "JPEG2000")),
    Kind("a.ppm", saved(COLOURS, "PPM")),
    Kind("a.pgm", saved(GREYS, "PPM")),
    Kind("without suffix", PNG),
    Kind("1.2.840.10008", saved(COLOURS, "TIFF")),
    Kind("renamed.txt", PNG),
    Kind("renamed.jpg", PNG),
    Kind("sub/folder/a.png", PNG),
    # modes and depths
    Kind("grey.png", saved(GREYS, "PNG")),
    Kind("bilevel.png", saved(GREYS, "PNG", "1")),
    Kind("palette.png", saved(COLOURS, "PNG", "P")),
    Kind("cmyk.jpg", saved(COLOURS, "JPEG", "CMYK")),
    Kind("cmyk.tif", saved(COLOURS, "TIFF", "CMYK")),
    Kind("lab.tif", saved(COLOURS, "TIFF", "LAB")),
    Kind("16.png", saved(DEEP, "PNG"), window=(0, 4095)),
    Kind("16-no-window.png", saved(DEEP, "PNG"), "refused", "more than 8 bits"),
    Kind("float.tif", saved(DEEP.astype(np.float32), "TIFF"), window=(0, 4095)),
    Kind("16.jp2", saved(DEEP, "JPEG2000"), window=(0, 4095)),
    Kind("12.pgm", lambda: b"P5\n8 8\n4095\n" + bytes(range(128)), window=(0, 4095)),
    Kind("deep.ppm", lambda: b"P6\n8 8\n65535\n" + bytes(384), "refused", "more than 8 bits"),
    # orientation, transparency, frames, what lies beside the pixels
    Kind("turned.jpg", saved(COLOURS, "JPEG", exif=exif(6)), shown=TURNED),
    Kind("turned.png", saved(COLOURS, "PNG", exif=exif(3)), shown=TURNED),
    Kind("turned.tif", saved(COLOURS, "TIFF", exif=exif(8)), shown=TURNED),
    Kind("turned.webp", saved(COLOURS, "WEBP", exif=exif(5)), shown=TURNED),
    Kind("glass.png", saved(transparent(COLOURS), "PNG"), shown=LAID),
    Kind("grey-glass.png", saved(transparent(GREYS), "PNG"), shown=LAID),
    Kind("glass.webp", saved(transparent(COLOURS), "WEBP"), shown=LAID),
    Kind("key.gif", saved(GREYS, "GIF", transparency=int(GREYS[0, 0])), shown=LAID),
    Kind("frames.tif", frames("TIFF"), shown=FRAMES),
    Kind("frames.png", frames("PNG"), shown=FRAMES),
    Kind("frames.gif", frames("GIF"), shown=FRAMES),
    Kind("frames.webp", frames("WEBP"), shown=FRAMES),
    Kind("frames.jpg", frames("MPO"), shown=FRAMES),
    Kind("profile.png", saved(COLOURS, "PNG", icc_profile=RNG.bytes(1_600_000))),
    Kind("text.png", saved(COLOURS, "PNG", pnginfo=large_text())),
    # DICOM: encodings, depths, colours, frames
    Kind("explicit.dcm", dicom("CT_small.dcm"), window=HU),
    Kind("own-window.dcm", dicom("MR_small.dcm"), window="dicom"),
    Kind("no-own.dcm", dicom("CT_small.dcm"), "refused", "no window of its own", "dicom"),
    Kind("no-window.dcm", dicom("CT_small.dcm"), "refused", "more than 8 bits"),
    Kind("implicit", dicom("MR_small_implicit.dcm"), window=HU),
    Kind("big-endian.IMA", dicom("MR_small_bigendian.dcm"), window=HU),
    Kind("rle.dcm", dicom("MR_small_RLE.dcm"), window=HU),
    Kind("jpeg2000.dcm", dicom("MR_small_jp2klossless.dcm"), window=HU),
    Kind("12-bit-jpeg.dcm", dicom("JPGExtended.dcm"), "refused", "pip install pylibjpeg", HU),
    Kind("jpeg-ls.dcm", dicom("MR_small_jpeg_ls_lossless.dcm"), "refused", "no decoder", HU),
    Kind("deflated.dcm", dicom("image_dfl.dcm"), "refused", "deflated", HU),
    Kind("no-preamble", without_preamble, window=HU),
    Kind("empty-slope.dcm", dicom("CT_small.dcm", RescaleSlope=None), window=HU),
    Kind("8-bit.dcm", dicom("MR_small.dcm", **EIGHT_BITS)),
    Kind("rgb.dcm", dicom("SC_rgb_rle.dcm")),
    Kind("ybr.dcm", dicom("SC_rgb_dcmtk_+eb+cy+np.dcm")),
    Kind("palette.dcm", dicom("examples_palette.dcm"), "refused", "colour DICOM"),
    Kind("frames.dcm", dicom("rtdose.dcm"), window=(0, 3e6), shown=FRAMES),
    Kind("plan.dcm", dicom("rtplan.dcm"), "refused", "without an image"),
    Kind("cut.dcm", dicom("MR_truncated.dcm"), "refused", "cannot be decoded", HU),
    # what is no image, or a bad one
    Kind("cut.png", cut(PNG), "refused", "is a damaged image"),
    Kind("cut.jpg", cut(saved(COLOURS, "JPEG")), "refused", "is a damaged image"),
    Kind("empty.png", lambda: b"", "refused", "is empty"),
    Kind("drawing.png", lambda: b"<svg></svg>", "refused", "is not a readable image"),
    Kind("bomb", lambda: b"P5\n60000 60000\n255\n", "refused", "100 million pixels"),
    Kind("tiny.png", saved(COLOURS[:4], "PNG"), "refused", "below 8x8"),
    Kind("script.eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "passed over", "1 .eps"),
    Kind("a.avif", saved(COLOURS, "AVIF"), "passed over", "1 .avif"),
    Kind("notes.txt", lambda: b"P1 is no bitmap", "passed over", "1 .txt"),
    Kind("Thumbs.db", lambda: b"\xd0\xcf\x11\xe0" * 99, "passed over", "1 .db"),
    Kind(".DS_Store", lambda: b"\0\0\0\1Bud1", "passed over", "1 hidden"),
    Kind("._a.png", lambda: b"\0\5\x16\7" * 20, "passed over", "1 hidden"),
    Kind("__MACOSX/a.png", lambda: b"\0\5\x16\7" * 20, "passed over", "1 in __MACOSX/"),
    Kind("masks/a.png", PNG, "passed over", "1 in masks/"),
    Kind("DICOMDIR", dicom("rtplan.dcm"), "passed over", "1 without suffix"),
    Kind("empty", lambda: b"", "passed over", "1 without suffix"),
]


@pytest.fixture(scope="module")
def model(make_setup: Callable[..., Setup], facts_by_hand: Callable[..., ModelFacts]) -> Model:
    pixels = np.random.default_rng(0).normal(120, 25, (40, 16, 16, 3)).clip(0, 255)
    normals = ImageView(pixels.astype(np.uint8), np.arange(40), None)
    detector = FeaturesDetector(make_setup(PARAMS, normals))
    detector.fit(normals, None, max_steps=1)
    return Model(facts_by_hand("features", detector), detector)


@pytest.fixture
def mvtec_images(tmp_path: Path) -> Path:
    """A folder in MVTec AD layout, of two images a class."""
    rng = np.random.default_rng(1)
    for name in ("train/good", "test/good", "test/bent"):
        (tmp_path / "parts" / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "parts" / name / f"{number}.png")
    return tmp_path / "parts"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_all_entries_agree(kind: Kind, mvtec_images: Path, model: Model, tmp_path: Path) -> None:
    file = mvtec_images / "train/good" / kind.name
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, of the samples
        file.write_bytes(kind.make())
    image_id = f"train/good/{kind.name}"
    how = model.facts.preprocessing.model_copy(update={"window": kind.window})
    windowed = Model(model.facts.model_copy(update={"preprocessing": how}), model.detector)
    request = DatasetRequest(str(mvtec_images), window=kind.window)
    dataset = load_dataset(request, cache_dir=tmp_path / "cache")

    # check and predict find the same files, and name the same others
    inputs = find_images([mvtec_images / "train/good"])
    found = image_id in set(dataset.table["image_id"])
    assert found == (kind.outcome != "passed over")
    assert found == (kind.name in {image.image_id for image in inputs.images})
    for notes in (dataset.notes, inputs.notes):
        assert (len(notes) == 0) if found else (kind.says in notes[0] and kind.name in notes[0])

    report = audit(dataset)
    refusals = [finding.message for finding in report.findings if finding.check == "unreadable"]
    out = tmp_path / "scores.csv"
    predict(windowed, inputs.images, out, workers=1)
    told: list[str] = []
    pixels = tmp_path / "cache"
    size = how.steps.size
    if kind.outcome == "refused":
        (refusal,) = refusals
        assert kind.says in refusal
        with pytest.raises(DataError) as of_run:
            load_pixels(dataset, Preprocessing(size), cache_dir=pixels)
        with pytest.raises(DataError) as of_score:
            windowed.score([file])
        listed = pd.read_csv(tmp_path / "scores.unreadable.csv")["reason"].tolist()
        assert str(of_run.value) == refusal
        causes = {told.rpartition("; ")[0] for told in (refusal, str(of_score.value), *listed)}
        assert len(causes) == 1  # the mend of a missing window differs
        return
    assert refusals == []
    assert not (tmp_path / "scores.unreadable.csv").exists()
    stored = load_pixels(dataset, Preprocessing(size), cache_dir=pixels, note=told.append)
    assert told == list(report.shown.lines)
    assert [kind.shown in line for line in told] == ([True] if kind.shown else [])
    if found:
        position = dataset.table["image_id"].tolist().index(image_id)
        scores = pd.read_csv(out).set_index("image_id")["score"]
        expected = model.score_seen((stored[[position]],))
        np.testing.assert_allclose(scores[kind.name], expected[0], rtol=1e-6)
        np.testing.assert_allclose(windowed.score([file]), expected, rtol=1e-6)


ARRAYS = {
    "uint8": (lambda x: x, True),
    "integers": (lambda x: x.astype(np.int64), True),
    "floats to 255": (lambda x: x.astype(np.float32), True),
    "floats to 1": (lambda x: (x / 255).astype(np.float32), False),
    "floats from -1 to 1": (lambda x: x / 127.5 - 1, False),
    "of more than 8 bits": (lambda x: x.astype(np.uint16) * 257 + 256, False),
}


@pytest.mark.parametrize(("change", "is_read"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_the_estimator(
    change: Callable[[np.ndarray], np.ndarray], is_read: bool, fitted: DPADetector
) -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    if is_read:
        np.testing.assert_allclose(
            fitted.score_samples(change(images)), fitted.score_samples(images), rtol=1e-5
        )
    else:
        with pytest.raises(ValueError, match="value_range"):
            fitted.score_samples(change(images))


@pytest.fixture(scope="module")
def fitted() -> DPADetector:
    normal = np.random.default_rng(3).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    settings = {"layers": "r12", "resolution": 16, "max_steps": 2, "batch_size": 8}
    return DPADetector(**settings, target_fpr=0.2, random_state=0).fit(normal)

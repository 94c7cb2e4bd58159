import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hpsearch
import hpsearch.model.model
from hpsearch.detectors.backbones.backbone import BUNDLED_VGG_MINI
from hpsearch.detectors.base import ImageView
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.errors import DataError, SpecError, UserError, WeightsError
from hpsearch.model.bundle import FACTS, read_bundle
from hpsearch.model.model import Model, load_model


@pytest.fixture(scope="module")
def model(pristine: Path) -> Model:
    return load_model(pristine / "model", device="cpu")


def test_scores_and_maps_are_those_before_it_was_saved(
    model: Model, trained: PerceptualAutoencoder, images: np.ndarray
) -> None:
    view = ImageView(images, np.arange(len(images)), None)
    assert np.array_equal(model.score(images), trained.score(view))
    assert np.array_equal(model.maps(images), trained.maps(view))


def test_scores_rise_with_abnormality_and_maps_average_to_them(
    model: Model, images: np.ndarray
) -> None:
    scores = model.score(images)
    assert scores[40:].min() > scores[:40].max()
    np.testing.assert_allclose(model.maps(images).mean(axis=(1, 2)), scores, rtol=1e-4)


def test_every_way_to_hand_in_an_image(model: Model, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(images[0]).save(path)
    expected = model.score(images[:1])
    for image in (path, str(path), Image.open(path), images[0]):
        np.testing.assert_allclose(model.score([image]), expected, rtol=1e-5)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_an_opened_image_is_shown_as_its_file(
    model: Model, tmp_path: Path, compression: str | None
) -> None:
    rng = np.random.default_rng(0)
    stored = Image.fromarray(rng.integers(0, 256, (24, 32, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "a.tiff"):
        options = {"compression": compression} if name == "a.tiff" else {}
        stored.save(tmp_path / name, exif=exif, **options)
        scores = model.score([tmp_path / name, Image.open(tmp_path / name)])
        np.testing.assert_array_equal(scores, scores[0])


def test_images_of_mixed_sizes_and_modes(model: Model) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 30), dtype=np.uint8)
    as_colour = np.repeat(grey[:, :, None], 3, axis=2)
    palette = Image.fromarray(as_colour).quantize(256)
    scores = model.score([grey, grey[:, :, None], as_colour, Image.fromarray(grey), palette])
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    assert model.score([]).shape == (0,)
    assert model.maps([]).shape == (0, 16, 16)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((16, 16, 3), np.uint8), r"give an array \(N, H, W, C\)"),
        ("image.png", "or a list of images"),
        ([np.zeros((3, 16, 16), np.uint8)], "put the channels last"),
        ([np.zeros((16, 16, 3), np.float32)], "uint8 from 0 to 255, got float32"),
        ([np.zeros((16, 16), np.uint16)], "dataset.window"),
        ([Path("missing.png")], "cannot be opened"),
    ],
)
def test_what_is_no_image_is_one_line(model: Model, given: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        model.score(given)
    assert "\n" not in str(caught.value)


def test_deep_images_are_seen_through_the_window(model: Model) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (20, 20)).astype(np.uint16)
    how = model.facts.preprocessing.model_copy(update={"window": (0.0, 4095.0)})
    windowed = Model(model.facts.model_copy(update={"preprocessing": how}), model.detector)
    expected = model.score([np.rint(deep / 4095 * 255).astype(np.uint8)])
    for image in (deep, Image.fromarray(deep)):
        np.testing.assert_allclose(windowed.score([image]), expected, rtol=1e-5)
    with pytest.raises(DataError, match=r"where dataset\.window of the model is 0 to 4095"):
        windowed.score([(deep / 4095).astype(np.float32)])
    with pytest.raises(DataError, match=r"take a model of a study with dataset\.window"):
        model.score([Image.fromarray(deep)])


def test_p_values_and_flags_follow_from_the_held_out_normals(model: Model) -> None:
    calibration = model.facts.calibration
    assert calibration is not None
    held_out = np.array(calibration.scores)
    scores = np.concatenate([held_out, held_out + 1e-6, [-1.0, 9.0]])
    by_hand = [(1 + sum(held_out >= score)) / (len(held_out) + 1) for score in scores]
    np.testing.assert_allclose(model.p_values(scores), by_hand, rtol=1e-12)
    flags = model.is_anomaly(scores)
    assert np.array_equal(flags, np.array(by_hand) <= calibration.rate + 1e-12)
    assert 0 < flags.sum() < len(flags)


def test_without_a_calibration_there_are_scores_alone(model: Model, images: np.ndarray) -> None:
    bare = Model(model.facts.model_copy(update={"calibration": None}), model.detector)
    scores = bare.score(images[:2])
    for ask in (bare.p_values, bare.is_anomaly):
        with pytest.raises(SpecError, match="holds no calibration"):
            ask(scores)


def test_the_same_weights_from_another_file_will_do(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(BUNDLED_VGG_MINI.read_bytes())
    assert hpsearch.load(bundle, backbone_weights=copy).facts == read_bundle(bundle)
    with pytest.raises(WeightsError, match="does not exist"):
        hpsearch.load(bundle, backbone_weights=tmp_path / "none.safetensors")


def test_a_device_that_is_not_there(bundle: Path) -> None:
    with pytest.raises(SpecError, match="must be one of auto, cpu"):
        hpsearch.load(bundle, device="cuda:99")


def test_neither_a_bundle_nor_a_study(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError) as caught:
            hpsearch.load(path, runs=tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/model", "a" * 300])
def test_names_that_no_folder_can_have_are_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        hpsearch.load(name, runs=tmp_path)
    assert str(caught.value).isprintable()


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, hpsearch; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize("documented", [hpsearch, hpsearch.model.model])
def test_the_examples_run(documented: Any, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pristine)
    result = doctest.testmod(documented)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_bundle_alone_is_enough(bundle: Path, images: np.ndarray) -> None:
    assert {path.name for path in bundle.parent.iterdir()} == {"model"}
    assert (bundle / FACTS).exists()
    assert np.isfinite(hpsearch.load(bundle).score(images)).all()

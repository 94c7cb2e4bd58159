from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpa_core.vgg import VGG_MINI
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.detectors.backbones.weight_files import read_metadata
from hpsearch.errors import DataError
from tools.vgg_mini.classifier import Recipe, augment, normalise, pad, train_classifier
from tools.vgg_mini.image_folders import LabelledImages, read_image_folders
from tools.vgg_mini.train_vgg_mini import classification_accuracy, folded_backbone, main


def bright_and_dark(count: int, size: int = 32) -> LabelledImages:
    """Two classes that any network tells apart: dark images and bright ones."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    noise = rng.integers(0, 80, (count, size, size, 3))
    images = (noise + 160 * labels[:, None, None, None]).astype(np.uint8)
    return LabelledImages(images, labels, ("bright", "dark"))


def save_folders(data: LabelledImages, folder: Path) -> None:
    for position, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = folder / data.classes[label] / f"{position:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def test_training_learns_and_repeats_with_its_seed() -> None:
    data = bright_and_dark(32, size=8)
    recipe = Recipe(epochs=25, batch_size=16, peak_learning_rate=0.05)
    first = train_classifier(VGG_MINI, data, recipe)
    again = train_classifier(VGG_MINI, data, recipe)

    backbone = folded_backbone(first.features)

    assert backbone.digest == folded_backbone(again.features).digest
    assert classification_accuracy(backbone, first.head, data, batch_size=10) == 1.0


def test_command_writes_a_backbone_and_its_card(tmp_path: Path) -> None:
    save_folders(bright_and_dark(24), tmp_path / "train")
    save_folders(bright_and_dark(6), tmp_path / "test")
    out = tmp_path / "out"

    main(["--images", str(tmp_path), "--out", str(out), "--epochs", "2", "--seed", "5"])

    backbone = load_backbone("vgg-mini", weights_file=out / "vgg-mini.safetensors")
    metadata = read_metadata(out / "vgg-mini.safetensors")
    card = (out / "vgg-mini.md").read_text(encoding="utf-8")
    assert metadata["digest"] == backbone.digest
    assert (metadata["n_train"], metadata["epochs"], metadata["seed"]) == ("24", "2", "5")
    assert f"{100 * float(metadata['test_accuracy']):.2f} %" in card
    assert backbone.statistics is not None and set(backbone.statistics) == set(VGG_MINI.layers)


def test_crops_are_windows_of_the_padded_image_some_of_them_mirrored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    padded = pad(images, 2)
    windows = {
        window.numpy().tobytes()
        for top in range(5)
        for left in range(5)
        for plain in [padded[0, top : top + 8, left : left + 8]]
        for window in (plain.contiguous(), plain.flip(1).contiguous())
    }
    crops = augment(padded.expand(2000, -1, -1, -1), 8, torch.Generator().manual_seed(0))
    assert {crop.contiguous().numpy().tobytes() for crop in crops} == windows


def test_normalised_as_the_feature_extractor_normalises() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    backbone = load_backbone("vgg-mini")
    extractor = build_extractor(backbone, ["r12"])
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(
        extractor.features(normalise(torch.from_numpy(images)), ["r12"])["r12"],
        extractor(scaled)["r12"],
        atol=1e-4,
        rtol=1e-4,
    )


def test_image_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bright_and_dark(4)
    save_folders(data, tmp_path)
    (tmp_path / "dark" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with caplog.at_level("WARNING"):
        found = read_image_folders(tmp_path)
    assert "1 file is passed over: 1 .db (dark/Thumbs.db)" in caplog.text
    assert found.classes == ("bright", "dark")
    assert found.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(found.images, data.images[[0, 2, 1, 3]])


def test_image_folders_refuse_nothing_and_mixed_sizes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no <class>/<image> files"):
        read_image_folders(tmp_path)
    save_folders(bright_and_dark(2), tmp_path)
    Image.new("RGB", (16, 16)).save(tmp_path / "dark" / "small.png")
    with pytest.raises(DataError, match=r"small\.png: images must all have the size"):
        read_image_folders(tmp_path)

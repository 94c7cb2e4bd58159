import shutil
from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.manifest import OBTAINED_SETS, load_obtained
from hpsearch.datasets.prepare.patches import prepare_patches
from hpsearch.errors import DataError
from hpsearch.protocol.labels import anomaly_pool

CAMELYON16 = next(source for source in OBTAINED_SETS if source.name == "camelyon16")
PARTS = {"train/good": 4, "test/good": 2, "test/Ungood": 3}


def fill(folder: Path, parts: dict[str, int]) -> Path:
    for part, count in parts.items():
        (folder / part).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / part / f"{number}.png")
    return folder


def test_a_set_of_three_parts(tmp_path: Path) -> None:
    prepare_patches(fill(tmp_path, PARTS))
    table = load_obtained(CAMELYON16, root=tmp_path).table
    counts = table.groupby(["split", "label"]).size().to_dict()
    assert counts == {("train", 0): 4, ("test", 0): 2, ("test", 1): 3}
    assert set(table["anomaly_type"]) == {"", "tumour"}
    assert (table["group"] == table["image_id"]).all()


def test_a_validation_part_is_to_search_with(tmp_path: Path) -> None:
    fill(tmp_path, {**PARTS, "valid/good/img": 2, "valid/Ungood/img": 5, "valid/Ungood/label": 5})
    prepare_patches(tmp_path)
    table = load_obtained(CAMELYON16, root=tmp_path).table
    assert len(table) == 4 + 2 + 3 + 2 + 5
    assert len(anomaly_pool(table)) == 5
    assert (table["split"].iloc[anomaly_pool(table)] == "train").all()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_or_empty(tmp_path: Path, part: str) -> None:
    fill(tmp_path, PARTS)
    shutil.rmtree(tmp_path / part)
    for _ in range(2):
        with pytest.raises(DataError, match=f"holds no images in {part}"):
            prepare_patches(tmp_path)
        (tmp_path / part).mkdir(exist_ok=True)
    assert not (tmp_path / "manifest.csv").exists()


def test_the_user_s_manifest_is_not_overwritten(tmp_path: Path) -> None:
    manifest = prepare_patches(fill(tmp_path, PARTS)).manifest
    ours = manifest.read_bytes()
    prepare_patches(tmp_path)
    assert manifest.read_bytes() == ours
    manifest.write_text("image_path,label_index,split\n")
    with pytest.raises(DataError, match="lists other images"):
        prepare_patches(tmp_path)
    assert manifest.read_text() == "image_path,label_index,split\n"

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "patches"
    for part, count in {"train/good": 9, "test/good": 3, "test/Ungood": 4}.items():
        (folder / part).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    return folder


def test_patches_become_a_dataset(hpsearch: Command, patches: Path) -> None:
    ended = hpsearch("prepare", "camelyon16", "--patches", patches)
    assert (ended.code, ended.err) == (0, "")
    assert "patches carry no slide names" in ended.out
    assert "test: 3 normal, 4 tumour tiles" in ended.out
    assert f"--dataset camelyon16 --root {patches}" in ended.out
    checked = hpsearch(
        "check", "--dataset", "camelyon16", "--root", patches, "--n-examples", 2, "--json"
    )
    assert checked.code == 0
    as_json = hpsearch("prepare", "camelyon16", "--patches", patches, "--json")
    assert json.loads(as_json.out.splitlines()[-1]) == {
        "manifest": str(patches / "manifest.csv"),
        "thumbnails": None,
        "tiles": {"train_normal": 9, "train_tumour": 0, "test_normal": 3, "test_tumour": 4},
        "left_out": {},
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give --slides DIR and --out DIR, or --patches DIR"),
        (["--slides", "none", "--out", "o"], "none: is no folder"),
        (["--slides", "none"], "give --slides DIR and --out DIR"),
        (["--patches", "none"], "none: holds no images in train/good"),
        (["--patches", "none", "--out", "o"], "takes no --slides and no --out"),
        (["--slides", "s", "--out", "o", "--stain", "reinhard"], "stain 'reinhard': unknown"),
        (["--slides", "s", "--out", "o", "--tile-size", "100"], "give a multiple of 3"),
        (["--slides", "s", "--out", "o", "--magnification", "30"], "give one of 40, 20, 10"),
        (["--slides", "s", "--out", "o", "--target", "t.png"], "t.png: cannot be opened"),
        (["--slides", "s", "--out", "o", "--workers", "99999"], "workers must be from 1"),
    ],
)
def test_mistakes_are_one_line(
    hpsearch: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hpsearch("prepare", "camelyon16", *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert says in ended.err
    assert not (tmp_path / "o").exists()


@pytest.fixture
def chests(tmp_path: Path) -> Path:
    """Four X-rays of two patients in the archive's layout."""
    root = tmp_path / "my chests"
    (root / "images").mkdir(parents=True)
    rows = ("No Finding,0,1", "Hernia|Mass,1,1", "Mass,2,1", "Hernia|Mass,0,2", "No Finding,1,2")
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,View Position"]
    for number, row in enumerate(rows):
        Image.new("L", (512, 512), number).save(root / f"images/{number}.png")
        lines.append(f"{number}.png,{row},PA")
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines))
    (root / "train_val_list.txt").write_text("0.png\n1.png\n2.png")
    (root / "test_list.txt").write_text("3.png\n4.png")
    return root


def test_chests_are_reduced_and_counted(hpsearch: Command, chests: Path, cache: Path) -> None:
    ended = hpsearch("prepare", "nih", "--root", chests)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    for expected in (
        ["nih-pa", "train", "test"],
        ["normal", "1", "1"],
        ["Mass", "1", "0"],
        ["several", "findings", "0", "1"],
    ):
        assert expected in lines
    assert "1 training images with several findings are set aside" in ended.out
    assert f"hpsearch run --dataset nih-pa --root '{chests}' --n-anomaly-types 1" in ended.out
    (folder,) = cache.glob("nih-300px/*/")
    assert {path.name for path in folder.iterdir()} == {"0.png", "2.png", "3.png", "4.png"}
    ended = hpsearch("prepare", "nih", "--root", chests, "--multi-label", "first", "--json")
    assert json.loads(ended.out.splitlines()[-1]) == {
        "copies": str(folder),
        "images": {
            "train": {"normal": 1, "Hernia": 1, "Mass": 1},
            "test": {"normal": 1, "Hernia": 1, "Mass": 0},
        },
        "notes": [],
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nih-pa: no images here; either download it from"),
        (["--root", "."], "lacks train_val_list.txt; either download it from"),
        (["--root", ".", "--dataset", "nih"], "--dataset 'nih': give one of nih-pa, nih-ap"),
        (["--root", ".", "--multi-label", "all"], "multi-label 'all': unknown; give pure, first"),
    ],
)
def test_mistakes_with_chests_are_one_line(
    hpsearch: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hpsearch("prepare", "nih", *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert says in ended.err

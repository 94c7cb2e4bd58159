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

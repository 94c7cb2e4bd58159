"""The command line in this process: its output and its exit code."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from hpsearch.cli.main import main
from hpsearch.datasets.torchvision_sets import CIFAR10


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def hpsearch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inline: list[str]
) -> Callable[..., Ended]:
    """Runs `hpsearch ARGUMENTS`; trainings happen in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hpsearch", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def cifar_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of a few JPEG images in folders, each class of a shade of its own."""
    root, rng = tmp_path_factory.mktemp("cifar"), np.random.default_rng(0)
    for number, name in enumerate(CIFAR10.classes):
        for split, count in (("train", 12 if name in ("car", "ship") else 3), ("test", 3)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = rng.normal(40 + 18 * number, 20, (16, 16, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.jpg")
    return root

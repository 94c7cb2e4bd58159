"""What `hpsearch run` finds on real images, as anyone would run it: one type of 20 labels.

    HPSEARCH_RUN_OPTIONS="--detector auto --timeout 600" HPSEARCH_RUN_FOLDER=DIR \\
        pytest tests/benchmarks/test_real_data.py -s -k magnetic_tile

The options are those of `hpsearch run`; without them `auto` searches as for any data of a user. In
the folder, the runs and the cache are kept and a rerun goes on. Printed are the test ROC AUC with
its interval, of seen and of unseen types apart, that of each other detector which the result names,
and where anomalies have masks the pixel figures of the model (see `test_maps`).

CIFAR-10, as JPEG, has one class as normal: 2,000 of its training images, 100 of each other class to
draw the labelled ones from; all test images of the class against 200 of each other.
"""

import csv
import json
import os
import random
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpsearch.datasets.manifest import load_manifest
from hpsearch.errors import SpecError
from tests.benchmarks.test_maps import print_pixel_figures

NAMES = ("magnetic_tile", "lc25000_lung", "cifar10_automobile", "cifar10_ship")
N_TRAIN, N_TO_LABEL, N_TEST = 2000, 100, 200
SEED = 0


@pytest.mark.shared_data
@pytest.mark.parametrize("name", NAMES)
def test_run(name: str, shared_data: Path, tmp_path: Path) -> None:
    folder = Path(os.environ.get("HPSEARCH_RUN_FOLDER") or tmp_path).absolute()
    manifest = _manifest(name, shared_data, folder)
    options = shlex.split(os.environ.get("HPSEARCH_RUN_OPTIONS", "--detector auto"))
    asked = ["--dataset", manifest, "--study-name", name, "--runs", folder / "runs", "--json"]
    asked += ["--n-anomaly-types", 1, "--n-examples", 20, *options]
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", "from hpsearch.cli.main import main; main()", "run"]
        + [str(argument) for argument in asked],
        env={**os.environ, "HPSEARCH_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    print(f"\n{name}: hpsearch run {shlex.join(options)}: {time.perf_counter() - started:.0f} s")
    print_figures(found)
    dataset = load_manifest(manifest)
    if dataset.table["mask_path"].any():
        try:
            print_pixel_figures(Path(found["model"]), dataset)
        except SpecError as without_maps:
            print(without_maps)


def print_figures(found: Mapping[str, Any]) -> None:
    """Print what `hpsearch run --json` says, a line a figure."""
    print(f"{found['n_trials']} configurations, {found['n_failed']} failed; {found['params']}")
    rows = {
        "test": found["test"],
        "types that the search saw": found["test_seen_types"],
        "types that it never saw": found["test_unseen_types"],
        "the best single one, of an average": found["test_single"],
        **{f"trial {part['trial']}, {part['detector']}": part["test"] for part in found["members"]},
        **found["references"],
    }
    for name, estimate in rows.items():
        if estimate is not None:
            ends = [estimate[end] for end in ("low", "high")]
            interval = "no interval" if None in ends else "{:.3f} - {:.3f}".format(*ends)
            print(f"{name:>40}: ROC AUC {estimate['auroc']:.3f} ({interval})")
            assert 0 <= estimate["auroc"] <= 1


def _manifest(name: str, shared: Path, folder: Path) -> Path:
    """The manifest of a data set, unpacked into `folder` where it is not there yet."""
    archive = "cifar10_jpeg" if name.startswith("cifar10") else name
    if not (folder / archive).exists():
        with tarfile.open(shared / f"{archive}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
    if archive == name:
        return folder / name / "manifest.csv"
    return write_class_manifest(folder / archive, name.removeprefix("cifar10_"), seed=SEED)


def write_class_manifest(
    folder: Path,
    normal_class: str,
    *,
    seed: int,
    n_train: int = N_TRAIN,
    n_to_label: int = N_TO_LABEL,
    n_test: int = N_TEST,
) -> Path:
    """A manifest beside the images `train/<class>/` and `test/<class>/`, drawn by the seed.

    Args:
        folder: of the images.
        normal_class: each other class is a type of anomaly.
        seed: same seed, same images of a class, whichever is normal.
        n_train: training images of the normal class; all of its test images are taken.
        n_to_label: training images of each other class.
        n_test: test images of each other class.
    """
    path = folder / f"{normal_class}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "label_index", "anomaly_type", "split"])
        for of_class in sorted((folder / "train").iterdir()) + sorted((folder / "test").iterdir()):
            split, kind = of_class.parent.name, of_class.name
            images = sorted(image.name for image in of_class.iterdir())
            random.Random(f"{seed} {split} {kind}").shuffle(images)
            is_normal = kind == normal_class
            wanted = {
                ("train", True): n_train,
                ("train", False): n_to_label,
                ("test", True): len(images),
                ("test", False): n_test,
            }[split, is_normal]
            for image in sorted(images[:wanted]):
                label = int(not is_normal)
                rows.writerow([f"{split}/{kind}/{image}", label, "" if is_normal else kind, split])
    return path

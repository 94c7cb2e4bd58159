"""Memory, restart and speed of `hpsearch predict` on 5,000 images of mixed sizes, 12 broken.

HPSEARCH_PREDICT_MODEL=runs/quickstart pytest tests/benchmarks/test_predict.py -s
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

N_FEW, N_MANY, N_BROKEN = 500, 5_000, 12
ALLOWED = 1.2  # of the peak memory with many images, in units of that with few
SUFFIXES = ("png", "jpg", "bmp", "tif")
PROGRAM = "import sys; sys.argv[0] = 'hpsearch'; from hpsearch.cli.main import main; main()"


def make_images(folder: Path, n: int, n_broken: int) -> Path:
    """Coloured and grey blots of 24 to 400 px; the broken ones are cut off, empty or text."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    broken = set(rng.choice(n, n_broken, replace=False).tolist())
    for number in range(n):
        path = folder / f"{number:05d}.{SUFFIXES[number % len(SUFFIXES)]}"
        shape = (8, 8) if number % 5 == 0 else (8, 8, 3)
        coarse = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        width, height = rng.integers(24, 400, 2)
        coarse.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(path)
        if number in broken:
            content = path.read_bytes()
            path.write_bytes((content[: len(content) // 3], b"", b"no image")[number % 3])
    return folder


def command(images: Path, out: Path) -> list[str]:
    model = os.environ["HPSEARCH_PREDICT_MODEL"]
    return [sys.executable, "-c", PROGRAM, "predict", model, str(images), "--out", str(out)]


def peak_of(images: Path, out: Path) -> tuple[int, float]:
    """Largest resident memory in kB of any process of a whole run, and its seconds."""
    started = time.perf_counter()
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *command(images, out)], stdout=subprocess.PIPE, check=True
    )
    return int(ended.stdout.split()[-1]), time.perf_counter() - started


def kill_half_way(images: Path, out: Path) -> None:
    process = subprocess.Popen(command(images, out), start_new_session=True)
    parts = out.parent / f".{out.name}.parts"
    while not parts.is_dir() or len(list(parts.glob("*.json"))) < N_MANY / 128 / 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()


@pytest.mark.skipif(
    "HPSEARCH_PREDICT_MODEL" not in os.environ, reason="needs HPSEARCH_PREDICT_MODEL"
)
def test_many_images(tmp_path: Path) -> None:
    few = make_images(tmp_path / "few", N_FEW, 1)
    many = make_images(tmp_path / "many", N_MANY, N_BROKEN)
    peak_few, _ = peak_of(few, tmp_path / "few.csv")
    peak_many, seconds = peak_of(many, tmp_path / "many.csv")
    print(
        f"\n{N_FEW} images: peak {peak_few / 1024:.0f} MB; {N_MANY:,} images: peak "
        f"{peak_many / 1024:.0f} MB, {seconds:.0f} s, {N_MANY / seconds:.0f} images a second"
    )
    with (tmp_path / "many.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == N_MANY - N_BROKEN
    with (tmp_path / "many.unreadable.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == N_BROKEN
    assert peak_many < ALLOWED * peak_few
    kill_half_way(many, tmp_path / "again.csv")
    peak_of(many, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "many.csv").read_bytes()

"""Peak memory of `prepare camelyon16` at 20 and at 200 slides: it must not grow with their number.

The slides are of the real tile size, 9 x 7 tiles; a few files, linked under many names.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

SIDE, COLUMNS, ROWS = 768, 9, 7
TILES = 8  # a slide: as many as a worker holds at once
N_SLIDES = (20, 200)
WORKERS = 2
ALLOWED = 1.10  # of the memory at 200 slides, in units of that at 20
LESION = ((800, 800), (6000, 800), (6000, 4600), (800, 4600))
PROGRAM = """
import json, multiprocessing, sys, threading, time
from pathlib import Path
from hpsearch.search.events import SilentListener
from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.settings import TilingSettings

def peak(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

def watch(peaks):
    while True:
        for child in multiprocessing.active_children():
            try:
                peaks[child.pid] = max(peak(child.pid), peaks.get(child.pid, 0))
            except OSError:
                pass
        time.sleep(0.02)

if __name__ == "__main__":
    peaks = {}
    threading.Thread(target=watch, args=(peaks,), daemon=True).start()
    slides, out, stain, tiles, workers = sys.argv[1:]
    settings = TilingSettings(stain=stain, tiles_per_slide=int(tiles))
    prepared = prepare_camelyon16(
        Path(slides), Path(out), settings, workers=int(workers), listener=SilentListener()
    )
    found = {"parent": peak("self"), "worker": max(peaks.values())}
    print(json.dumps({"tiles": len(prepared.rows), **found}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peaks from /proc")
@pytest.mark.parametrize("stain", ["none", "vahadane"])
def test_memory_does_not_grow_with_the_number_of_slides(tmp_path: Path, stain: str) -> None:
    files = [write_slide(tmp_path / f"{number}.tif", number) for number in range(3)]
    peaks = {}
    for n in N_SLIDES:
        peaks[n] = measure(link(tmp_path / f"{n}", files, n), tmp_path / f"{n}-tiles", stain)
        print(line(stain, n, peaks[n]))
    few, many = (peaks[n] for n in N_SLIDES)
    assert many["tiles"] > 5 * few["tiles"]
    for process in ("parent", "worker"):
        assert many[process] < ALLOWED * few[process]


def write_slide(path: Path, seed: int) -> Path:
    """Tissue with nuclei of some px on glass, in nine levels."""
    rng = np.random.default_rng(seed)
    nuclei = rng.random((ROWS * SIDE // 8, COLUMNS * SIDE // 8, 1)) < 0.2
    coarse = np.where(nuclei, (110, 60, 130), (215, 140, 190)).astype(np.uint8)
    pixels = coarse.repeat(8, axis=0).repeat(8, axis=1)
    pixels[:, : SIDE // 2] = pixels[: SIDE // 2] = 243
    resolution = {"resolution": (1e4 / 0.243,) * 2, "resolutionunit": "CENTIMETER"}
    common = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, **common, **resolution)
        for _ in range(8):
            rows, columns = (length // 2 for length in pixels.shape[:2])
            quads = pixels[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3)
            pixels = quads.mean(axis=(1, 3)).astype(np.uint8)
            file.write(pixels, subfiletype=1, **common)
    return path


def link(folder: Path, files: list[Path], n: int) -> Path:
    """A challenge of `n` slides: 60 % normal, 20 % with a tumour, 20 % of the test."""
    places = [("training/normal", "normal")] * 3 + [("training/tumor", "tumor")]
    places.append(("testing/images", "test"))
    for number in range(n):
        place, kind = places[number % len(places)]
        slide = folder / place / f"{kind}_{number + 200}.tif"
        slide.parent.mkdir(parents=True, exist_ok=True)
        slide.symlink_to(files[number % len(files)])
    tests = sorted((folder / "testing/images").iterdir())
    kinds = ("Tumor,IDC,Macro", "Normal,None,None")
    rows = (f"{slide.stem},{kinds[i % 2]}\n" for i, slide in enumerate(tests))
    (folder / "testing/reference.csv").write_text("".join(rows))
    for part in ("training/tumor", "testing/images"):
        annotations = folder / part.split("/")[0] / "lesion_annotations"
        annotations.mkdir()
        for slide in (folder / part).iterdir():
            (annotations / f"{slide.stem}.xml").write_text(lesion())
    return folder


def lesion() -> str:
    points = (
        f'<Coordinate Order="{order}" X="{x}" Y="{y}" />' for order, (x, y) in enumerate(LESION)
    )
    return (
        '<ASAP_Annotations><Annotations><Annotation Type="Polygon" PartOfGroup="_0"><Coordinates>'
        f"{''.join(points)}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def measure(slides: Path, out: Path, stain: str) -> dict[str, float]:
    """Peak resident memory in kB of a run in processes of its own."""
    program = slides.parent / "program.py"
    program.write_text(PROGRAM)
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, program, slides, out, stain, str(TILES), str(WORKERS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return found | {"seconds": time.perf_counter() - started}


def line(stain: str, n: int, found: dict[str, float]) -> str:
    seconds, parent, worker = found["seconds"], found["parent"] / 1024, found["worker"] / 1024
    return (
        f"stain {stain}: {n:>3} slides, {found['tiles']:>4} tiles of {SIDE} px, {WORKERS} workers, "
        f"{seconds:.0f} s, {n / seconds:.2f} slides/s: peak {parent:.0f} MB in the parent, "
        f"{worker:.0f} MB in a worker"
    )

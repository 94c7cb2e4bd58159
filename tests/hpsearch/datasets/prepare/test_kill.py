"""kill -9 of the whole process tree while slides are tiled, and the same command again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.settings import TilingSettings

SETTINGS = TilingSettings(stain="none", tile_size=96, tiles_per_slide=40)
PROGRAM = """
import sys, time
from pathlib import Path
from hpsearch.search.events import SilentListener
from hpsearch.datasets.prepare.camelyon16 import prepare_camelyon16
from hpsearch.datasets.prepare.settings import TilingSettings

if __name__ == "__main__":
    prepare_camelyon16(
        Path(sys.argv[1]), Path(sys.argv[2]), TilingSettings(0, "none", 96, 40),
        workers=1, reporter=SilentListener(),
    )
"""


def test_a_killed_run_goes_on_and_ends_the_same(
    challenge: Path, tmp_path: Path, told: Any, content: Callable[[Path], dict[str, bytes]]
) -> None:
    out = tmp_path / "out"
    kept: dict[Path, int] = {}
    for n_done in (1, 3):
        process = _start(challenge, out, tmp_path / "program.py")
        try:
            _until(lambda n=n_done: len(_finished(out)) >= n, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert _finished(out).items() >= kept.items(), "a finished slide was lost or done again"
        kept = _finished(out)
        assert not (out / "manifest.csv").exists()
    prepare_camelyon16(challenge, out, SETTINGS, workers=1, reporter=told)
    assert _finished(out).items() >= kept.items()
    prepare_camelyon16(challenge, tmp_path / "calm", SETTINGS, workers=1, reporter=told)
    assert content(out) == content(tmp_path / "calm")


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(challenge: Path, tmp_path: Path, signal_: int) -> None:
    process = _start(challenge, tmp_path / "out", tmp_path / "program.py", stdout=subprocess.PIPE)
    try:
        _until(lambda: len(_finished(tmp_path / "out")) >= 1, process)
        process.send_signal(signal_)
        process.communicate(timeout=20)  # ends when the last process that could write there does
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("a worker outlived its parent")


def _start(slides: Path, out: Path, program: Path, **options: Any) -> "subprocess.Popen[bytes]":
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, program, slides, out],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        **options,
    )


def _finished(out: Path) -> dict[Path, int]:
    """Every slide's record that is on disk, with its inode."""
    return {path: path.stat().st_ino for path in out.glob("slides/[!.]*/slide.json")}


def _until(reached: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.002)

"""A short run of `kills.py`, which see; the long one is

python tests/faults/kills.py --studies 200 --commands 60
"""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="events are counted by inotify")
def test_a_killed_study_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kills.py")
    options = ["--studies", "2", "--commands", "0", "--only", "dpa", "--jobs", "1", "--work"]
    ran = subprocess.run(
        [sys.executable, str(script), *options, str(tmp_path / "work")],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "lost 0, repeated 0, leftover 0, other 0, broken 0" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("2 kills")

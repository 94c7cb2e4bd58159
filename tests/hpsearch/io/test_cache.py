import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from hpsearch.io.cache import cache_dir, sole_writer


def test_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPSEARCH_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir() == tmp_path / "elsewhere"


@pytest.mark.parametrize("value", [None, ""])
def test_default_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("HPSEARCH_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("HPSEARCH_CACHE", value)
    assert cache_dir() == platformdirs.user_cache_path("hpsearch")


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    target = tmp_path / "made"
    code = (
        "import sys, time; from pathlib import Path; from hpsearch.io.cache import sole_writer\n"
        "target = Path(sys.argv[1])\n"
        "with sole_writer(target):\n"
        "    if not target.exists():\n"
        "        time.sleep(0.3); target.touch(); print('made')\n"
    )
    command = [sys.executable, "-c", code, str(target)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(said) == ["", "made\n"]


def test_leftovers_are_swept_and_others_kept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123-made").mkdir()
    (tmp_path / ".tmp-0123-unrelated").touch()
    with sole_writer(tmp_path / "made"):
        assert not (tmp_path / ".tmp-0123-made").exists()
    assert (tmp_path / ".tmp-0123-unrelated").exists()

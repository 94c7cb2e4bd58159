import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpsearch.io.files import (
    atomic_path,
    remove_leftovers,
    tidy,
    write_directory_atomic,
    write_text_atomic,
)
from hpsearch.io.text import printable


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.npy"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"x")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".npy"
        assert not target.exists()
    assert target.read_bytes() == b"x"
    assert names(target.parent) == ["a.npy"]


def test_file_keeps_its_old_content_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text_atomic(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_text_round_trips_byte_for_byte(tmp_path: Path) -> None:
    text = "ü\r\n\n\x00end"
    write_text_atomic(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == text.encode()


def test_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "task"
    with write_directory_atomic(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "scores").write_text("1")
        assert not target.exists()
    assert (target / "deep" / "scores").read_text() == "1"
    assert names(target.parent) == ["task"]


def test_failed_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_directory_atomic(tmp_path / "task") as temporary:
        (temporary / "scores").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_existing_directory_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "task"
    with pytest.raises(FileExistsError), write_directory_atomic(target):
        target.mkdir()  # another process is faster
    with pytest.raises(FileExistsError), write_directory_atomic(target):
        raise AssertionError("the block must not run")
    assert names(tmp_path) == ["task"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a.npy"
    code = (
        "import os, signal, sys; from pathlib import Path; from hpsearch.io.files import *\n"
        "with atomic_path(Path(sys.argv[1])) as t:\n"
        "    t.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(target)], env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    (tmp_path / "other.npy").touch()
    assert len(names(tmp_path)) == 2
    remove_leftovers(target)
    assert names(tmp_path) == ["other.npy"]


KILLED = """
import os, signal, sys
from pathlib import Path
from hpsearch.io.files import *
with atomic_path(Path(sys.argv[1]) / "a.npy") as file, write_directory_atomic(
    Path(sys.argv[1]) / "graph"
) as folder:
    file.write_bytes(b"half")
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_start_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    left = names(tmp_path)
    assert len(left) == 2
    host = left[0].split("-")[1]
    elsewhere = tmp_path / f".tmp-ffffff-{os.getpid()}-abcdef-of-another-machine"
    earlier = tmp_path / ".tmp-0123456789ab-of-an-earlier-version"
    mine = tmp_path / f".tmp-{host}-{os.getpid()}-abcdef-of-an-earlier-container"
    for path in (elsewhere, earlier, mine):
        path.touch()
    with atomic_path(tmp_path / "under-way") as under_way:  # the first write here tidies
        under_way.touch()
        assert set(names(tmp_path)) == {elsewhere.name, earlier.name, under_way.name}
        yesterday = time.time() - 25 * 3600
        os.utime(elsewhere, (yesterday, yesterday))
        tidy(tmp_path)
        assert set(names(tmp_path)) == {earlier.name, under_way.name}
        tidy(tmp_path, locked=True)
        assert names(tmp_path) == [under_way.name]
    assert names(tmp_path) == ["under-way"]
    tidy(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "shown"), [("a b/é.png", "a b/é.png"), ("a\nb", r"a\nb"), ("a\udcff", r"a\udcff")]
)
def test_printable_is_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()

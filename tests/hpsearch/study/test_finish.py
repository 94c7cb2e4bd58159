"""A final model that was lost or damaged is noticed and made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import UserError
from hpsearch.model.bundle import FACTS, find_model, read_bundle
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.run import run_study
from tests.hpsearch.notes import Notes

RESULT = "result.json"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


FAULTS: dict[str, Callable[[Path], None]] = {
    "all gone": lambda final: shutil.rmtree(final),
    "model gone": lambda final: shutil.rmtree(final / "model"),
    "facts gone": lambda final: (final / "model" / FACTS).unlink(),
    "weights gone": lambda final: (final / "model" / "model.safetensors").unlink(),
    "weights cut": lambda final: _cut(final / "model" / "model.safetensors"),
    "result gone": lambda final: (final / RESULT).unlink(),
    "result cut": lambda final: _cut(final / RESULT),
    "result a list": lambda final: (final / RESULT).write_text("[]") and None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_final_model_is_made_anew(
    fault: str,
    tiny_spec: Any,
    finished_study: Callable[..., RunDir],
    runs: Path,
    cache: Path,
    inline: list[str],
) -> None:
    folder, notes = finished_study(tiny_spec()), Notes()
    final = folder.final / str(folder.winner())
    before, facts = json.loads((final / RESULT).read_text()), read_bundle(final / "model")
    FAULTS[fault](final)
    options = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    inline.clear()
    run_study(tiny_spec(), listener=notes, **options)
    assert json.loads((final / RESULT).read_text()) == before
    assert read_bundle(find_model("tiny", runs)) == facts
    assert not inline, "the training itself was on disk"
    assert fault == "all gone" or any("made anew" in line for line in notes.lines)


def test_a_model_that_is_damaged_in_both_places_is_trained_again(
    tiny_spec: Any,
    finished_study: Callable[..., RunDir],
    runs: Path,
    cache: Path,
    inline: list[str],
) -> None:
    folder, notes = finished_study(tiny_spec()), Notes()
    final = folder.final / str(folder.winner())
    facts = read_bundle(final / "model")
    task = json.loads((final / RESULT).read_text())["tasks"][0]
    _cut(final / "model" / "model.safetensors")
    _cut(folder.tasks / task / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"`hpsearch run` makes a damaged one anew"):
        read_bundle(final / "model")
    inline.clear()
    options = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    run_study(tiny_spec(), listener=notes, **options)
    assert inline == [task]
    assert read_bundle(final / "model") == facts

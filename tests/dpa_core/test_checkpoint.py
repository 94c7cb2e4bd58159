import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpa_core.errors import CheckpointError
from dpa_core.tensor_files import MAX_TENSOR_BYTES
from dpa_core.training_state import load_checkpoint, save_checkpoint


def tensors_of(number: int) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 5), float(number)), "step": torch.tensor(float(number))}


def write(folder: Path, *numbers: int) -> None:
    for number in numbers:
        save_checkpoint(folder, tensors_of(number), {"number": number}, name=f"step-{number}")


def assert_loads(folder: Path, number: int) -> None:
    found = load_checkpoint(folder)
    assert found is not None
    tensors, state = found
    assert state == {"number": number}
    assert tensors.keys() == tensors_of(number).keys()
    assert all(torch.equal(tensors[key], value) for key, value in tensors_of(number).items())


def edit_index(folder: Path, **changed: Any) -> None:
    """Change the entry of the newest checkpoint."""
    path = folder / "checkpoint.json"
    entries = json.loads(path.read_text())
    entries[0] |= changed
    path.write_text(json.dumps(entries))


def test_nothing_there(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None


def test_round_trip_of_types_and_layouts(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(2, 3).half(),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 2).T,
        "parameter": torch.nn.Parameter(torch.randn(4)),
        "long": torch.arange(3),
        "empty": torch.empty(0),
    }
    state = {"list": [1, 2.5, None], "text": "Σ", "nested": {"best": 0.1 + 0.2}}
    save_checkpoint(tmp_path / "new" / "folder", tensors, state, name="model")
    found = load_checkpoint(tmp_path / "new" / "folder")
    assert found is not None
    assert found[1] == state
    for key, value in tensors.items():
        assert found[0][key].dtype == value.dtype
        assert torch.equal(found[0][key], value)


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4)
    assert_loads(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.json",
        "step-3.safetensors",
        "step-4.safetensors",
    ]


@pytest.mark.parametrize("length", [0, 1, 8, 60, -1])
def test_truncated_newest_falls_back_to_the_one_before(tmp_path: Path, length: int) -> None:
    write(tmp_path, 1, 2)
    newest = tmp_path / "step-2.safetensors"
    newest.write_bytes(newest.read_bytes()[:length])
    with pytest.warns(UserWarning, match=r"step-2.safetensors is damaged") as warned:
        assert_loads(tmp_path, 1)
    assert len(warned) == 1


def test_missing_and_altered_files_are_damage(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / "step-2.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"step-2.safetensors is damaged"):
        assert_loads(tmp_path, 1)
    older = tmp_path / "step-1.safetensors"
    content = bytearray(older.read_bytes())
    content[-1] ^= 1  # a single bit of a weight
    older.write_bytes(content)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(CheckpointError, match="every checkpoint is damaged; delete the folder"),
    ):
        load_checkpoint(tmp_path)


def test_a_fallback_is_followed_by_whole_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / "step-2.safetensors").write_bytes(b"torn")
    write(tmp_path, 2)
    assert_loads(tmp_path, 2)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("replaced", [0, 1])  # the tensors are in place, or not even they
def test_a_kill_while_writing_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: int
) -> None:
    write(tmp_path, 1)
    replace, calls = os.replace, iter(range(2))

    def killed(source: Path, target: Path) -> None:
        if next(calls) == replaced:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        write(tmp_path, 2)
    assert_loads(tmp_path, 1)
    assert not list(tmp_path.glob(".*"))
    write(tmp_path, 3)
    assert_loads(tmp_path, 3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 1)
    leftover = tmp_path / ".step-2.safetensors.4711.part"
    leftover.write_bytes(b"half")
    assert_loads(tmp_path, 1)
    write(tmp_path, 2)
    assert not leftover.exists()


@pytest.mark.parametrize("file", ["../outside.safetensors", "/outside.safetensors", "a/b"])
def test_a_file_outside_the_folder_is_never_read(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "checkpoints"
    write(folder, 1)
    outside = (folder / "step-1.safetensors").rename(tmp_path / "outside.safetensors")
    assert outside.is_file()
    edit_index(folder, file=file)
    with pytest.raises(CheckpointError, match="names a file outside its folder"):
        load_checkpoint(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_damage(tmp_path: Path, bad: float) -> None:
    write(tmp_path, 1)
    save_checkpoint(tmp_path, {"weight": torch.tensor([bad])}, {"number": 2}, name="step-2")
    with pytest.warns(UserWarning, match=r"step-2.safetensors is damaged"):
        assert_loads(tmp_path, 1)


def test_a_file_larger_than_any_of_ours_is_damage(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    os.truncate(
        tmp_path / "step-2.safetensors", MAX_TENSOR_BYTES + 1
    )  # takes no disk: it is a hole
    with pytest.warns(UserWarning, match=r"step-2.safetensors is damaged"):
        assert_loads(tmp_path, 1)


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, "{", "[1, 2", "{}", "[1]", '[{"file": 3}]', '[{"file": "a"}]', "null"],
)
def test_an_index_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"checkpoint.json is not .*; delete the folder"):
        load_checkpoint(tmp_path)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "checkpoints"
    write(folder, 1)
    content = pickle.dumps(Canary(canary))
    (folder / "step-1.safetensors").write_bytes(content)
    edit_index(folder, sha256=hashlib.sha256(content).hexdigest())
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert not canary.exists()
    pickle.loads(content)  # it does sing where it is run
    assert canary.exists()

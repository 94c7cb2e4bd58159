"""Tensors and JSON on disk, written so that a kill at any moment leaves a whole checkpoint.

A checkpoint folder holds `checkpoint.json` and the tensors files that it names with their SHA-256.
The JSON file is replaced last, in one step, and still names the checkpoint before, so a torn or
damaged newest file costs one checkpoint and not the training. Nothing here can run code.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dpa_core.errors import CheckpointError
from dpa_core.tensor_files import check_finite, check_size, read_header

_INDEX = "checkpoint.json"
_KEPT = 2  # the newest and the one before


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, name: str
) -> None:
    """Write `tensors` and the JSON-serialisable `state` as the newest checkpoint of `folder`.

    Args:
        folder: made where missing.
        tensors: on any device.
        state: whatever belongs to the tensors.
        name: stem of the tensors file, unique within the folder, e.g. `step-003000`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    file = f"{name}.safetensors"
    _write_atomically(folder / file, content)
    newest = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    entries = [newest, *(entry for entry in _entries(folder) if entry["file"] != file)][:_KEPT]
    _write_atomically(folder / _INDEX, json.dumps(entries, indent=1).encode())
    kept = {folder / entry["file"] for entry in entries}
    leftovers = folder.glob(".*.part")  # of a process that was killed while it wrote
    for old in {*folder.glob("*.safetensors"), *leftovers} - kept:
        old.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint that is whole, or None where there is none.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    entries = _entries(folder)
    for entry in entries:
        tensors = _load_tensors(folder / entry["file"], entry["sha256"])
        if tensors is not None:
            return tensors, entry["state"]
        warnings.warn(f"{folder / entry['file']} is damaged; trying the one before", stacklevel=2)
    if entries:
        raise CheckpointError(f"{folder}: every checkpoint is damaged; delete the folder")
    return None


def _entries(folder: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads((folder / _INDEX).read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / _INDEX} is not JSON; delete the folder") from error
    if not (isinstance(entries, list) and all(_is_entry(entry) for entry in entries)):
        raise CheckpointError(
            f"{folder / _INDEX} is not an index of checkpoints; delete the folder"
        )
    if not all(Path(entry["file"]).name == entry["file"] for entry in entries):
        raise CheckpointError(f"{folder / _INDEX} names a file outside its folder")
    return entries


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("state"), dict)
    )


def _load_tensors(path: Path, sha256: str) -> dict[str, Tensor] | None:
    try:
        check_size(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        read_header(path)
        tensors = load(content)
        for name, value in tensors.items():
            check_finite(name, value)
    except (OSError, SafetensorError):
        return None
    return tensors


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows cannot open folders, and does not need to."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hpsearch.datasets.pixels import STEPS, Preprocessing
from hpsearch.errors import DataError, UserError, WeightsError
from hpsearch.model.bundle import (
    FACTS,
    MAX_FILE_BYTES,
    ModelFacts,
    attach_calibration,
    calibrated,
    read_bundle,
    write_bundle,
)
from hpsearch.model.images import PreprocessingFacts
from hpsearch.model.model import load_model

TENSORS = "model.safetensors"


class Harmful:
    """Touches a canary where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.canary),)


def _edit(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    facts = json.loads((bundle / FACTS).read_text())
    change(facts)
    (bundle / FACTS).write_text(json.dumps(facts))


def _vouch(bundle: Path) -> None:
    """Write the hash of the tensors as they are now, as one who means harm would."""
    digest = hashlib.sha256((bundle / TENSORS).read_bytes()).hexdigest()
    _edit(bundle, lambda facts: facts["files"].update({TENSORS: digest}))


def test_two_files_and_every_fact_comes_back(bundle: Path, facts: ModelFacts) -> None:
    assert {path.name for path in bundle.iterdir()} == {FACTS, TENSORS}
    found = read_bundle(bundle)
    empty = found.model_copy(update={"files": {}, "calibration": None})
    assert empty == facts
    assert type(found.params["greyscale"]) is bool
    assert found.files == {TENSORS: hashlib.sha256((bundle / TENSORS).read_bytes()).hexdigest()}


def test_a_model_of_before_the_axis_fit_crops(bundle: Path) -> None:
    _edit(bundle, lambda facts: facts["preprocessing"].pop("fit"))
    assert read_bundle(bundle).preprocessing.steps.fit == "crop"


@pytest.mark.parametrize("window", ["null", "[0.0, 4095.0]", '"dicom"'])
def test_the_preprocessing_is_written_as_it_is_read(window: str) -> None:
    text = (
        f'{{"window": {window}, "greyscale": true, "equalize": false, "central_crop": 0.5, '
        '"fit": "stretch", "size": 32, "resolution": 16, "channels": 1}'
    )
    facts = PreprocessingFacts.model_validate_json(text)
    assert facts.steps == Preprocessing(32, greyscale=True, central_crop=0.5)
    written = facts.model_dump(mode="json")
    for added in STEPS.keys() - {"greyscale", "equalize", "central_crop", "fit"}:
        written.pop(added)
    assert json.dumps(written) == text


def test_an_existing_folder_is_left_as_it_is(bundle: Path, facts: ModelFacts) -> None:
    before = (bundle / FACTS).read_bytes()
    with pytest.raises(FileExistsError):
        write_bundle(bundle, saved=bundle, facts=facts)
    assert (bundle / FACTS).read_bytes() == before


def test_a_calibration_takes_the_place_of_the_one_before(bundle: Path) -> None:
    scores = np.random.default_rng(0).normal(size=99)
    attach_calibration(bundle, calibrated(scores, rate=0.05))
    found = read_bundle(bundle).calibration
    assert found is not None
    assert found.scores == tuple(np.sort(scores))
    assert found.threshold == np.sort(scores)[94]  # rank ceil(100 x 0.95)
    assert found.rate < found.bound < 0.1
    with pytest.raises(DataError, match="99 held-out normals"):
        calibrated(scores[:98], rate=0.01)


@pytest.mark.parametrize("vouched", [False, True], ids=["hash as it was", "hash of the pickle"])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_in_disguise_is_refused_and_never_run(
    kind: str, vouched: bool, bundle: Path, tmp_path: Path
) -> None:
    harmful = Harmful(tmp_path / "canary")
    if kind == "pickle":
        (bundle / TENSORS).write_bytes(pickle.dumps(harmful))
    else:
        torch.save(harmful, bundle / TENSORS)
    if vouched:
        _vouch(bundle)
    with pytest.raises(WeightsError) as caught:
        load_model(bundle)
    assert "\n" not in str(caught.value)
    assert not harmful.canary.exists()


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_truncated_tensors_are_refused(kept: int, vouched: bool, bundle: Path) -> None:
    content = (bundle / TENSORS).read_bytes()
    (bundle / TENSORS).write_bytes(content[:kept])
    if vouched:
        _vouch(bundle)
    with pytest.raises(WeightsError) as caught:
        load_model(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f["files"].update({TENSORS: "0" * 64}), "is not the file whose hash"),
        (lambda f: f["files"].update({TENSORS: "0"}), "is damaged"),
        (lambda f: f["files"].update({"../model/model.json": "0" * 64}), "no file .* of its own"),
        (lambda f: f["files"].update({"gone.safetensors": "0" * 64}), "no file .* of its own"),
        (lambda f: f.update(files={}), "holds 'model.safetensors', of which model.json has no h"),
        (lambda f: f.pop("files"), "holds 'model.safetensors', of which model.json has no hash"),
        (lambda f: f["files"].update({"a" * 300: "0" * 64}), "cannot be read"),
        (lambda f: f["files"].update({"a\0": "0" * 64}), "no file .* of its own"),
        (lambda f: f["files"].update({"..": "0" * 64}), "no file .* of its own"),
        (lambda f: f["params"].update(latent_dim=10**7), "must have shape"),
        (lambda f: f["params"].update(latent_dim=10**18), "its configuration|impossible"),
        (lambda f: f["params"].update(latent_dim=10**30), "its configuration|impossible"),
        (lambda f: f["params"].update(latent_dim=1e400), "is damaged|its configuration"),
        (lambda f: f.update(format="hpsearch model 99"), "format"),
        (lambda f: f.update(surprise=1), "surprise"),
        (lambda f: f.pop("backbone"), "backbone"),
        (lambda f: f["backbone"].update(digest="0" * 64), "not the weights that the model"),
        (lambda f: f["backbone"].update(name="resnet"), "must be one of lite0, lite1"),
        (lambda f: f.update(detector="os.system"), "none of that name"),
        (lambda f: f["params"].update(latent_dim=4), "is not of this configuration"),
        (lambda f: f["params"].update(latent_dim=-1), "latent_dim must be at least 1"),
        (lambda f: f["params"].update(latent_dim="many"), "its configuration"),
        (lambda f: f["params"].update(layers="r22"), "lacks 'statistics.r22.mean'"),
        (lambda f: f["params"].pop("layers"), "lacks the setting 'layers'"),
        (lambda f: f["params"].update(resolution=32), "another one in the preprocessing"),
        (lambda f: f["preprocessing"].update(central_crop=0), "is damaged .*central_crop"),
        (
            lambda f: f["preprocessing"].update(greyscale=1),
            "greyscale must be true or false",
        ),
        (lambda f: f["preprocessing"].pop("equalize"), "equalize must be true or"),
        (lambda f: f["preprocessing"].pop("size"), "size must be a whole number, got None"),
        (lambda f: f["preprocessing"].update(size=7), "size must be from 8 to 10240 px, got 7"),
        (lambda f: f["preprocessing"].update(blur=2), "blur"),
        (lambda f: f["calibration"].update(n=3), "calibration"),
        (lambda f: f["calibration"]["scores"].reverse(), "ascending"),
    ],
)
def test_facts_that_do_not_fit_are_refused_in_one_line(
    change: Callable[[dict[str, Any]], Any], says: str, bundle: Path
) -> None:
    _edit(bundle, change)
    with pytest.raises(UserError, match=says) as caught:
        load_model(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"a": NaN}'])
def test_facts_that_are_no_json_of_ours(content: bytes, bundle: Path) -> None:
    (bundle / FACTS).write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.json is damaged"):
        read_bundle(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no model\.json; give the folder final"):
        read_bundle(tmp_path)


def test_a_file_that_has_no_hash_is_refused_and_a_hidden_one_is_not_used(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"of a desktop")
    read_bundle(bundle)
    (bundle / "more.safetensors").write_bytes(b"of somebody")
    with pytest.raises(WeightsError, match=r"holds 'more.safetensors', of which model.json has no"):
        read_bundle(bundle)


def test_a_file_larger_than_any_of_ours_is_not_hashed(bundle: Path) -> None:
    os.truncate(bundle / TENSORS, MAX_FILE_BYTES + 1)  # takes no disk: it is a hole
    with pytest.raises(WeightsError, match="has more than 8 GB"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {}, "lacks 'autoencoder"),
        (lambda t: t | {"extra": torch.ones(1)}, "holds 'extra', which has no use"),
        (lambda t: {k: v.bfloat16() for k, v in t.items()}, "must be float32, got bfloat16"),
        (lambda t: {k: v.double() for k, v in t.items()}, "must be float32, got float64"),
        (lambda t: {k: v[None] for k, v in t.items()}, "must have shape"),
        (lambda t: t | {"statistics.r12.mean": torch.ones(3)}, r"must have shape \(16\), got"),
        (lambda t: t | {"statistics.r12.std": torch.zeros(16)}, "deviation that is not above 0"),
        (lambda t: t | {"statistics.r12.std": torch.full((16,), torch.nan)}, "are not finite"),
    ],
)
def test_tensors_of_another_form_are_refused_in_one_line(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], says: str, bundle: Path
) -> None:
    save_file(change(load_file(bundle / TENSORS)), bundle / TENSORS)
    _vouch(bundle)
    with pytest.raises(WeightsError, match=says) as caught:
        load_model(bundle)
    assert str(caught.value).isprintable()
    assert "train it again, or copy it anew" in str(caught.value)


def test_a_shape_of_80_gb_is_refused_by_its_header(bundle: Path) -> None:
    about = {"dtype": "F32", "shape": [2 * 10**10], "data_offsets": [0, 8 * 10**10]}
    header = json.dumps({"autoencoder.x": about}).encode()
    (bundle / TENSORS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(100))
    _vouch(bundle)
    with pytest.raises(WeightsError, match="is missing or damaged") as caught:
        load_model(bundle)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_tensors_that_are_not_finite_are_refused(bad: float, bundle: Path) -> None:
    tensors = load_file(bundle / TENSORS)
    first = next(key for key in tensors if key.startswith("autoencoder."))
    tensors[first].view(-1)[0] = bad
    save_file(tensors, bundle / TENSORS)
    _vouch(bundle)
    with pytest.raises(WeightsError, match="not finite"):
        load_model(bundle)


def test_a_link_is_no_file_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    (bundle / TENSORS).rename(tmp_path / "elsewhere")
    (bundle / TENSORS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=r"no file .* of its own"):
        read_bundle(bundle)

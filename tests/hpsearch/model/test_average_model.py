"""A model that averages others: what it sees, its maps, its graph, a bundle that was changed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hpsearch.model.images
from hpsearch.detectors.base import ImageView, Setup, load_detector
from hpsearch.errors import SpecError, WeightsError
from hpsearch.evaluation.averaging import Part
from hpsearch.model.bundle import (
    FACTS,
    BackboneFacts,
    ModelFacts,
    Provenance,
    SavedMember,
    attach_calibration,
    calibrated,
    preprocessing_facts,
    read_bundle,
    write_average,
)
from hpsearch.model.export.export import export
from hpsearch.model.model import AverageModel, load_model
from hpsearch.model.predict.inputs import find_images
from hpsearch.model.predict.predict import predict

COMMON = {
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "stretch",
    "greyscale": False,
    "equalize": False,
}
DPA = {
    "latent_dim": 2,
    "latent_res": 4,
    "layers": "r12",
    "loss": "perceptual",
    "pool": "mean",
    "start_resolution": 0,
    "steps_per_phase": 20_000,
    "statistics": "own",
}
FEATURES = {"kind": "mahalanobis", "layer": "r12"}
MEMBERS: tuple[tuple[str, dict[str, Any], Part], ...] = (
    ("features", {**FEATURES, "resolution": 16, "greyscale": True}, Part(0.25, 3.0, 0.5)),
    ("dpa", {**DPA, "resolution": 16}, Part(0.25, 0.5, 0.125)),
    ("dpa", {**DPA, "resolution": 32}, Part(0.5, 0.25, 0.25)),
)


@pytest.fixture(scope="session")
def average_of(
    make_setup: Callable[..., Setup], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Writes the bundle of an average of members that are fitted in a step."""

    def make(members: Any = MEMBERS, *, channels: int = 3) -> Path:
        folder, saved = tmp_path_factory.mktemp("average"), []
        for number, (name, params, part) in enumerate(members):
            params = {**COMMON, **params}
            how = preprocessing_facts(params, channels=channels)
            rng = np.random.default_rng(number)
            pixels = rng.integers(60, 180, (24, *how.shape), dtype=np.uint8)
            normals = ImageView(pixels, np.arange(24), None)
            setup = make_setup(params, normals, batch_size=4, max_steps=2)
            detector = load_detector(name)(setup)
            detector.fit(normals, None, max_steps=2)
            detector.save(folder / str(number))
            facts = ModelFacts(
                detector=name,
                params=params,
                seed=0,
                preprocessing=how,
                backbone=BackboneFacts(name="vgg-mini", digest=setup.backbone.digest),
                provenance=Provenance(study="by hand"),
            )
            saved.append(SavedMember(folder / str(number), facts, part))
        calibration = calibrated(np.linspace(-1, 2, 40), rate=0.1)
        provenance = Provenance(study="by hand")
        write_average(folder / "model", saved, provenance=provenance, calibration=calibration)
        return folder / "model"

    return make


@pytest.fixture(scope="session")
def pristine_average(average_of: Callable[..., Path]) -> Path:
    return average_of()


@pytest.fixture
def average(pristine_average: Path) -> AverageModel:
    model = load_model(pristine_average, device="cpu")
    assert isinstance(model, AverageModel)
    return model


@pytest.fixture
def changed(pristine_average: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return shutil.copytree(pristine_average, tmp_path / "model")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(5)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, size in enumerate(((40, 24), (16, 16), (33, 50))):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_scores_are_the_weighted_mean_of_the_members(
    average: AverageModel, pictures: list[Path]
) -> None:
    first, second, third = (member.score(pictures) for member in average.members)
    expected = (
        0.25 * (first - 3) / 0.5 + 0.25 * (second - 0.5) / 0.125 + 0.5 * (third - 0.25) / 0.25
    )
    np.testing.assert_allclose(average.score(pictures), expected, rtol=1e-9, atol=1e-9)
    assert average.score([]).shape == (0,)


def test_an_image_is_opened_once_for_all_preprocessings(
    average: AverageModel, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, opened = hpsearch.model.images.read_image, []

    def counted(path: Path, **options: Any) -> Image.Image:
        opened.append(path)
        return read(path, **options)

    monkeypatch.setattr(hpsearch.model.images, "read_image", counted)
    average.score(pictures)
    assert [how.resolution for how in average.preprocessings] == [16, 16, 32]
    assert opened == pictures


def test_a_map_is_the_mean_of_those_that_exist_at_the_largest_size(
    average: AverageModel, pictures: list[Path]
) -> None:
    assert average.with_maps == (1, 2)
    assert average.maps_in_words == (
        "maps are of 2 of the 3 detectors (dpa); the others give none that fit"
    )
    _, small, large = average.members
    found = average.maps(pictures)
    assert found.shape == (3, 32, 32)
    in_units = (
        (small.maps(pictures).astype(float) - 0.5) / 0.125,
        (large.maps(pictures).astype(float) - 0.25) / 0.25,
    )
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(in_units[0])[:, None], size=32, mode="bilinear"
    )[:, 0]
    expected = (resized.numpy() * 0.25 + in_units[1] * 0.5) / 0.75
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_maps_of_another_part_of_the_image_are_left_out(average_of: Callable[..., Path]) -> None:
    cropped = ("dpa", {**DPA, "resolution": 16, "central_crop": 0.5}, Part(0.5, 0.0, 1.0))
    model = load_model(average_of((MEMBERS[1], cropped)), device="cpu")
    assert isinstance(model, AverageModel)
    assert model.with_maps == (0,)


def test_predict_writes_scores_and_maps_of_the_average(
    average: AverageModel, pictures: list[Path], tmp_path: Path
) -> None:
    images = find_images([pictures[0].parent]).images
    done = predict(average, images, tmp_path / "scores.csv", maps=tmp_path / "maps")
    assert done.n_scored == 3
    written = np.genfromtxt(done.out, delimiter=",", skip_header=1, usecols=1)
    np.testing.assert_allclose(written, average.score(pictures), rtol=1e-12)
    assert len(list((tmp_path / "maps").iterdir())) == 6


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_one_graph_holds_every_preprocessing(
    name: Any, average: AverageModel, tmp_path: Path
) -> None:
    if name == "onnx":
        pytest.importorskip("onnxruntime", reason="needs hpsearch[export]")
    assert export(average, tmp_path / "graph", name).difference < 1e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_serve_members_of_one_channel_and_of_three(
    channels: int, average_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Of grey data a member with `greyscale` takes three equal channels, and one without it one."""
    grey = [
        (name, {**params, "greyscale": number == 0}, part)
        for number, (name, params, part) in enumerate(MEMBERS[:2])
    ]
    model = load_model(average_of(grey, channels=channels), device="cpu")
    assert export(model, tmp_path / "graph", "torch").difference < 1e-4


def test_a_calibration_is_attached_to_the_average(changed: Path) -> None:
    before = read_bundle(changed)
    attach_calibration(changed, calibrated(np.arange(99.0), rate=0.05))
    model = load_model(changed, device="cpu")
    assert model.facts.calibration is not None
    assert model.facts.calibration.threshold == 94.0
    assert model.facts.model_copy(update={"calibration": before.calibration}) == before
    assert model.is_anomaly([94.0, 94.5]).tolist() == [False, True]


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def _swap(bundle: Path) -> None:
    one, other = bundle / "members/1", bundle / "members/2"
    one.rename(bundle / "kept")
    other.rename(one)
    (bundle / "kept").rename(other)


def _link(bundle: Path) -> None:
    (bundle / "members/1").rename(bundle.parent / "elsewhere")
    (bundle / "members/1").symlink_to(bundle.parent / "elsewhere")


def _of_another_window(bundle: Path) -> None:
    member = bundle / "members/1" / FACTS
    _edit(member, lambda facts: facts["preprocessing"].update(window=[0.0, 4095.0]))
    digest = hashlib.sha256(member.read_bytes()).hexdigest()
    _edit(bundle / FACTS, lambda facts: facts["members"][1].update(facts=digest))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "members swapped": (_swap, "model.json is not the file whose hash model.json holds"),
    "weight of a member": (
        lambda b: _edit(b / FACTS, lambda f: f["members"][0].update(weight=-1)),
        r"is damaged \(members.0.weight",
    ),
    "scale of a member": (
        lambda b: _edit(b / FACTS, lambda f: f["members"][0].update(scale=0)),
        r"is damaged \(members.0.scale",
    ),
    "a member less in the facts": (
        lambda b: _edit(b / FACTS, lambda f: f["members"].pop()),
        "holds '2', of which model.json has no hash",
    ),
    "no members in the facts": (
        lambda b: _edit(b / FACTS, lambda f: f.update(members=[])),
        r"is damaged \(members",
    ),
    "a member is gone": (
        lambda b: shutil.rmtree(b / "members/2"),
        "has no folder members/2 of its own",
    ),
    "all members are gone": (lambda b: shutil.rmtree(b / "members"), r"is damaged \(format"),
    "settings of a member": (
        lambda b: _edit(b / "members/1" / FACTS, lambda f: f.update(seed=1)),
        "model.json is not the file whose hash",
    ),
    "tensors of a member": (
        lambda b: (b / "members/1/model.safetensors").write_bytes(b"others"),
        "model.safetensors is not the file whose hash",
    ),
    "a stray file": (lambda b: (b / "more").touch(), "holds 'more', of which"),
    "a stray member": (
        lambda b: shutil.copytree(b / "members/0", b / "members/3"),
        "holds '3', of which",
    ),
    "an average as a member": (
        lambda b: (b / "members/1/members").mkdir(),
        "holds 'members', of which",
    ),
    "a linked member": (_link, "has no folder members/1 of its own"),
    "two windows": (_of_another_window, "different windows"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bundle_that_was_changed_is_refused_in_one_line(change: str, changed: Path) -> None:
    make, says = CHANGES[change]
    make(changed)
    with pytest.raises(WeightsError, match=says) as caught:
        load_model(changed, device="cpu")
    assert "\n" not in str(caught.value)


def test_an_average_of_detectors_without_maps_says_so(average_of: Callable[..., Path]) -> None:
    model = load_model(average_of(MEMBERS[:1]), device="cpu")
    with pytest.raises(SpecError, match="none of the detectors of this average has maps"):
        model.maps(np.zeros((1, 16, 16, 3), np.uint8))

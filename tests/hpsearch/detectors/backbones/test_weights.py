import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dpa_core.tensor_files import MAX_TENSOR_BYTES
from dpa_core.vgg import VGG_MINI
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor, load_backbone
from hpsearch.errors import SpecError, WeightsError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = VGG_MINI.build("r42").state_dict()
    # Values that float16 holds exactly, so that every precision gives the same network.
    return {f"features.{key}": value.half().float() for key, value in features.items()}


def load(path: Path) -> Backbone:
    return load_backbone("vgg-mini", weights_file=path)


def whole_network(state: State) -> State:
    return state | {"classifier.0.weight": torch.ones(10, 128), "classifier.0.bias": torch.ones(10)}


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("whole.pth", whole_network),
        ("features.pt", lambda state: state),
        ("bare.pth", lambda state: {k.removeprefix("features."): v for k, v in state.items()}),
        ("half.safetensors", lambda state: {k: v.half() for k, v in state.items()}),
        ("half.pth", lambda state: {k: v.half() for k, v in state.items()}),
        ("full.safetensors", whole_network),
    ],
)
def test_every_kind_of_file_gives_the_same_network(
    name: str, variant: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(variant(state), path)
    images = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    reference = tmp_path / "reference.pth"
    torch.save(state, reference)

    backbone = load(path)

    assert backbone.digest == load(reference).digest
    assert backbone.source == str(path)
    assert {value.dtype for value in backbone.weights.values()} == {torch.float32}
    found = build_extractor(backbone, ["r22", "r42"])(images)
    wanted = build_extractor(load(reference), ["r22", "r42"])(images)
    assert torch.equal(found["r22"], wanted["r22"])
    assert torch.equal(found["r42"], wanted["r42"])


def test_digest_follows_the_values(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    changed = dict(state)
    changed["features.0.bias"] = state["features.0.bias"] + 1
    torch.save(changed, tmp_path / "b.pth")
    assert load(tmp_path / "a.pth").digest != load(tmp_path / "b.pth").digest


def test_file_may_end_before_layers_that_nobody_asks_for(state: State, tmp_path: Path) -> None:
    path = tmp_path / "shallow.pth"
    names = {f"features.{key}" for key in VGG_MINI.build("r22").state_dict()}
    torch.save({key: value for key, value in state.items() if key in names}, path)

    backbone = load(path)

    build_extractor(backbone, ["r22"])
    with pytest.raises(WeightsError, match=r"'features\.10\.weight' is missing") as caught:
        build_extractor(backbone, ["r32"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_layer_is_a_mistake_in_the_study(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(SpecError, match="r99"):
        build_extractor(load(tmp_path / "a.pth"), ["r99"])


def with_value(value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        weight = state["features.2.weight"].clone()
        weight[0, 0, 0, 0] = value
        return state | {"features.2.weight": weight}

    return change


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s | {"features.2.weight": torch.ones(16, 16, 1, 1)}, "must have shape"),
        (with_value(float("nan")), "not finite"),
        (with_value(float("inf")), "not finite"),
        (lambda s: {k: v for k, v in s.items() if k != "features.2.bias"}, "is missing"),
        (lambda s: {"encoder.weight": torch.ones(3)}, r"'features\.0\.weight' is missing"),
        (lambda s: s | {"features.0.bias": torch.ones(16, dtype=torch.int8)}, "got int8"),
    ],
)
def test_weights_that_do_not_fit(
    suffix: str,
    change: Callable[[State], State],
    complaint: str,
    state: State,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(change(state), path)
    check_one_line(path, complaint)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 1000, -1])
def test_truncated(suffix: str, kept: int, state: State, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    check_one_line(path, "is damaged")


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [
        ([torch.ones(3)], "holds a list, not a state dict"),
        (torch.ones(3), "holds a Tensor, not a state dict"),
        ({"epoch": 3, "state_dict": {"features.0.weight": torch.ones(3)}}, "other things"),
    ],
)
def test_not_a_state_dict(stored: object, complaint: str, tmp_path: Path) -> None:
    torch.save(stored, tmp_path / "weights.pth")
    check_one_line(tmp_path / "weights.pth", complaint)


class Malicious:
    """What is run when it is unpickled creates the file `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("plain", [True, False])
def test_code_in_a_pickle_never_runs(plain: bool, tmp_path: Path) -> None:
    path, canary = tmp_path / "weights.pth", tmp_path / "canary"
    harmful = {"features.0.weight": Malicious(canary)}
    if plain:
        path.write_bytes(pickle.dumps(harmful))
    else:
        torch.save(harmful, path)
    check_one_line(path, "holds code or objects")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda s: _repeated(s, "features.0.bias", torch.float32),
            "'features.0.bias' must be dense",
        ),
        (lambda s: s | {"statistics.r12.mean": _stretched(torch.float32)}, r"shape \(16\), got"),
        (lambda s: s | {"statistics.r12.mean": _stretched(torch.float16)}, r"shape \(16\), got"),
        (lambda s: s | {"features.0.weight": _stretched(torch.float16)}, "must have shape"),
        (lambda s: s | {"features.0.bias": torch.ones(16).to_sparse()}, "must be dense"),
        (lambda s: s | {"features.0.bias": torch.empty(16, device="meta")}, "must be dense"),
        (lambda s: s | {"statistics.r12.mean": torch.ones(3)}, r"shape \(16\), got \(3,\)"),
        (lambda s: s | {"statistics.r12.mean": torch.ones(16, dtype=torch.int64)}, "got int64"),
        (lambda s: s | {"statistics.r12.mean": torch.full((16,), torch.nan)}, "not finite"),
    ],
)
def test_tensors_that_say_more_than_they_hold(
    change: Callable[[State], State], complaint: str, state: State, tmp_path: Path
) -> None:
    torch.save(change(state), tmp_path / "weights.pth")
    check_one_line(tmp_path / "weights.pth", complaint)


def _stretched(dtype: torch.dtype) -> Tensor:
    """One value that is said to be 80 GB of float32 of them."""
    return torch.zeros(1, dtype=dtype).expand(2 * 10**10)


def _repeated(state: State, key: str, dtype: torch.dtype) -> State:
    return state | {key: torch.zeros(1, dtype=dtype).expand(state[key].shape)}


def test_an_archive_that_grows_when_it_is_read(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "weights.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    check_one_line(tmp_path / "weights.pth", "is compressed")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_larger_than_any_of_ours_is_not_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.touch()
    os.truncate(path, MAX_TENSOR_BYTES + 1)  # takes no disk: it is a hole
    check_one_line(path, "has more than 8 GB")


def test_places_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "weights.onnx").write_bytes(b"x")
    check_one_line(tmp_path / "none.pth", "does not exist")
    check_one_line(tmp_path / "two\nlines.pth", "does not exist")
    check_one_line(tmp_path / "folder.pth", "is not a file")
    check_one_line(tmp_path / "weights.onnx", r"suffix '\.onnx'")


def check_one_line(path: Path, complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name.splitlines()[-1] in message

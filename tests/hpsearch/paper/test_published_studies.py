"""Every configuration that the authors published is what the studies' own defaults make of it."""

import csv
from importlib.resources import files
from typing import Any

import pytest

from dpa_core.growth import schedule_of
from dpa_core.vgg import VGG19
from hpsearch.config.space import build_space
from hpsearch.config.spec import build_spec, read_study
from hpsearch.detectors import dpa
from hpsearch.errors import SpecError
from hpsearch.paper.contents import PAPER_TABLES, Part, TableData, TableStudy
from hpsearch.paper.growing import lengthened
from hpsearch.paper.published import (
    PublishedConfiguration,
    published_configurations,
    published_settings,
    published_study,
)


def _lines() -> list[dict[str, str]]:
    """The rows of the file, without the reader that is under test."""
    text = (files("studies") / "published.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [row for row in csv.DictReader(lines) if row["method"] == "dpa"]


ROWS = list(zip(_lines(), published_configurations(), strict=True))


@pytest.mark.parametrize(
    ("line", "found"),
    ROWS,
    ids=[f"{found.dataset}-{found.normal_class}-{found.row}" for _, found in ROWS],
)
def test_it_follows_from_the_defaults(line: dict[str, str], found: PublishedConfiguration) -> None:
    study = read_study(found.dataset)
    spec = lengthened(build_spec(published_settings(found, study), {"study_name": "s"}))
    assert (spec.training.learning_rate, spec.training.batch_size) == (None, None)
    assert spec.backbone.name == "vgg19"
    (params,) = build_space(spec, {"dpa": dpa.PerceptualAutoencoder.axes}).grid
    dpa.PerceptualAutoencoder.check(params, VGG19, spec.training)
    network, loss = dpa._network(params, channels=3), dpa._loss(params)
    training = dpa._fit_config(params, spec.training, max_steps=spec.training.max_steps)

    assert training.learning_rate == pytest.approx(float(line["lr"]), rel=1e-12)
    assert {size.split(":")[-1] for size in line["batch"].split()} == {str(training.batch_size)}
    sides = [network.image_size]
    while sides[-1] > network.smallest_resolution:
        sides.append(sides[-1] // 2)
    published = [int(width) for width in line["widths_encoder"].split("-")]
    assert [network.width(side) for side in sides] == published[-len(sides) :]
    assert line["latent"] == f"{network.latent_dim}x{network.latent_res}"
    first, *_ = line["loss"].split(" + ")
    for entry in first.split("; ") if first != "l1" else []:
        side, names = entry.split(":")
        assert list(loss.layers_at(int(side))) == names.split("+")
    assert (loss.perceptual == 0) == (first == "l1")
    schedule = schedule_of(network, training)
    last = training.max_steps - schedule.growth_steps
    if found.row == "pg":
        axes = study["space"]["dpa"]  # the study grows as the authors' network did
        assert axes["start_resolution"] == [network.start_resolution]
        assert axes["steps_per_phase"] == [schedule.steps]
        assert line["duration"] == (
            f"steps 64:stab:{last}; growing from {schedule.start} to {schedule.end}, "
            f"transition {schedule.steps}, stabilise {schedule.steps}"
        )
    else:
        assert line["duration"] == f"steps {last}"
        assert schedule.growth_steps == 0
    assert spec.final.n_runs == int(line["runs"])


def _study(dataset: str, normal_class: str = "", **options: Any) -> TableStudy:
    table = PAPER_TABLES["table5" if normal_class else "table2"]
    part = Part(dataset, normal_class, growing=False)
    data = TableData(dataset, dataset, read_study(dataset))
    return published_study(table, part, data, options, prefix="p")


def test_the_search_on_cifar10_ends_sooner_than_elsewhere() -> None:
    caps = {
        name: build_spec(read_study(name), {"study_name": "s"}).training.max_steps
        for name in ("cifar10", "svhn")
    }
    assert caps == {"cifar10": 20_000, "svhn": 100_000}


def test_a_stand_in_takes_the_configuration_of_what_it_stands_for() -> None:
    study = _study("digits", "0")
    theirs = _study("svhn", "0")
    assert study.spec.space["dpa"] == theirs.spec.space["dpa"]
    assert study.spec.training.max_steps == theirs.spec.training.max_steps == 25_333
    assert study.spec.backbone.name == "vgg-mini"
    assert study.notes == ("the published configuration of svhn",)
    assert theirs.notes == ()
    assert not study.searched


def test_one_configuration_and_only_what_is_published() -> None:
    with pytest.raises(SpecError, match=r"^--axis layers: --published trains one configuration"):
        _study("svhn", "0", space={"dpa": {"layers": ["r32", "r42"]}})
    data = TableData("own.csv", "own", read_study("own-data"))
    with pytest.raises(SpecError, match=r"^--published: .* no configuration for own\.csv in"):
        published_study(PAPER_TABLES["table2"], Part("own.csv", "", False), data, {}, prefix="p")

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hpsearch.config.spec import build_spec
from hpsearch.paper import lines as module
from hpsearch.paper.contents import TableStudy
from hpsearch.paper.lines import departures
from hpsearch.paper.running import Outcome
from hpsearch.storage.run_dir import RunDir


@pytest.fixture
def outcome(tmp_path: Path) -> Any:
    """Makes an outcome with an answer, of a study that began with some weights."""

    def make(source: str, notes: tuple[str, ...] = ()) -> Outcome:
        facts = {"backbone_source": source, "backbone_digest": "b", "data_fingerprint": "f"}
        (tmp_path / "env.json").write_text(json.dumps(facts))
        study = TableStudy(build_spec({"study_name": "s"}, {}), ("weak",), "title")
        answer: Any = object()  # that there is one is all that counts
        return Outcome(study, RunDir(tmp_path), {"weak": answer}, notes=notes)

    return make


def test_the_papers_own_setting_departs_in_nothing(outcome: Any) -> None:
    genuine = outcome("torchvision VGG19_Weights.IMAGENET1K_V1")
    own = {"dataset": {"name": "cifar10"}, "backbone": {"weights": "somewhere"}}
    assert departures([genuine], own, scale=None) == []
    assert departures([genuine], own, scale=1.0) == []


def test_everything_that_departs_is_said_once(outcome: Any) -> None:
    one = outcome("/data/other.safetensors", ("JPEG pixels",))
    settings = {"training": {"batch_size": 16}, "space": {"dpa": {"layers": ["r32", "r42"]}}}
    assert departures([one, one], settings, scale=0.01) == [
        "stand-in weights (other.safetensors), not torchvision's ImageNet VGG-19",
        "JPEG pixels",
        "steps x 0.01",
        "settings of the command line: training.batch_size=16, space.dpa.layers=r32|r42",
    ]


def test_torchvisions_own_file_is_known_by_its_content(
    outcome: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = tmp_path / "vgg19-dcbb9e9d.pth"
    renamed.write_bytes(b"other weights")
    (said,) = departures([outcome(str(renamed))], {}, scale=None)
    assert said.startswith("stand-in weights (vgg19-dcbb9e9d.pth)")
    digest = hashlib.sha256(b"other weights").hexdigest()
    monkeypatch.setattr(module, "GENUINE", digest[:8])
    assert departures([outcome(str(renamed))], {}, scale=None) == []


def test_a_study_without_an_answer_says_nothing_of_its_weights(outcome: Any) -> None:
    one = outcome("/data/other.safetensors", ("JPEG pixels",))
    failed = Outcome(one.study, one.folder, {}, failure="it broke", notes=one.notes)
    assert departures([failed], {}, scale=None) == []

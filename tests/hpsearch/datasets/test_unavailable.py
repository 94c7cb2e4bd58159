from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.manifest import OBTAINED_SETS, ObtainedSet, load_obtained
from hpsearch.errors import DataError


@pytest.mark.parametrize("source", OBTAINED_SETS, ids=lambda source: source.name)
def test_one_line_with_what_is_missing_and_two_ways(source: ObtainedSet, tmp_path: Path) -> None:
    for root, missing in ((None, "no images here"), (tmp_path, "holds no manifest.csv")):
        with pytest.raises(DataError) as caught:
            load_obtained(source, root=root)
        message = str(caught.value)
        assert message.isprintable()
        assert message.startswith(f"{source.name}: ")
        ways = (source.source, source.preparation, "--dataset FILE.csv", "synthetic-histology")
        for part in (missing, *ways):
            assert part in message


def test_manifest_below_the_root_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = "image_path,label_index,split,anomaly_type,group\na.png,1,train,slide 7,slide 7\n"
    (tmp_path / "manifest.csv").write_text(rows)
    dataset = load_obtained(OBTAINED_SETS[0], root=tmp_path)
    assert dataset.name == "camelyon16"
    assert list(dataset.table["anomaly_type"]) == ["slide 7"]

from pathlib import Path

import pytest

from hpsearch.datasets.digits import load_digits
from hpsearch.datasets.registry import NAMES, dataset_infos
from hpsearch.datasets.synthetic import stored_at


def test_every_registered_name_in_order(tmp_path: Path) -> None:
    infos = dataset_infos(tmp_path)
    assert tuple(info.name for info in infos) == NAMES
    assert all(info.summary and info.how for info in infos)
    assert [info.name for info in infos if info.on_disk] == ["digits"]
    assert not any(tmp_path.iterdir())


def test_counts_of_digits_are_those_of_the_table(tmp_path: Path) -> None:
    (info,) = (info for info in dataset_infos(tmp_path) if info.name == "digits")
    table = load_digits().table
    assert info.n_normals == (table["label"] == 0).sum()
    assert info.n_anomalies == (table["label"] == 1).sum()
    assert info.n_types == table.loc[table["label"] == 1, "anomaly_type"].nunique()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", ["torchvision/cifar-10-batches-py/test_batch"]),
        ("svhn", ["torchvision/train_32x32.mat", "torchvision/test_32x32.mat"]),
        ("synthetic-histology", ["synthetic-histology/{}/images.npy"]),
        ("synthetic-histology-hard", ["synthetic-histology-hard/{}/images.npy"]),
    ],
)
def test_what_is_on_the_disk_and_its_size(tmp_path: Path, name: str, files: list[str]) -> None:
    for file in files:
        path = tmp_path / file.format(stored_at(tmp_path, 0).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    found = {info.name: info.size_bytes for info in dataset_infos(tmp_path) if info.on_disk}
    assert found == {"digits": 0, name: 100 * len(files)}

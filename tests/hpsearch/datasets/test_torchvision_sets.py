import io
import pickle
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN, TorchvisionSet, load_torchvision
from hpsearch.errors import DataError, SpecError

RNG = np.random.default_rng(0)
N = {"train": 20, "test": 10}  # images in the small copies
LABELS = {split: np.arange(n) % 10 for split, n in N.items()}
PIXELS = {split: RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for split, n in N.items()}
NAMES_IN_THE_ARCHIVE = {"plane": "airplane", "car": "automobile"}


def place_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, split in (("data_batch_1", "train"), ("test_batch", "test")):
        data = PIXELS[split].transpose(0, 3, 1, 2).reshape(N[split], -1)
        batch = {"data": data, "labels": LABELS[split].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = [NAMES_IN_THE_ARCHIVE.get(name, name) for name in CIFAR10.classes]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))


def place_svhn(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split in N:
        labels = np.where(LABELS[split] == 0, 10, LABELS[split])[:, np.newaxis]
        content = {"X": PIXELS[split].transpose(1, 2, 3, 0), "y": labels}
        scipy.io.savemat(root / f"{split}_32x32.mat", content)


@pytest.fixture
def hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small copies of both sets, whose hashes torchvision is made to expect."""
    made = tmp_path / "made"
    place_cifar10(made)
    place_svhn(made)
    folder = made / "cifar-10-batches-py"
    for attribute, name in (("train_list", "data_batch_1"), ("test_list", "test_batch")):
        listed = [[name, calculate_md5(folder / name)]]
        monkeypatch.setattr(datasets.CIFAR10, attribute, listed)
    meta = {**datasets.CIFAR10.meta, "md5": calculate_md5(folder / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    listed = {
        split: [url, name, calculate_md5(made / name) if (made / name).exists() else md5]
        for split, (url, name, md5) in datasets.SVHN.split_list.items()
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return made


class Response(io.BytesIO):
    """What torchvision reads of an answer from the network."""

    url = None  # as asked for, not redirected

    @property
    def length(self) -> int:
        return len(self.getvalue())


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The only files that can be downloaded, by the end of their address."""
    files: dict[str, bytes] = {}

    def open_url(request: urllib.request.Request, **_: object) -> Response:
        for end, content in files.items():
            if request.full_url.endswith(end):
                return Response(content)
        raise urllib.error.URLError("no\nnetwork")

    monkeypatch.setattr("urllib.request.urlopen", open_url)
    return files


@pytest.mark.parametrize("source", [CIFAR10, SVHN], ids=lambda source: source.name)
@pytest.mark.parametrize("normal_class", [None, "3"])
def test_table_and_pixels(hashes: Path, source: TorchvisionSet, normal_class: str | None) -> None:
    dataset = load_torchvision(source, normal_class, root=hashes)
    normal = int(normal_class or 0)
    labels = np.concatenate([LABELS["train"], LABELS["test"]])
    table = dataset.table
    assert list(table["split"]) == ["train"] * 20 + ["test"] * 10
    assert list(table["label"]) == list((labels != normal).astype(int))
    expected = ["" if label == normal else source.classes[label] for label in labels]
    assert list(table["anomaly_type"]) == expected
    assert table["image_id"].iloc[20] == "test-00000"
    assert dataset.arrays is not None
    np.testing.assert_array_equal(dataset.arrays, np.concatenate([PIXELS["train"], PIXELS["test"]]))


@pytest.mark.parametrize("name", ["car", "automobile", "Automobile", "1"])
def test_names_of_a_class(hashes: Path, name: str) -> None:
    table = load_torchvision(CIFAR10, name, root=hashes).table
    normals = np.concatenate([LABELS["train"], LABELS["test"]]) == 1
    np.testing.assert_array_equal(table["label"] == 0, normals)


@pytest.mark.parametrize("name", ["lion", "10", "-1", "", "²", "a\nb"])
def test_unknown_class(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is not in cifar10; give one of plane, car") as caught:
        load_torchvision(CIFAR10, name, root=tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("source", [CIFAR10, SVHN], ids=lambda source: source.name)
@pytest.mark.usefixtures("network")
def test_offline_is_one_line_and_leaves_nothing(tmp_path: Path, source: TorchvisionSet) -> None:
    root = tmp_path / "root"
    with pytest.raises(
        DataError, match=r"cannot be downloaded .* give torchvision's folder"
    ) as got:
        load_torchvision(source, None, root=root)
    assert str(got.value).isprintable()
    assert [path.name for path in root.iterdir()] == [f".{source.name}.lock"]


@pytest.mark.parametrize("source", [CIFAR10, SVHN], ids=lambda source: source.name)
def test_download_happens_once(
    hashes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: dict[str, bytes],
    source: TorchvisionSet,
) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(hashes / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(archive))
    for file in (archive, *hashes.glob("*.mat")):
        network[file.name] = file.read_bytes()
    root = tmp_path / "root"
    first = load_torchvision(source, None, root=root)
    network.clear()
    assert load_torchvision(source, None, root=root).fingerprint == first.fingerprint
    assert first.fingerprint == load_torchvision(source, None, root=hashes).fingerprint
    assert {path.name for path in root.iterdir()} == {*source.payload, f".{source.name}.lock"}


def test_download_that_breaks_off_leaves_nothing(
    hashes: Path, tmp_path: Path, network: dict[str, bytes]
) -> None:
    train, test = ((hashes / name).read_bytes() for name in SVHN.payload)
    network.update({SVHN.payload[0]: train, SVHN.payload[1]: test[: len(test) * 4 // 10]})
    with pytest.raises(DataError, match=r"cannot be downloaded \(File not found or corrupted"):
        load_torchvision(SVHN, None, root=tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".svhn.lock"]


@pytest.mark.usefixtures("network")
def test_damaged_copy_is_told_and_kept(hashes: Path) -> None:
    batch = hashes / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(DataError, match="does not match torchvision's hashes; delete it"):
        load_torchvision(CIFAR10, None, root=hashes)
    assert batch.exists()

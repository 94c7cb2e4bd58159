import contextlib
import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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
BOTH = pytest.mark.parametrize("source", [CIFAR10, SVHN], ids=lambda source: source.name)
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


class Server(ThreadingHTTPServer):
    """Gives out `files` by the end of their address; of those in `cut`, half, then it hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # torchvision asks first for the address alone and hangs up
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[: len(content) // 2] if name in self.server.cut else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this machine in the place of the sets' own; it has nothing yet."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        monkeypatch.setattr(datasets.CIFAR10, "url", server.url(datasets.CIFAR10.filename))
        listed = {
            split: [server.url(name), name, md5]
            for split, (_, name, md5) in datasets.SVHN.split_list.items()
        }
        monkeypatch.setattr(datasets.SVHN, "split_list", listed)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def supplied(hashes: Path, network: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server with the small copies of both sets, as torchvision's addresses have them."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(hashes / "cifar-10-batches-py", "cifar-10-batches-py")
    network.files[datasets.CIFAR10.filename] = archive.getvalue()
    network.files |= {file.name: file.read_bytes() for file in hashes.glob("*.mat")}
    md5 = hashlib.md5(archive.getvalue(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5)
    return network


@BOTH
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


@BOTH
def test_download_happens_once(
    hashes: Path, tmp_path: Path, supplied: Server, source: TorchvisionSet
) -> None:
    root = tmp_path / "root"
    first = load_torchvision(source, None, root=root)
    supplied.files.clear()
    assert load_torchvision(source, None, root=root).fingerprint == first.fingerprint
    assert first.fingerprint == load_torchvision(source, None, root=hashes).fingerprint
    assert {path.name for path in root.iterdir()} == {*source.payload, f".{source.name}.lock"}


@BOTH
@pytest.mark.parametrize("how", ["cut", "changed", "missing"])
def test_a_bad_download_leaves_nothing_and_starts_again(
    tmp_path: Path, supplied: Server, source: TorchvisionSet, how: str
) -> None:
    root, good = tmp_path / "root", dict(supplied.files)
    name = datasets.CIFAR10.filename if source is CIFAR10 else SVHN.payload[1]
    if how == "cut":
        supplied.cut.add(name)
    elif how == "changed":
        middle = len(good[name]) // 2
        other = bytes([good[name][middle] ^ 1])
        supplied.files[name] = good[name][:middle] + other + good[name][middle + 1 :]
    else:
        del supplied.files[name]
    with pytest.raises(
        DataError, match=rf"{source.name}: is not in .* cannot be downloaded"
    ) as got:
        load_torchvision(source, None, root=root)
    assert ("404" if how == "missing" else "corrupted") in str(got.value)
    assert str(got.value).isprintable()
    assert [path.name for path in root.iterdir()] == [f".{source.name}.lock"]
    supplied.cut.clear()
    supplied.files |= good
    assert len(load_torchvision(source, None, root=root).table) == 30


def test_what_a_killed_download_left_is_swept_away(tmp_path: Path, supplied: Server) -> None:
    root = tmp_path / "root"
    left = root / ".tmp-abcd1234-cifar10" / datasets.CIFAR10.filename
    left.parent.mkdir(parents=True)
    left.write_bytes(supplied.files[left.name][:100])
    assert len(load_torchvision(CIFAR10, None, root=root).table) == 30
    assert {path.name for path in root.iterdir()} == {*CIFAR10.payload, ".cifar10.lock"}


@BOTH
def test_offline_is_one_line_and_leaves_nothing(
    tmp_path: Path, network: Server, source: TorchvisionSet
) -> None:
    network.shutdown()
    network.server_close()
    root = tmp_path / "root"
    with pytest.raises(
        DataError, match=r"cannot be downloaded .*refused.* give torchvision's folder or one"
    ) as got:
        load_torchvision(source, None, root=root)
    assert str(got.value).isprintable()
    assert [path.name for path in root.iterdir()] == [f".{source.name}.lock"]


@pytest.mark.usefixtures("network")
def test_damaged_copy_is_told_and_kept(hashes: Path) -> None:
    batch = hashes / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(DataError, match="does not match torchvision's hashes; delete it"):
        load_torchvision(CIFAR10, None, root=hashes)
    assert batch.exists()

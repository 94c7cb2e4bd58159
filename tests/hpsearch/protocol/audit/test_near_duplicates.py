import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpsearch.datasets.table import IMAGE_COLUMNS, Dataset
from hpsearch.protocol.audit import near_duplicates
from hpsearch.protocol.audit.audit import Audit, audit
from hpsearch.protocol.audit.image_rules import GREY_SIDE, LOOK, bits_of, look_at
from hpsearch.protocol.audit.near_duplicates import near_duplicate_findings

N = 24  # strangers, half of them to test on
Change = Callable[[Image.Image], Image.Image]


def scene(rng: np.random.Generator, side: int = 96) -> Image.Image:
    """Random shapes under noise."""
    coarse = rng.integers(40, 216, (6, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, float) + rng.normal(0, 8, (side, side, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES: dict[str, Change] = {
    "jpeg 90": lambda image: saved(image, 90),
    "jpeg 60": lambda image: saved(image, 60),
    "smaller": lambda image: image.resize((91, 91), Image.Resampling.LANCZOS),
    "larger, jpeg 75": lambda image: saved(image.resize((120, 120)), 75),
    "grey": lambda image: image.convert("L"),
    "darker": lambda image: image.point(lambda value: value * 0.7),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "270 degrees, jpeg 60": lambda image: saved(image.transpose(Image.Transpose.ROTATE_270), 60),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}


def audit_of(
    images: list[Image.Image], folder: Path, groups: dict[int, str] | None = None
) -> Audit:
    """Normals; the first `N // 2` are to train with, then come as many to test on, then others."""
    rows = []
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
        split = "test" if N // 2 <= number < N else "train"
        group = (groups or {}).get(number, "")
        rows.append((str(number), f"{number}.png", 0, "", group, split, ""))
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    return audit(Dataset("set", table, root=folder))


def near(found: Audit) -> list[str]:
    return [f.message for f in found.findings if f.check == "near-duplicate"]


@pytest.fixture
def strangers() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [scene(rng) for _ in range(N)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_of_a_test_image_in_train(
    strangers: list[Image.Image], change: Change, tmp_path: Path
) -> None:
    (message,) = near(audit_of([*strangers, change(strangers[20])], tmp_path))
    how = r"((mirrored|turned)[a-z 0-9]*, )?correlation "
    assert re.match(rf"image 20: looks like 24 \({how}", message)
    assert "one is in train and the other in test" in message


@pytest.mark.parametrize(("group", "n_findings"), [("other", 1), ("3", 0)])
def test_within_a_split_only_other_groups_count(
    strangers: list[Image.Image], group: str, n_findings: int, tmp_path: Path
) -> None:
    images = [*strangers, saved(strangers[3], 90)]
    messages = near(audit_of(images, tmp_path, {3: "3", 24: group}))
    assert len(messages) == n_findings
    assert all("image 24: looks like 3 (" in text and "groups differ" in text for text in messages)


def test_a_fixed_camera_gives_a_finding_an_image_and_no_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    view = np.asarray(scene(rng), float)
    shots = [
        Image.fromarray((view + rng.normal(0, 4, view.shape)).clip(0, 255).astype(np.uint8))
        for _ in range(N)
    ]
    found = audit_of(shots, tmp_path)
    messages = near(found)
    assert len(messages) == N - 1  # every test image, and every training image but the first
    across = [text for text in messages if "one is in train" in text]
    assert len(across) == N // 2
    assert all(f" and {N - 2} more (" in text for text in across[-1:])
    assert all(f.severity == "warning" for f in found.findings if f.check == "near-duplicate")


def test_flat_images_are_counted_and_not_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    flat = [Image.fromarray(rng.integers(99, 102, (64, 64), dtype=np.uint8)) for _ in range(N)]
    found = audit_of(flat, tmp_path)
    assert (near(found), found.flat_images) == ([], N)


@pytest.mark.parametrize("block", [7, 512])
def test_the_pairs_are_those_of_comparing_all_with_all(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    rng = np.random.default_rng(3)
    looks = np.zeros(120, LOOK)
    scenes = [np.asarray(scene(rng, 32), float) for _ in range(20)]
    for position in range(120):
        noisy = scenes[position % 20] + rng.normal(0, rng.uniform(1, 30), (32, 32, 3))
        lies = np.rot90(noisy[:, :: rng.choice([1, -1])], rng.integers(4) * (position % 2))
        looks[position] = look_at(Image.fromarray(lies.clip(0, 255).astype(np.uint8)))
    ids = [str(position) for position in range(120)]
    table = pd.DataFrame({"image_id": ids, "group": ids, "split": "train"})
    squares = looks["grey"].astype(float).reshape(-1, GREY_SIDE, GREY_SIDE)
    grey, expected = np.zeros((120, 120)), set()
    for flip in (1, -1):
        for quarters in range(4):
            turned = np.rot90(squares[:, :, ::flip], quarters, axes=(1, 2))
            of_turn = np.corrcoef(squares.reshape(120, -1), turned.reshape(120, -1))[:120, 120:]
            bits = looks["bits"] if (flip, quarters) == (1, 0) else bits_of(turned)
            differing = np.bitwise_count(looks["bits"][:, None] ^ bits[None])
            near = (of_turn >= near_duplicates.MIN_CORRELATION) & (
                differing <= near_duplicates.MAX_BITS
            )
            pairs = np.argwhere(np.triu(near, 1))
            expected |= {(int(two), int(one)) for one, two in pairs}
            grey = np.maximum(grey, np.triu(np.where(near, of_turn, 0), 1))
    counts = np.bincount([two for two, _ in expected], minlength=120)
    assert 20 < len(expected) < 290  # some of 300 pairs of one scene
    findings = {int(f.subject): f for f in near_duplicate_findings(table, looks)}
    assert sorted(findings) == np.flatnonzero(counts).tolist()
    for two, finding in findings.items():
        best = max((grey[one, two], one) for later, one in expected if later == two)[1]
        more = f" and {counts[two] - 1} more" if counts[two] > 1 else ""
        assert f"looks like {best}{more} (" in finding.message

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.datasets.histology.generate import generate


@pytest.fixture(scope="session")
def histology():
    """The whole embedded data set: its image table and its tiles."""
    return generate(seed=0, workers=1)


# Rows as in the archive's file of 2017: ages with a unit, a comma at the end.
NIH_TABLE = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,
00000001_002.png,No Finding,2,1,058Y,M,AP,2500,2048,0.168,0.168,
00000002_000.png,No Finding,0,2,081Y,M,PA,2500,2048,0.171,0.171,
00000003_000.png,No Finding,0,3,074Y,F,PA,2500,2048,0.168,0.168,
00000003_001.png,Hernia,1,3,075Y,F,PA,2048,2500,0.168,0.168,
00000003_002.png,Hernia|Infiltration,2,3,076Y,F,AP,2698,2991,0.143,0.143,
00000003_003.png,Infiltration,3,3,076Y,F,PA,2698,2991,0.143,0.143,
00000004_000.png,No Finding,0,4,082Y,M,PA,2302,2991,0.143,0.143,
00000005_000.png,No Finding,0,5,069Y,F,AP,2048,2500,0.168,0.168,
00000006_000.png,Infiltration|Mass|Nodule,0,6,081Y,M,PA,2992,2991,0.143,0.143,
00000006_001.png,Mass,1,6,081Y,M,AP,2992,2991,0.143,0.143,
00000007_000.png,No Finding,0,7,082Y,M,PA,2500,2048,0.168,0.168,
00000007_001.png,Pleural_Thickening,1,7,082Y,M,PA,2500,2048,0.168,0.168,
"""
NIH_SIDE = 1024  # pixels


@pytest.fixture(scope="session")
def nih_names() -> list[str]:
    return [line.split(",")[0] for line in NIH_TABLE.splitlines()[1:]]


@pytest.fixture
def nih_root(tmp_path: Path, nih_names: list[str]) -> Path:
    """A miniature of the archive: seven patients, both views; 6 and 7 are to test on."""
    root = tmp_path / "nih"
    (root / "images").mkdir(parents=True)
    (root / "Data_Entry_2017.csv").write_text(NIH_TABLE)
    tested = [name for name in nih_names if name >= "00000006"]
    others = [name for name in nih_names if name not in tested]
    (root / "train_val_list.txt").write_text("\n".join(others))
    (root / "test_list.txt").write_text("\n".join(tested) + "\n")
    for number, name in enumerate(nih_names):
        # A vertical ramp: each image has a grey of its own in the first row.
        rows = np.linspace(number * 5, 255, NIH_SIDE).round().astype(np.uint8)
        image = Image.fromarray(np.repeat(rows[:, None], NIH_SIDE, axis=1))
        image.convert("RGBA" if number == 3 else "L").save(root / "images" / name, compress_level=1)
    return root

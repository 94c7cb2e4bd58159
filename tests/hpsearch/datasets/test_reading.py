import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hpsearch.datasets.reading import image_of, read_image, read_mode
from hpsearch.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GREYS = COLOURS[:, :, 0]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "; " in message  # the mend
    return message


def png(width: int, height: int, bits: int, colour_type: int, data: bytes) -> bytes:
    """A PNG written by hand, for headers that Pillow would not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
@pytest.mark.parametrize(("pixels", "mode"), [(GREYS, "L"), (COLOURS, "RGB")])
def test_lossless_formats_give_the_stored_pixels(
    tmp_path: Path, suffix: str, pixels: np.ndarray, mode: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert image.mode == mode == read_mode(path)
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(GREYS).save(path, format="PNG")
    np.testing.assert_array_equal(np.asarray(read_image(path)), GREYS)


def test_palette_gives_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(GREYS).convert("P")
    image.putpalette([value for n in range(256) for value in (n, 255 - n, 7)])
    image.save(path, transparency=3)
    expected = np.stack([GREYS, 255 - GREYS, np.full_like(GREYS, 7)], axis=-1)
    np.testing.assert_array_equal(np.asarray(read_image(path)), expected)


@pytest.mark.parametrize(("pixels", "mode"), [(GREYS, "LA"), (COLOURS, "RGBA")])
def test_transparency_is_dropped(tmp_path: Path, pixels: np.ndarray, mode: str) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(pixels)
    image.putalpha(Image.fromarray(GREYS))
    assert image.mode == mode
    image.save(path)
    np.testing.assert_array_equal(np.asarray(read_image(path)), pixels)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)  # no red is absorbed
    np.testing.assert_array_equal(np.asarray(read_image(path))[0, 0], [255, 0, 0])


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(GREYS).save(path, exif=exif)
    assert read_image(path).size == (10, 12)


def test_first_frame_of_many(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    frames = [Image.fromarray(GREYS), Image.fromarray(255 - GREYS)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(np.asarray(read_image(path)), GREYS)


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert read_image(tmp_path / "link.png").size == (10, 12)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"<svg></svg>", "is not a readable PNG"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a readable"),
        ("deep_grey.png", png(8, 8, 16, 0, bytes(8 * 17)), "more than 8 bits"),
        ("deep_colour.png", png(8, 8, 16, 2, bytes(8 * 49)), "more than 8 bits"),
        ("deep_alpha.png", png(8, 8, 16, 6, bytes(8 * 65)), "more than 8 bits"),
        ("one.png", png(1, 1, 8, 0, b"\0\0"), "is 1x1 px"),
        ("thin.png", png(100, 7, 8, 0, bytes(7 * 101)), "is 100x7 px"),
        ("bomb.png", png(50_000, 50_000, 8, 0, b""), "more than 100 million pixels"),
        ("large.png", png(11_000, 10_000, 8, 0, b""), "more than 100 million pixels"),
    ],
)
def test_refused_content(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert what in refusal(tmp_path / name)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_tiff_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tiff"
    Image.new(mode, (8, 8)).save(path)
    assert "more than 8 bits" in refusal(path)


def test_deep_colour_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    # Little-endian TIFF of 8x8 pixels, three channels of 16 bits.
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 208), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, 384)]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)
    path.write_bytes(head.ljust(200, b"\0") + struct.pack("<3H", 16, 16, 16) + bytes(2 + 384))
    with Image.open(path) as image:
        assert image.mode == "RGB"  # Pillow would read it without a word
    assert "more than 8 bits" in refusal(path)


def test_renamed_animation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    frames = [Image.fromarray(GREYS), Image.fromarray(255 - GREYS)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    assert "is not a readable PNG" in refusal(path)


def test_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    assert "is a directory" in refusal(tmp_path / "x.png")


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert "is not a regular file" in refusal(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["absent.png", "a" * 300 + ".png"])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be opened" in refusal(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch(mode=stat.S_IWUSR)
    assert "Permission denied" in refusal(path)


def test_undecodable_name_stays_printable(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty") as caught:
        read_image(path)
    assert str(caught.value).isprintable()


def test_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(50_000, 50_000, 8, 2, bytes(1000)))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from hpsearch.datasets.reading import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_image(Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "DataError"
    assert int(said[1]) < 50_000  # kB


@pytest.fixture(scope="module")
def encoded() -> dict[str, bytes]:
    """A noisy image in each format, so that no part of the file is idle."""
    contents = {}
    for name in ("PNG", "JPEG", "BMP", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, name)
        contents[name] = buffer.getvalue()
    return contents


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]), kept=st.floats(0, 0.95))
def test_truncated_file_is_refused(
    encoded: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, name: str, kept: float
) -> None:
    path = tmp_path_factory.mktemp("truncated") / "a.png"
    path.write_bytes(encoded[name][: int(kept * len(encoded[name]))])
    refusal(path)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]), data=st.data())
def test_damaged_file_gives_pixels_or_one_line(
    encoded: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data: st.DataObject,
) -> None:
    content = bytearray(encoded[name])
    for _ in range(3):
        content[data.draw(st.integers(0, min(len(content) - 1, 200)))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    path.write_bytes(content)
    try:
        assert read_image(path).mode in ("L", "RGB")
    except DataError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("channels", [1, 3])
def test_array_round_trip(channels: int) -> None:
    pixels = COLOURS[:, :, :channels]
    np.testing.assert_array_equal(np.asarray(image_of(pixels)).reshape(pixels.shape), pixels)

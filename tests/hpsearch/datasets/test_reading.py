import errno
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
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from hpsearch.datasets.reading import Shown, image_of, read_image, read_mask, read_mode
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


def jpeg2000(pixels: np.ndarray, bits: int) -> bytes:
    """A codestream of 8 bits whose header says that there are more; enough to be refused."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG2000", no_jp2=True)
    content = bytearray(buffer.getvalue())
    for channel in range(pixels.shape[2]):
        content[42 + 3 * channel] = bits - 1
    return bytes(content)


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
    expected[GREYS == 3] = 255
    np.testing.assert_array_equal(np.asarray(read_image(path)), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize(("pixels", "mode"), [(GREYS, "LA"), (COLOURS, "RGBA")])
def test_what_is_transparent_is_laid_on_white(
    tmp_path: Path, suffix: str, pixels: np.ndarray, mode: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(pixels)
    alpha = np.zeros_like(GREYS)
    alpha[:3], alpha[3:6] = 255, 51  # opaque, a fifth, and nothing of what is stored
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    image.save(path, lossless=True, exact=True)
    share = alpha.reshape(*alpha.shape, *(1,) * (pixels.ndim - 2)) / 255
    shown = read_image(path)
    seen = np.asarray(shown if suffix != "webp" else shown.convert(mode[:-1]), float)
    np.testing.assert_allclose(seen, pixels * share + 255 * (1 - share), atol=1)
    assert shown.info == {"shown": Shown(transparent=True)}


@pytest.mark.parametrize("bits", [8, 16])
def test_the_one_transparent_value_of_a_png_is_white(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    values = GREYS.astype(f"uint{bits}") // 2
    Image.fromarray(values).save(path, transparency=int(values[2, 2]))
    image = read_image(path, window=(0, 255))
    hidden = values == values[2, 2]
    np.testing.assert_array_equal(np.asarray(image), np.where(hidden, 255, values))
    assert image.info["shown"].transparent


def test_an_opaque_alpha_channel_is_nothing_to_tell(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).convert("RGBA").save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(image), COLOURS)
    assert image.info == {"shown": Shown()}


def test_what_is_transparent_in_a_mask_is_not_marked(tmp_path: Path) -> None:
    marked = GREYS > 128
    mask = np.full((*GREYS.shape, 4), 255, np.uint8)
    mask[..., 3] = np.where(marked, 255, 0)
    Image.fromarray(mask).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a.png")) > 128, marked)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)  # no red is absorbed
    np.testing.assert_array_equal(np.asarray(read_image(path))[0, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    # EXIF 2.32: where the stored row 0 and column 0 lie, as turns of the upright picture.
    stored_as = {
        1: lambda upright: upright,
        2: np.fliplr,
        3: lambda upright: np.rot90(upright, 2),
        4: np.flipud,
        5: np.transpose,
        6: np.rot90,
        7: lambda upright: np.rot90(upright, 2).T,
        8: lambda upright: np.rot90(upright, -1),
    }
    upright = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(stored_as[orientation](upright)))
    stored.save(path, exif=exif, lossless=True, quality=100)
    shown = read_image(path)
    np.testing.assert_allclose(np.asarray(shown.convert("L"), int), upright, atol=2)
    assert shown.info["shown"].turned == (orientation > 1)


def test_damaged_exif_leaves_the_image_as_it_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(GREYS).save(path, exif=b"Exif\0\0no TIFF at all")
    np.testing.assert_array_equal(np.asarray(read_image(path)), GREYS)


@pytest.mark.parametrize("kind", ["profile", "text"])
def test_a_large_profile_or_text_does_not_damage_a_png(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    noise = RNG.bytes(1_600_000)
    if kind == "profile":
        Image.fromarray(GREYS).save(path, icc_profile=noise)
    else:
        text = PngInfo()
        text.add_text("notes", noise.hex(), zip=True)
        Image.fromarray(GREYS).save(path, pnginfo=text)
    np.testing.assert_array_equal(np.asarray(read_image(path)), GREYS)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "does not fit into memory; cut it"),
        (OSError(errno.EIO, "Input/output error"), r"cannot be read \(Input/output error\); mend"),
        (OSError("broken data stream"), "is a damaged image"),
        (RuntimeError("no such codec"), r"cannot be decoded \(RuntimeError: no such codec\)"),
    ],
)
def test_the_file_is_accused_only_of_what_is_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str
) -> None:
    Image.fromarray(GREYS).save(tmp_path / "a.png")

    def fail(_: Image.Image) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=what):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("maximum", [300, 4095, 65_535])
@pytest.mark.parametrize("plain", [False, True])
def test_a_deep_pgm_keeps_its_stored_values(tmp_path: Path, maximum: int, plain: bool) -> None:
    values = RNG.integers(0, maximum + 1, (9, 11))
    head = f"P{2 if plain else 5}\n11 9\n{maximum}\n".encode()
    body = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(head + body)
    grey = np.asarray(read_image(tmp_path / "a.pgm", window=(0, maximum)))
    np.testing.assert_array_equal(grey, np.rint(values * (255 / maximum)))


@pytest.mark.parametrize("suffix", ["tiff", "png", "gif", "webp", "mpo"])
def test_the_first_frame_of_many_and_how_many(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    first = np.kron(GREYS[:2, :2], np.ones((8, 8), np.uint8))
    frames = [Image.fromarray(first), Image.fromarray(255 - first), Image.fromarray(first // 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True, quality=100)
    shown = read_image(path)
    np.testing.assert_allclose(np.asarray(shown.convert("L"), int), first, atol=2)
    assert shown.info == {"shown": Shown(frames=3)}


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert read_image(tmp_path / "link.png").size == (10, 12)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"<svg></svg>", "is not a readable image (PNG"),
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


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"P6\n8 8\n65535\n" + bytes(384), "more than 8 bits"),
        (jpeg2000(np.zeros((8, 8, 3)), bits=12), "more than 8 bits"),
    ],
    ids=["PPM", "JPEG 2000"],
)
def test_deep_colour_of_other_formats_is_refused(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "a").write_bytes(head)
    assert what in refusal(tmp_path / "a")


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

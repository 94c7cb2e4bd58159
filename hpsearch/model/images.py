"""What a model sees of an image: from whatever holds it to the pixels that are scored."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

from hpsearch.datasets.pixels import STEPS, Preprocessing, preprocess
from hpsearch.datasets.reading import image_of, read_image, show_image
from hpsearch.datasets.window import (
    Window,
    WindowMissingError,
    as_window,
    is_off_scale,
    span,
    windowed,
)
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import bad_file

AnyImage = str | Path | Image.Image | NDArray[Any]
"""A file, a Pillow image, or an array `(H, W)`, `(H, W, 1)` or `(H, W, 3)`."""

Images = NDArray[np.uint8] | Sequence[AnyImage]

Seen = Sequence[NDArray[np.uint8]]
"""The same n images after each of several preprocessings, each `(n, size, size, channels)`."""

IMAGES_AT_A_TIME = 128  # in memory


def _of_a_size(steps: Preprocessing) -> Preprocessing:
    if not 8 <= steps.size <= 10_240:
        raise ValueError(f"size must be from 8 to 10240 px, got {steps.size}")
    return steps


class PreprocessingFacts(BaseModel):
    """What is done to an image before the detector sees it: the window, then the steps.

    In the file the steps stand beside the window, one key a step.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    window: Annotated[Window, BeforeValidator(as_window)] | None = None  # of more than 8 bits
    steps: Annotated[Preprocessing, AfterValidator(_of_a_size)]
    resolution: int = Field(ge=8, le=1024)  # px, side of the central part that is scored
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(size, size, channels)` of the pixels that a detector is given."""
        return self.steps.size, self.steps.size, self.channels

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or isinstance(values.get("steps"), Preprocessing):
            return values
        names, size = {"steps", "size", *STEPS}, cast(Any, values.get("size"))
        others = {name: value for name, value in values.items() if name not in names}
        try:
            return others | {"steps": Preprocessing.of(size, values)}
        except SpecError as error:
            raise ValueError(str(error)) from None

    @model_serializer
    def _to_file(self) -> dict[str, Any]:
        steps = {name: getattr(self.steps, name) for name in STEPS}
        places = {"size": self.steps.size, "resolution": self.resolution, "channels": self.channels}
        return {"window": self.window, **steps, **places}


def as_seen(image: AnyImage, how: PreprocessingFacts) -> NDArray[np.uint8]:
    """The pixels `(size, size, channels)` that a detector is given.

    Raises:
        DataError: it is no image, or cannot be read.
    """
    return seen_of(opened(image, how), how)


def opened(image: AnyImage, how: PreprocessingFacts) -> Image.Image:
    """The image in mode "L" or "RGB", as `hpsearch.datasets.reading` shows it.

    Raises:
        DataError: it is no image, or cannot be read.
    """
    try:
        if isinstance(image, (str, Path)):
            return read_image(Path(image), window=how.window)
        if isinstance(image, np.ndarray):
            return _of_array(image, how)
        return show_image(image, window=how.window)
    except WindowMissingError as error:
        mend = "take a model of a study with dataset.window, or convert the image to 8 bits"
        raise bad_file(error.path, error.what, mend) from error


def seen_of(image: Image.Image, how: PreprocessingFacts) -> NDArray[np.uint8]:
    """The pixels `(size, size, channels)` that a detector is given of an opened image."""
    mode = "L" if how.channels == 1 else "RGB"
    ready = preprocess(image, how.steps).convert(mode)
    return np.asarray(ready, dtype=np.uint8).reshape(how.shape)


def chunks_as_seen(images: Images, hows: Sequence[PreprocessingFacts]) -> Iterator[Seen]:
    """All images after each preprocessing, up to `IMAGES_AT_A_TIME` at a time, each opened once.

    Args:
        images: to open.
        hows: of one window.

    Raises:
        DataError: as `as_seen`, or one image was given where several are expected.
    """
    if isinstance(images, (str, Path, Image.Image)) or (
        isinstance(images, np.ndarray) and images.ndim != 4
    ):
        raise DataError("images: give an array (N, H, W, C) or a list of images, even of one")
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        part: Iterable[AnyImage] = images[start : start + IMAGES_AT_A_TIME]
        seen: list[list[NDArray[np.uint8]]] = []
        for image in part:
            shown = opened(image, hows[0])
            seen.append([seen_of(shown, how) for how in hows])
        yield [np.stack(of_how) for of_how in zip(*seen, strict=True)]


def _of_array(array: NDArray[Any], how: PreprocessingFacts) -> Image.Image:
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise DataError(
            f"images: an array has the shape (H, W), (H, W, 1) or (H, W, 3), got {array.shape}; "
            "put the channels last"
        )
    if pixels.dtype == np.uint8:
        return image_of(pixels)
    if pixels.shape[2] == 3 or how.window is None or how.window == "dicom":
        raise DataError(
            f"images: an array holds uint8 from 0 to 255, got {array.dtype}; scale it, or take a "
            "model of a study with dataset.window for grey images of more than 8 bits"
        )
    if pixels.dtype.kind == "f" and is_off_scale(pixels, how.window):
        low, high = how.window
        raise DataError(
            f"images: an array of floats has {span(pixels)}, where dataset.window of the model is "
            f"{low:g} to {high:g}; give the values that the files hold"
        )
    return image_of(windowed(Path("image"), pixels, how.window))

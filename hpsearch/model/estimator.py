"""The Deep Perceptual Autoencoder as a scikit-learn estimator.

Images come as rows of numbers, as scikit-learn has its data, and are turned back to pixels here.
"""

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from hpsearch.config.space import AXIS, NATURAL, Params
from hpsearch.config.spec import TrainingSpec
from hpsearch.datasets.pixels import Preprocessing, preprocess
from hpsearch.datasets.reading import image_of
from hpsearch.datasets.window import is_off_scale, span
from hpsearch.detectors import dpa
from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.errors import UserError
from hpsearch.evaluation.threshold import conformal_threshold
from hpsearch.io.cache import cache_dir
from hpsearch.model.model import usable_device

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""


class DPADetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Reconstructs features of normal images; what it reconstructs badly is an outlier.

    As scikit-learn has it, scores fall with abnormality and outliers are -1. Images are an array
    `(N, H, W, C)` with C 1 or 3, or flattened to `(N, H * W * C)`.

    Args:
        latent_dim: channels of the bottleneck.
        latent_res: side of the bottleneck, 1 or a power of two below `resolution`.
        layers: of the frozen network, one such as `r32` or a weighted sum such as `r32+0.5*r42`.
        backbone: the frozen network, `vgg-mini` or `vgg19`.
        backbone_weights: file of its weights, None for the usual place.
        statistics: by which mean and deviation the channels of features are normalised: those over
            `natural` images that come with the network, or those over the images of `fit`, `own`.
        resolution: px, side to which images are resized: 16, 32, 64, 128 or 256.
        max_steps: of the training.
        batch_size: images a step.
        learning_rate: of Adam, None for the paper's by the width of the bottleneck.
        target_fpr: share of normal images that may be called outliers.
        calibration_share: share of the images that are not trained on but set the threshold.
        value_range: the values that become black and white; what lies outside is cut off. Images
            for which it is plainly wrong, as (0, 255) for floats from 0 to 1, are refused.
        image_shape: `(H, W, C)` of flattened images. None takes a square in grey, else one in
            colour, else a grey square with black pixels at its end.
        random_state: of the held-out images, the initialisation and the batches.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Attributes:
        offset_: score at and above which an image is an inlier: minus the split-conformal
            threshold of the held-out images.
        image_shape_: `(H, W, C)` of the images.
        n_features_in_: H * W * C.

    Example:
        >>> import numpy as np
        >>> from hpsearch.model.estimator import DPADetector
        >>> rng = np.random.default_rng(0)
        >>> normal = rng.normal(120, 15, (100, 16, 16, 3)).clip(0, 255).astype(np.uint8)
        >>> striped = normal[:5].copy()
        >>> striped[:, ::4] = 255
        >>> detector = DPADetector(
        ...     layers="r12", resolution=16, max_steps=20, batch_size=16, random_state=0
        ... )
        >>> detector.fit(normal).predict(striped).tolist()
        [-1, -1, -1, -1, -1]
    """

    def __init__(
        self,
        *,
        latent_dim: int = 4,
        latent_res: int = 1,
        layers: str = "r32",
        backbone: str = "vgg-mini",
        backbone_weights: str | Path | None = None,
        statistics: str = NATURAL,
        resolution: int = 32,
        max_steps: int = 2_000,
        batch_size: int = 128,
        learning_rate: float | None = None,
        target_fpr: float = 0.05,
        calibration_share: float = 0.2,
        value_range: tuple[float, float] = (0.0, 255.0),
        image_shape: Shape | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.latent_dim = latent_dim
        self.latent_res = latent_res
        self.layers = layers
        self.backbone = backbone
        self.backbone_weights = backbone_weights
        self.statistics = statistics
        self.resolution = resolution
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.target_fpr = target_fpr
        self.calibration_share = calibration_share
        self.value_range = value_range
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on normal images, and set the threshold by some that are held out.

        Args:
            X: `(N, H, W, C)` or `(N, H * W * C)`.
            y: ignored.

        Raises:
            ValueError: a parameter or the images break a rule; too few images for `target_fpr`.
        """
        pixels = self._pixels(X, reset=True)
        random = check_random_state(self.random_state)
        held_out, trained_on = self._split(len(pixels), random)
        seed = int(random.randint(2**31 - 1))
        try:
            self._detector = dpa.PerceptualAutoencoder(self._setup(_view(pixels[trained_on]), seed))
        except UserError as error:
            raise ValueError(str(error)) from error
        self._detector.fit(_view(pixels[trained_on]), None, max_steps=self.max_steps)
        scores = self._detector.score(_view(pixels[held_out]))
        self.offset_ = -conformal_threshold(scores, rate=self.target_fpr).threshold
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Minus the reconstruction loss, `(N,)`: the lower, the more abnormal."""
        check_is_fitted(self)
        scores: NDArray[np.float64] = -self._detector.score(_view(self._pixels(X, reset=False)))
        return scores

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score above the threshold, `(N,)`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for inliers and -1 for outliers, `(N,)`."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _split(self, n: int, random: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions held out and trained on."""
        if not 0 < self.target_fpr < 1 or not 0 < self.calibration_share < 1:
            raise ValueError("target_fpr and calibration_share must be above 0 and below 1")
        n_held_out = round(n * self.calibration_share)
        needed = math.ceil(1 / self.target_fpr - 1e-9) - 1
        if n_held_out < needed or not 0 < n_held_out < n:
            raise ValueError(
                f"n_samples = {n}: {n_held_out} of them are held out, and target_fpr="
                f"{self.target_fpr} needs {needed}; give more images or raise calibration_share"
            )
        order = random.permutation(n)
        return order[:n_held_out], order[n_held_out:]

    def _setup(self, normals: ImageView, seed: int) -> Setup:
        usual = {name: choices[0] for name, choices in dpa.PerceptualAutoencoder.axes.items()}
        params: Params = usual | {
            "resolution": self.resolution,
            "latent_dim": self.latent_dim,
            "latent_res": self.latent_res,
            "layers": self.layers,
            AXIS: self.statistics,
        }
        training = TrainingSpec(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        weights = None if self.backbone_weights is None else Path(self.backbone_weights)
        backbone = load_backbone(self.backbone, weights_file=weights)
        dpa.PerceptualAutoencoder.check(params, backbone.architecture, training)
        return Setup(
            params=params,
            training=training,
            backbone=backbone,
            normals=normals,
            seed=seed,
            device=usable_device(self.device),
            cache_dir=cache_dir(),
        )

    def _pixels(self, X: ArrayLike, *, reset: bool) -> NDArray[np.uint8]:
        """Images as `(N, R, R, C)`; their shape is learnt where `reset` is set."""
        rows, shape = flattened(X)
        rows = validate_data(self, rows, reset=reset)
        if reset:
            self.image_shape_ = image_shape(shape or self.image_shape, rows.shape[1])
        levels = as_grey_levels(rows, self.value_range)
        return images_of(levels, self.image_shape_, int(self.resolution))


def _view(pixels: NDArray[np.uint8]) -> ImageView:
    return ImageView(pixels, np.arange(len(pixels)), key=None)


def flattened(images: Any) -> tuple[Any, tuple[int, ...] | None]:
    """`(N, H, W, C)` as `(N, H * W * C)`, and `(H, W, C)`; anything else as it is, and None."""
    array = np.asarray(images) if isinstance(images, (list, tuple)) else images
    if getattr(array, "ndim", 2) != 4:
        return images, None
    array = np.asarray(array)
    return array.reshape(len(array), math.prod(array.shape[1:])), array.shape[1:]


def image_shape(given: tuple[int, ...] | None, n_features: int) -> Shape:
    """The shape of images of `n_features` values: the given one, or one that they fill.

    None is a square in grey, else a square in colour, else the grey square that is just larger.

    Raises:
        ValueError: the given shape is no image's, or has another number of values.
    """
    if given is None:
        side = math.isqrt(n_features)
        if side * side == n_features:
            return side, side, 1
        if 3 * (third := math.isqrt(n_features // 3)) ** 2 == n_features:
            return third, third, 3
        return side + 1, side + 1, 1
    if len(given) != 3 or given[2] not in (1, 3):
        raise ValueError(f"images must have the shape (H, W, 1) or (H, W, 3), got {given}")
    if math.prod(given) != n_features:
        raise ValueError(f"image_shape={given} has {math.prod(given)} values, got {n_features}")
    return given[0], given[1], given[2]


def as_grey_levels(values: NDArray[Any], value_range: tuple[float, float]) -> NDArray[np.uint8]:
    """The values from `value_range[0]` to `value_range[1]` as 0 to 255; those outside are cut off.

    Raises:
        ValueError: the range does not rise, or is plainly not that of the values: floats that
            differ by little at one of its ends (0 to 1 where 0 to 255 are expected), or values that
            all lie beyond it.
    """
    low, high = value_range
    if not low < high:
        raise ValueError(f"value_range must rise, got {value_range}")
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    if is_off_scale(values, (low, high)):
        raise ValueError(
            f"value_range={value_range} does not fit images with {span(values)}, which would be "
            "all black or all white; give the values of black and white, or uint8 if it is so"
        )
    shares = (values.astype(np.float64) - low) / (high - low)
    levels: NDArray[np.uint8] = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return levels


def images_of(rows: NDArray[np.uint8], shape: Shape, side: int) -> NDArray[np.uint8]:
    """Rows `(N, F)` as images `(N, side, side, C)`; what a row lacks of its image is black."""
    height, width, channels = shape
    padded = np.zeros((len(rows), height * width * channels), np.uint8)
    padded[:, : rows.shape[1]] = rows
    how = Preprocessing(side)
    resized = np.empty((len(rows), side, side, channels), np.uint8)
    for number, image in enumerate(padded.reshape(-1, height, width, channels)):
        resized[number] = np.asarray(preprocess(image_of(image), how)).reshape(side, side, channels)
    return resized

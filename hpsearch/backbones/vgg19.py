"""Torchvision's ImageNet weights of VGG-19: in its cache folder, or downloaded into it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from torchvision.models import VGG19_Weights

from hpsearch.errors import WeightsError
from hpsearch.files import printable

_WEIGHTS = VGG19_Weights.IMAGENET1K_V1
_TIMEOUT = 10.0  # seconds without an answer from the server


def torchvision_vgg19() -> Path:
    """The file of the weights (about 550 MB), downloaded with a progress bar when it is missing.

    Raises:
        WeightsError: it is missing and cannot be downloaded; the message names the ways out.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", Path(_WEIGHTS.url).name)
    if not path.is_file():
        try:
            with _socket_timeout(_TIMEOUT):
                _WEIGHTS.get_state_dict(
                    progress=True, check_hash=True, map_location="cpu", weights_only=True
                )
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                printable(
                    f"backbone vgg19: its weights cannot be downloaded ({error}); on a connected "
                    f"machine torchvision downloads {_WEIGHTS.url}: let it, and put that file into "
                    f"{path.parent}, or give --backbone-weights FILE, or take --backbone vgg-mini"
                )
            ) from error
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

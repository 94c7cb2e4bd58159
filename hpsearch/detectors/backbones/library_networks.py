"""What is alike in the networks of other libraries: their layers as a table, by names of ours."""

from dataclasses import dataclass

from dpa_core.features import unknown_layer


@dataclass(frozen=True)
class LibraryArchitecture:
    """The layers of a network, and what its images must look like.

    Attributes:
        name: by which it is asked for, the library's prefix and its own.
        widths: channels of each layer, by its name, from the shallowest.
        strides: pixels between two positions of each layer.
        pixel_mean, pixel_std: as its weights were trained.
    """

    name: str
    widths: dict[str, int]
    strides: dict[str, int]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that can be compared, from the shallowest."""
        return tuple(self.widths)

    def channels(self, layer: str) -> int:
        """Number of channels of `layer`."""
        return self.widths[self.known(layer)]

    def stride(self, layer: str) -> int:
        """Pixels between two positions of `layer`."""
        return self.strides[self.known(layer)]

    def smallest_image(self, layer: str) -> int:
        """Least side in px of an image that has a position of its own at `layer`."""
        return self.stride(layer)

    def known(self, layer: str) -> str:
        """The layer itself.

        Raises:
            ConfigError: the network has none of that name; names those that it has.
        """
        if layer not in self.widths:
            raise unknown_layer(layer, self.name, self.layers)
        return layer

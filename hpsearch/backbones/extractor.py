"""From a backbone to the network that computes its features."""

from collections.abc import Sequence

from dpa_core.errors import ConfigError
from dpa_core.errors import WeightsError as CoreWeightsError
from dpa_core.features import FeatureExtractor, LayerStatistics
from hpsearch.backbones.backbone import Backbone
from hpsearch.errors import SpecError, WeightsError
from hpsearch.files import printable


def build_extractor(
    backbone: Backbone, layers: Sequence[str], statistics: LayerStatistics | None = None
) -> FeatureExtractor:
    """The features of `layers`, normalised by `statistics`, or raw where None is given.

    Raises:
        SpecError: no layer, or one that the backbone does not have.
        WeightsError: the weights or the statistics do not fit; the message names their source.
    """
    try:
        return FeatureExtractor(backbone.architecture, layers, backbone.weights, statistics)
    except ConfigError as error:
        raise SpecError(str(error)) from error
    except CoreWeightsError as error:
        what = f"backbone weights {backbone.source}: {error}"
        mend = f"give weights that fit {backbone.architecture.name} with --backbone-weights"
        raise WeightsError(printable(f"{what}; {mend}")) from error

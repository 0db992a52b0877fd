"""The networks by their heads, and each as it is trained."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from trainer.network.camera_token import CropCameras
from trainer.network.drop_path import Paths
from trainer.network.estimates import Estimates
from trainer.network.hmr2 import Hmr2, Hmr2Output
from trainer.network.hsmr import Hsmr, HsmrOutput
from trainer.network.variants import NetworkHead
from trainer.network.vit import Patches

Network = Hsmr | Hmr2
NetworkOutput = HsmrOutput | Hmr2Output

NETWORKS: Final[Mapping[NetworkHead, type[Hsmr] | type[Hmr2]]] = MappingProxyType({"skel": Hsmr, "smpl": Hmr2})


class EveryLayer(nn.Module):
    """The network as it is trained: the estimates of all decoder layers with refine_layers, else the one there is."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(
        self, patches: Patches, cameras: CropCameras | None = None, paths: Paths | None = None
    ) -> Estimates[Any]:
        """As the network's own `forward`, from the first layer's to the last's, which is what the network predicts.

        paths: of the backbone's blocks, see `Vit.forward`.
        """
        seen = (patches,) if paths is None else (patches, paths)
        return self.network.estimates(self.network.backbone(*seen), cameras)

"""Penalties on parameters and on the outputs of layers."""

from lightning_losses.regularizers.base import ParameterRegularizer as ParameterRegularizer
from lightning_losses.regularizers.base import Regularizer as Regularizer
from lightning_losses.regularizers.custom import Custom as Custom
from lightning_losses.regularizers.elementwise import L1 as L1
from lightning_losses.regularizers.elementwise import L2 as L2
from lightning_losses.regularizers.elementwise import L2SP as L2SP
from lightning_losses.regularizers.elementwise import ElasticNet as ElasticNet
from lightning_losses.regularizers.elementwise import ProximalL1 as ProximalL1
from lightning_losses.regularizers.matrices import GroupLasso as GroupLasso
from lightning_losses.regularizers.matrices import Orthogonal as Orthogonal
from lightning_losses.regularizers.matrices import Spectral as Spectral
from lightning_losses.regularizers.outputs import ActivityL1 as ActivityL1
from lightning_losses.regularizers.outputs import ActivityL2 as ActivityL2
from lightning_losses.regularizers.outputs import ActivityRegularizer as ActivityRegularizer
from lightning_losses.regularizers.registry import build_regularizers as build_regularizers
from lightning_losses.regularizers.registry import list_regularizers as list_regularizers

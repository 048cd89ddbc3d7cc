"""Loss + regularization for PyTorch Lightning: an objective for any LightningModule, chosen by configuration."""

from lightning_losses import constraints as constraints
from lightning_losses import functional as functional
from lightning_losses import regularizers as regularizers
from lightning_losses.config import compose as compose
from lightning_losses.functional import class_weights as class_weights
from lightning_losses.losses import BalancedSoftmaxLoss as BalancedSoftmaxLoss
from lightning_losses.losses import BinaryCrossEntropyLoss as BinaryCrossEntropyLoss
from lightning_losses.losses import CrossEntropyLoss as CrossEntropyLoss
from lightning_losses.losses import FocalLoss as FocalLoss
from lightning_losses.losses import GeneralizedCrossEntropyLoss as GeneralizedCrossEntropyLoss
from lightning_losses.losses import HuberLoss as HuberLoss
from lightning_losses.losses import L1Loss as L1Loss
from lightning_losses.losses import LogitAdjustedLoss as LogitAdjustedLoss
from lightning_losses.losses import Loss as Loss
from lightning_losses.losses import MSELoss as MSELoss
from lightning_losses.losses import Poly1Loss as Poly1Loss
from lightning_losses.losses import Prediction as Prediction
from lightning_losses.losses import ProbMAELoss as ProbMAELoss
from lightning_losses.losses import ReverseCrossEntropyLoss as ReverseCrossEntropyLoss
from lightning_losses.losses import SmoothL1Loss as SmoothL1Loss
from lightning_losses.losses import SymmetricCrossEntropyLoss as SymmetricCrossEntropyLoss
from lightning_losses.losses import TaylorCrossEntropyLoss as TaylorCrossEntropyLoss
from lightning_losses.losses import get_loss as get_loss
from lightning_losses.losses import list_losses as list_losses
from lightning_losses.mixins import LossMixin as LossMixin
from lightning_losses.mixins import ObjectiveMixin as ObjectiveMixin
from lightning_losses.mixins import OptimizerMixin as OptimizerMixin
from lightning_losses.mixins import RegularizerMixin as RegularizerMixin
from lightning_losses.mixins import Supervised as Supervised
from lightning_losses.objective import Objective as Objective
from lightning_losses.objective import Terms as Terms
from lightning_losses.objective import build as build
from lightning_losses.param_groups import describe_parameters as describe_parameters
from lightning_losses.param_groups import param_groups as param_groups
from lightning_losses.parameters import parameter_roles as parameter_roles

__version__ = "0.1.0"

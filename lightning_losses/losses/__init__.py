"""Losses as modules, and the registry that finds them by name."""

from lightning_losses.losses.base import Loss as Loss
from lightning_losses.losses.base import Prediction as Prediction
from lightning_losses.losses.classification import BalancedSoftmaxLoss as BalancedSoftmaxLoss
from lightning_losses.losses.classification import BinaryCrossEntropyLoss as BinaryCrossEntropyLoss
from lightning_losses.losses.classification import ClassificationLoss as ClassificationLoss
from lightning_losses.losses.classification import CrossEntropyLoss as CrossEntropyLoss
from lightning_losses.losses.classification import FocalLoss as FocalLoss
from lightning_losses.losses.classification import GeneralizedCrossEntropyLoss as GeneralizedCrossEntropyLoss
from lightning_losses.losses.classification import LogitAdjustedLoss as LogitAdjustedLoss
from lightning_losses.losses.classification import Poly1Loss as Poly1Loss
from lightning_losses.losses.classification import ProbMAELoss as ProbMAELoss
from lightning_losses.losses.classification import ReverseCrossEntropyLoss as ReverseCrossEntropyLoss
from lightning_losses.losses.classification import SymmetricCrossEntropyLoss as SymmetricCrossEntropyLoss
from lightning_losses.losses.classification import TaylorCrossEntropyLoss as TaylorCrossEntropyLoss
from lightning_losses.losses.foreign import ForeignLoss as ForeignLoss
from lightning_losses.losses.registry import get_loss as get_loss
from lightning_losses.losses.registry import list_losses as list_losses
from lightning_losses.losses.regression import HuberLoss as HuberLoss
from lightning_losses.losses.regression import L1Loss as L1Loss
from lightning_losses.losses.regression import MSELoss as MSELoss
from lightning_losses.losses.regression import RegressionLoss as RegressionLoss
from lightning_losses.losses.regression import SmoothL1Loss as SmoothL1Loss

"""Losses as functions: `loss(input, target, ...) -> Tensor`."""

from lightning_losses.functional._pipeline import FunctionOptions as FunctionOptions
from lightning_losses.functional._pipeline import Options as Options
from lightning_losses.functional.classification import binary_cross_entropy_loss as binary_cross_entropy_loss
from lightning_losses.functional.classification import cross_entropy_loss as cross_entropy_loss
from lightning_losses.functional.classification import focal_loss as focal_loss
from lightning_losses.functional.classification import generalized_cross_entropy_loss as generalized_cross_entropy_loss
from lightning_losses.functional.classification import poly1_loss as poly1_loss
from lightning_losses.functional.classification import prob_mae_loss as prob_mae_loss
from lightning_losses.functional.classification import reverse_cross_entropy_loss as reverse_cross_entropy_loss
from lightning_losses.functional.classification import symmetric_cross_entropy_loss as symmetric_cross_entropy_loss
from lightning_losses.functional.classification import taylor_cross_entropy_loss as taylor_cross_entropy_loss
from lightning_losses.functional.regression import RegressionOptions as RegressionOptions
from lightning_losses.functional.regression import huber_loss as huber_loss
from lightning_losses.functional.regression import l1_loss as l1_loss
from lightning_losses.functional.regression import mse_loss as mse_loss
from lightning_losses.functional.regression import smooth_l1_loss as smooth_l1_loss

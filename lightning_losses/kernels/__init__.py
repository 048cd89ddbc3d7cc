"""The only operations that touch the N x C matrix of logits.

Every classification loss is built from `target_log_likelihood` (hard labels) and `row_expectation` (soft labels);
whatever makes these two faster makes every loss faster.
"""

from lightning_losses.kernels.plain import log_softmax as log_softmax
from lightning_losses.kernels.plain import row_expectation as row_expectation
from lightning_losses.kernels.plain import target_log_likelihood as target_log_likelihood

"""The operations for GPUs: Triton kernels that read the logits once, and once more to write the gradient.

With class indices `phi` is applied in torch to one number of each row. Where every class needs it, in `row_expectation`
and `element_loss`, the core losses have a function in Triton's language, and with any other torch works by blocks of
rows. The forward pass of `row_expectation` reads a row twice: one that fits a tile, and with luck any, is cached then.
One more kernel checks targets.

Checked in Triton's interpreter against `plain`, and compiled for GPUs; not run on one.
"""

from lightning_losses.kernels.on_cuda.elements import element_loss as element_loss
from lightning_losses.kernels.on_cuda.rows import row_expectation as row_expectation
from lightning_losses.kernels.on_cuda.rows import target_loss as target_loss
from lightning_losses.kernels.on_cuda.targets import checked_target as checked_target

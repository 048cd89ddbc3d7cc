"""Mixins for LightningModules: they forward the trainer's hooks to the objective and log its terms.

    class Net(ObjectiveMixin, LightningModule): ...

The mixin stands before LightningModule, whose hooks it overrides; both the `lightning` and the `pytorch_lightning`
package work, since neither is imported here.
"""

from lightning_losses.mixins.base import HasObjective as HasObjective
from lightning_losses.mixins.loss import STAGES as STAGES
from lightning_losses.mixins.loss import LossMixin as LossMixin
from lightning_losses.mixins.loss import Supervised as Supervised
from lightning_losses.mixins.optimizer import OptimizerMixin as OptimizerMixin
from lightning_losses.mixins.regularizer import RegularizerMixin as RegularizerMixin


class ObjectiveMixin(LossMixin, RegularizerMixin, OptimizerMixin):
    """Loss, regularization and optimizer: the three mixins together.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> from torch import nn
        >>> class Net(ObjectiveMixin, LightningModule):
        ...     def __init__(self):
        ...         super().__init__(loss="focal", regularizer={"l2": 1e-4}, optimizer="adamw")
        ...         self.net = nn.Linear(2, 3)
        ...     def forward(self, x):
        ...         return self.net(x)
        >>> Net().objective.loss.phi
        Focal(gamma=2.0)
    """

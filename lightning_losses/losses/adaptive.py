"""Adaptive softmax: a loss with parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_losses._target_checks import check_values
from lightning_losses._validation import choice
from lightning_losses.functional._options import REDUCTIONS, Reduction
from lightning_losses.functional._rows import RowLoss, weigh
from lightning_losses.losses.base import Prediction, RowwiseLoss


class AdaptiveLogSoftmaxLoss(RowwiseLoss):
    r"""Cross entropy of very many classes, rare ones in clusters with fewer dimensions.

    $$-\log p_t, \quad p_c = p(c) \text{ or } p(\text{cluster of } c)\, p(c \mid \text{cluster})$$

    It holds the last layer, `torch.nn.AdaptiveLogSoftmaxWithLoss`, and takes the features before it; its parameters
    are trained and saved with the model's. Classes must be sorted by falling frequency. Half parameters give a
    likelihood as exact as half numbers are.

    Args:
        in_features: Size of the features.
        n_classes: Number of classes.
        cutoffs: Increasing first classes of the clusters, such as `[2000, 10000]`.
        div_value: Each cluster has this many times fewer dimensions than the one before.
        head_bias: Whether the head has a bias.
        ignore_index: Targets of this value count for nothing.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: An argument is not allowed.

    Example:
        >>> import torch
        >>> loss = AdaptiveLogSoftmaxLoss(in_features=4, n_classes=6, cutoffs=[2])
        >>> features = torch.randn(3, 4)
        >>> loss(features, torch.tensor([0, 3, 5])).shape, loss.predict(features).probabilities.shape
        (torch.Size([]), torch.Size([3, 6]))

    Source:
        Grave, Joulin, Cisse, Grangier, Jegou: Efficient Softmax Approximation for GPUs, 2017.
    """

    task = "multiclass"
    unsupported = dict.fromkeys(
        ("weight", "pos_weight", "normalizer", "label_smoothing", "from_logits", "z_loss"),
        "it never computes the logits of all classes",
    )

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        choice("head_bias", head_bias, (True, False))
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(in_features, n_classes, cutoffs, div_value, head_bias)
        self.ignore_index = ignore_index
        self._reduction = choice("reduction", reduction, REDUCTIONS)

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""
        return self._reduction

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each row of features `(N, D)` and what it adds to the denominator."""
        if input.dim() != 2 or target.shape != input.shape[:1]:
            raise ValueError(
                f"input must have shape (N, {self.softmax.in_features}) and target (N,), "
                f"got {tuple(input.shape)} and {tuple(target.shape)}"
            )
        used = target != self.ignore_index
        last = self.softmax.n_classes - 1
        allowed = f"class indices in [0, {last}] or ignore_index={self.ignore_index}"
        check_values("target", target, used & ((target < 0) | (target > last)), allowed)
        dtype = torch.promote_types(input.dtype, torch.float32)
        if not len(input):
            return RowLoss(input.sum(dim=1, dtype=dtype), used.to(dtype))
        log_p = self.softmax(input.where(used.unsqueeze(1), 0), target.where(used, 0)).output.to(dtype)
        rows = RowLoss(-log_p.where(used, 0), used.to(log_p))
        return rows if sample_weight is None else weigh(rows, sample_weight)

    def posterior(self, input: Tensor) -> Tensor:
        """Return the probabilities of all classes, `(N, n_classes)`, for features `(N, in_features)`."""
        probabilities: Tensor = self.softmax.log_prob(input).exp()
        return probabilities

    def predict(self, input: Tensor) -> Prediction:
        """Return the most probable class of each row of features, and the probabilities of all."""
        probabilities = self.posterior(input)
        return Prediction(probabilities.argmax(dim=1), probabilities)

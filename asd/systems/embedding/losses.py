r"""Angular classification losses that shape an embedding space.

Conventions: N embeddings x of size D, C classes, labels y of shape (N, C): one row per embedding,
one-hot, or mixed (rows of probabilities, as mixup makes them). Embeddings and class centres are
divided by their L2 norm first, cos(x, w) is their product, s a scale. Each loss is the mean over
rows of the cross entropy

    -sum_c y_c log p_c(x)

and the losses differ in p_c, and in how s follows the training ("dynamic"):

    ArcFace            p = softmax(s cos(theta + m on the labelled class))
    AdaCos             p = softmax(s cos)
    SubclusterAdaCos   p = softmax(s cos) over C*n centres, summed over the n of each class
    AdaProj            p = softmax(s cos to the projection onto a subspace per class)

Sources: ArcFace: Deng et al., CVPR 2019; AdaCos: Zhang et al., CVPR 2019; sub-cluster AdaCos:
Wilkinghoff, IJCNN 2021; AdaProj: Wilkinghoff, 2024. Where the public toolkit (dcase-asd-toolkit)
does something else, an option named in the class's docstring gives its values.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from asd.errors import UserError
from asd.schema.values import Count, NonNegative, Positive

Initial = Literal["xavier", "normal"]
"""What class centres are drawn from."""

_EPS = 1e-7  # keeps acos away from the ends, where its gradient is infinite


class AngularLoss(nn.Module):
    """What the losses share: class centres, a scale, the mean cross entropy.

    Parameters
    ----------
    shape
        Shape of the centres; the last axis is the embedding's.
    scale
        s, before training.
    trainable
        Whether the centres are learned; else they keep their random values.
    initial
        What these are drawn from: "xavier" (uniform), or "normal", the standard normal
        distribution. Directions are as even; the longer a centre, the slower it turns.
    """

    scale: Tensor
    centres: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, scale: float, trainable: bool, initial: Initial = "xavier"
    ) -> None:
        super().__init__()
        centres = torch.empty(shape)
        if initial == "xavier":
            nn.init.xavier_uniform_(centres)
        else:
            nn.init.normal_(centres)
        if trainable:
            self.centres = nn.Parameter(centres)
        else:
            self.register_buffer("centres", centres)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar.

        Parameters
        ----------
        embeddings
            Shape (N, D).
        labels
            Shape (N, C), one-hot or mixed.
        """
        return self.row_losses(embeddings, labels).mean()

    def row_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of each embedding, shape (N,), at the present scale."""
        return self._row_losses(self.cosines(embeddings), labels)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosines between embeddings and centres, shape (N, centres)."""
        return linear(normalize(embeddings, dim=-1), normalize(self.centres, dim=-1))

    def _row_losses(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return -(labels * self._log_probabilities(cosines)).sum(dim=1)

    def _log_probabilities(self, cosines: Tensor) -> Tensor:
        """Logarithms of p_c, shape (N, C), at the present scale and without a margin."""
        return (self.scale * cosines).log_softmax(dim=1)


class AdaptiveLoss(AngularLoss, ABC):
    """An angular loss whose scale can follow the training batches.

    Parameters
    ----------
    dynamic
        Whether it does; else it stays as it is before training.
    scale_updates
        How often it does for each batch.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        scale: float,
        dynamic: bool,
        trainable: bool,
        initial: Initial = "xavier",
        scale_updates: int = 1,
    ) -> None:
        super().__init__(shape, scale=scale, trainable=trainable, initial=initial)
        self.dynamic = dynamic
        self.scale_updates = scale_updates

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As of every loss; in training mode a dynamic scale is updated first."""
        cosines = self.cosines(embeddings)
        if self.dynamic and self.training:
            with torch.no_grad():
                for _ in range(self.scale_updates):
                    self._follow(self._next_scale(cosines, labels))
        return self._row_losses(cosines, labels).mean()

    @abstractmethod
    def _next_scale(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """The scale after a batch; NaN where it is not defined."""

    def _follow(self, scale: Tensor) -> None:
        """Take over a new scale without asking the device for its value."""
        self.scale.copy_(torch.where(scale.isfinite(), scale, self.scale))


class ArcFace(AngularLoss):
    """Additive angular margin m on the labelled class; the scale is constant.

    With mixed labels each class with a share of the label takes its turn as the labelled one:
    the loss is the sum over c of y_c times the loss with the margin on c.

    Parameters
    ----------
    margin
        m in radians. There is no special case for angles above pi - m.
    margin_on
        "labelled", as in the paper, or "every": the public toolkit's logits carry the margin on
        every class, whatever the label.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        margin: NonNegative = 0.5,
        scale: Positive = 64.0,
        margin_on: Literal["labelled", "every"] = "labelled",
        trainable: bool = True,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__((classes, dim), scale=scale, trainable=trainable, initial=initial)
        self.margin = margin
        self.margin_on = margin_on

    def _row_losses(self, cosines: Tensor, labels: Tensor) -> Tensor:
        raised = self.scale * (_angles(cosines) + self.margin).cos()
        if self.margin_on == "every":
            return -(labels * raised.log_softmax(dim=1)).sum(dim=1)
        own = torch.eye(cosines.shape[1], dtype=torch.bool, device=cosines.device)
        plain = (self.scale * cosines).unsqueeze(1)  # (N, 1, C) against the labelled class
        total = torch.where(own, raised.unsqueeze(1), plain).logsumexp(dim=2)
        return -(labels * (raised - total)).sum(dim=1)


class AdaCos(AdaptiveLoss):
    """Softmax of scaled cosines, with the scale set from the number of classes or the batch.

    s starts at sqrt(2) log(C - 1). Dynamic:

        s = log(B) / cos(min(pi/4, m))

    where B is the batch's mean of the sum over other classes of exp(s cos), and m the median angle
    to the labelled class.

    Parameters
    ----------
    scale_rule
        What rows with mixed labels add to a dynamic scale. "paper": other classes are those
        without a share in the label, and the angle is the mean weighted by the shares (the paper
        has no mixed labels). "public": as in the public toolkit all classes of such a row count
        as others and its angles are left out; a batch without a pure row, which gives NaN there,
        leaves the scale as it is.
    angle_limit
        The paper's pi/4; khoaphamanh/DCASE2024 has pi/1e12, which makes s = log(B).
    scale_updates
        How often a dynamic scale is updated for a batch: khoaphamanh/DCASE2024 does it twice, as
        its prediction of classes, which comes before the loss, does it too.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        dynamic: bool = True,
        trainable: bool = True,
        scale_rule: Literal["paper", "public"] = "paper",
        angle_limit: Positive = math.pi / 4,
        scale_updates: Count = 1,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__(
            (classes, dim),
            scale=_initial_scale(classes),
            dynamic=dynamic,
            trainable=trainable,
            initial=initial,
            scale_updates=scale_updates,
        )
        self.scale_rule = scale_rule
        self.angle_limit = angle_limit

    def _next_scale(self, cosines: Tensor, labels: Tensor) -> Tensor:
        angles = _angles(cosines)
        if self.scale_rule == "public":
            others = labels < 1
            median = torch.where(others, math.nan, angles).nanmedian()
        else:
            others = labels <= 0
            median = (labels * angles).sum(dim=1).median()
        exponents = (self.scale * cosines).masked_fill(~others, -math.inf)
        log_b = exponents.flatten().logsumexp(dim=0) - math.log(len(cosines))
        return log_b / median.clamp_max(self.angle_limit).cos()


class SubclusterAdaCos(AdaptiveLoss):
    """AdaCos with n centres per class, whose probabilities are added.

    s starts at sqrt(2) log(C n - 1). Dynamic: s = log(B) / cos(min(pi/4, m)), with B the batch's
    mean of the sum over all centres of exp(s cos), and m the median angle to the labelled class.

    Parameters
    ----------
    subclusters
        n; the centres c*n to c*n + n-1 are those of class c.
    scale_rule
        What the angle to a class is in a dynamic scale. "nearest": that of its nearest centre,
        mixed labels weighting their classes. "public": the sum of the angles of every C-th centre
        (the public toolkit repeats the label row where its columns are grouped by class).
        They agree for one centre per class.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        subclusters: Count = 16,
        dynamic: bool = True,
        trainable: bool = True,
        scale_rule: Literal["nearest", "public"] = "nearest",
    ) -> None:
        super().__init__(
            (classes * subclusters, dim),
            scale=_initial_scale(classes * subclusters),
            dynamic=dynamic,
            trainable=trainable,
        )
        self.subclusters = subclusters
        self.scale_rule = scale_rule

    def _log_probabilities(self, cosines: Tensor) -> Tensor:
        logits = self.scale * cosines
        by_class = logits.view(len(logits), -1, self.subclusters).logsumexp(dim=2)
        return by_class - logits.logsumexp(dim=1, keepdim=True)

    def _next_scale(self, cosines: Tensor, labels: Tensor) -> Tensor:
        angles = _angles(cosines)
        if self.scale_rule == "public":
            angles = (labels.repeat(1, self.subclusters) * angles).sum(dim=1)
        else:
            nearest = angles.view(len(angles), -1, self.subclusters).amin(dim=2)
            angles = (labels * nearest).sum(dim=1)
        log_b = (self.scale * cosines).flatten().logsumexp(dim=0) - math.log(len(cosines))
        return log_b / (angles.median().clamp_max(math.pi / 4).cos() + _EPS)


class AdaProj(AdaptiveLoss):
    """Cosine between an embedding and its projection onto a subspace per class.

    Class c has d unit vectors W_ck (not orthogonalised); the projection of a unit embedding x is
    the normalised sum over k of (W_ck x) W_ck. s starts at sqrt(2) log(C - 1), and follows as
    AdaCos's does.

    Parameters
    ----------
    subspace_dim
        d.
    scale_rule
        What the labelled class adds to B of a dynamic scale. "paper": nothing. "public": exp(0),
        as in the public toolkit (its mask multiplies the exponent), and nothing is left out of
        rows with mixed labels.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        subspace_dim: Count = 32,
        dynamic: bool = True,
        trainable: bool = False,
        scale_rule: Literal["paper", "public"] = "paper",
    ) -> None:
        super().__init__(
            (classes, subspace_dim, dim),
            scale=_initial_scale(classes),
            dynamic=dynamic,
            trainable=trainable,
        )
        self.scale_rule = scale_rule

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosines between embeddings and their projections, shape (N, C).

        With a = W x (d values), the projection is p = W^T a, and x p = |a|^2: no (N, C, D) array
        of projections is needed, only its norms, a^T (W W^T) a.
        """
        x = normalize(embeddings, dim=-1)
        w = normalize(self.centres, dim=-1)
        a = torch.einsum("nd,ckd->cnk", x, w)
        norm_squared = ((a @ (w @ w.mT)) * a).sum(dim=2)
        return (a.square().sum(dim=2) / norm_squared.clamp_min(1e-24).sqrt()).T

    def _next_scale(self, cosines: Tensor, labels: Tensor) -> Tensor:
        logits = self.scale * cosines
        largest = logits.max()
        if self.scale_rule == "public":
            exponents = torch.where(labels < 1, logits, 0.0)
        else:
            exponents = logits.masked_fill(labels > 0, -math.inf)
        log_b = (exponents - largest).flatten().logsumexp(dim=0) - math.log(len(cosines))
        median = (labels * _angles(cosines)).sum(dim=1).median()
        return (largest + log_b) / (median.clamp_max(math.pi / 4).cos() + _EPS)


def _initial_scale(centres: int) -> float:
    """The fixed scale of Zhang et al., sqrt(2) log(centres - 1); 0 for two teaches nothing."""
    if centres < 3:
        raise UserError(
            f"losses: {centres} class centres are too few for AdaCos and AdaProj; "
            "train on clips of three classes or more, or take ArcFace"
        )
    return math.sqrt(2) * math.log(centres - 1)


def _angles(cosines: Tensor) -> Tensor:
    return cosines.clamp(-1 + _EPS, 1 - _EPS).acos()

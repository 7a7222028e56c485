"""A book of vectors, and the code of a vector: the number of the nearest one in the book."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.reading import check_levels
from lvmlib.checks import check_counts, check_share
from lvmlib.draws import at_least_float32


class Codebook(nn.Module):
    r"""K vectors :math:`e_1, \dots, e_K`, to which the features of an encoder are rounded.

    .. math:: c(h) = \arg\min_k \lVert h - e_k \rVert

    The vectors follow the features that are rounded to them, as in k-means: with running counts :math:`N_k` and sums
    :math:`m_k` of those of a batch,

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \qquad
        m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i : c(h_i) = k} h_i, \qquad e_k = m_k / N_k.

    Without a decay they are parameters, which the gradient of :math:`\lVert h - e_{c(h)} \rVert^2` pulls to the
    features. A code that is hardly used any more, :math:`N_k` below `restart`, is put on a feature of the batch.

    Args:
        size: number of vectors, K.
        width: entries of a vector, E.
        decay: :math:`\gamma` of the running means; None trains the vectors by gradient.
        restart: how often per batch a code must be used, on the running mean, to be left where it is; 0 never moves
            one, and below 1 a code that is put on a feature has a few batches' time to be found.

    Attributes:
        vectors: [K, E].
        counts: [K], :math:`N_k`; 1 at first and after a restart.
        sums: [K, E], :math:`m_k`.

    Raises:
        ValueError: sizes below 1, or a decay or restart outside [0, 1).

    Example:
        >>> import torch
        >>> from lvmlib import Codebook
        >>> book = Codebook(size=2, width=1)
        >>> _ = book.vectors.copy_(torch.tensor([[-1.0], [1.0]]))
        >>> codes = book(torch.tensor([[[0.3, -2.0, 0.8]]]))
        >>> codes, book.embed(codes)
        (tensor([[1, 0, 1]]), tensor([[[ 1., -1.,  1.]]]))

    Source: van den Oord, Vinyals & Kavukcuoglu 2017, *Neural Discrete Representation Learning*, section 3.2 and
    appendix A.1; restarts: Dhariwal et al. 2020, *Jukebox*, section 3.1.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, width: int, decay: float | None = 0.99, restart: float = 0.0):
        super().__init__()
        self.size, self.width = check_counts(size=size, width=width)
        self.decay = None if decay is None else check_share(decay, "decay")
        self.restart = check_share(restart, "restart")
        start = torch.randn(self.size, self.width)
        if self.decay is None:
            self.vectors = nn.Parameter(start)
        else:
            self.register_buffer("vectors", start)
            self.register_buffer("sums", start.clone())
        self.register_buffer("counts", torch.ones(self.size))

    def forward(self, features: Tensor) -> Tensor:
        """Codes of features: [B, E, ...] -> [B, ...], whole numbers in int64. Autocast does not touch it."""
        rows, vectors = at_least_float32(self._rows(features).detach()), at_least_float32(self.vectors.detach())
        with torch.autocast(features.device.type, enabled=False):
            half_squares = vectors.square().sum(1) / 2  # |h - e|^2 / 2 without what all codes share
            nearest = (half_squares - rows @ vectors.T).argmin(1)
        return nearest.view(len(features), *features.shape[2:])

    def embed(self, codes: Tensor) -> Tensor:
        """Vectors of codes: [B, ...] -> [B, E, ...]."""
        return F.embedding(codes.long(), self.vectors).movedim(-1, 1)

    def quantise(self, features: Tensor, commitment: float, learn: bool) -> tuple[Tensor, Tensor, Tensor]:
        r"""Round features, so that the gradient of what is made of the vectors goes straight through to the features.

        Args:
            features: [B, E, ...].
            commitment: weight of the term that pulls the features to their vectors.
            learn: whether counts and sums take note of this batch, and the vectors with them.

        Returns:
            codes: [B, ...], float32 or better; vectors: [B, E, ...], :math:`h + \operatorname{stop}(e - h)`; penalty:
            [B], the squared distances :math:`\beta \lVert h - \operatorname{stop}(e) \rVert^2`, and without a decay
            :math:`\lVert \operatorname{stop}(h) - e \rVert^2` besides.
        """
        codes = self(features)
        e = self.embed(codes)
        penalty = commitment * at_least_float32(features - e.detach()).square().flatten(1).sum(1)
        if self.decay is None:
            penalty = penalty + at_least_float32(features.detach() - e).square().flatten(1).sum(1)
        straight = features + (e - features).detach()
        if learn:
            self.learn(features, codes)
        return codes.to(penalty.dtype), straight, penalty  # bfloat16 would not tell code 256 from 257

    @torch.no_grad()
    def learn(self, features: Tensor, codes: Tensor) -> None:
        """Take note of a batch of features [B, E, ...] and their codes [B, ...], and move the vectors."""
        rows, codes = self._rows(features), codes.flatten()
        n = torch.bincount(codes, minlength=self.size).to(self.counts)
        decay = 0.99 if self.decay is None else self.decay
        self.counts.mul_(decay).add_(n, alpha=1 - decay)
        if self.decay is not None:
            new = torch.zeros_like(self.sums).index_add_(0, codes, rows.to(self.sums))
            self.sums.mul_(decay).add_(new, alpha=1 - decay)
            used = n > 0  # the others' ratio is what it was, and would be 0 / 0 in the end
            self.vectors[used] = self.sums[used] / self.counts[used, None]
        dead = (self.counts < self.restart).nonzero()[:, 0]
        if len(dead):
            self._put(dead, rows)

    @torch.no_grad()
    def start_from(self, features: Tensor) -> None:
        """Put all vectors on features [B, E, ...] chosen at random."""
        self._put(torch.arange(self.size, device=self.counts.device), self._rows(features))

    def _put(self, which: Tensor, rows: Tensor) -> None:
        """Put some vectors on rows [N, E] chosen at random, different ones where there are enough."""
        chosen = torch.randperm(len(rows), device=rows.device).repeat(-(-len(which) // len(rows)))[: len(which)]
        self.vectors.data[which] = rows[chosen].to(self.vectors.dtype)
        self.counts[which] = 1
        if self.decay is not None:
            self.sums[which] = self.vectors[which]

    def _rows(self, features: Tensor) -> Tensor:
        """[B, E, ...] -> [N, E], place by place."""
        if features.dim() < 2 or features.shape[1] != self.width:
            raise ValueError(
                f"The features must be [B, {self.width}, ...], as wide as the vectors of the book, but they are "
                f"{list(features.shape)}."
            )
        return features.movedim(1, -1).flatten(0, -2)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"size={self.size}, width={self.width}, decay={self.decay}, restart={self.restart}"


def perplexity(codes: Tensor, size: int) -> Tensor:
    r"""How many codes are in use: the exponential of the entropy of their shares.

    .. math:: \exp\Big(-\sum_k f_k \log f_k\Big), \qquad f_k = n_k / \sum_l n_l

    It is K where all codes are used equally often and 1 where one of them is all there is. A small batch cannot show
    more codes than it has places, so take it over a whole data set.

    Args:
        codes: whole numbers from 0 to size - 1, any shape.
        size: number of codes, K.

    Returns:
        A scalar, between 1 and K.

    Raises:
        ValueError: no codes, or numbers that are none.

    Example:
        >>> import torch
        >>> from lvmlib import perplexity
        >>> perplexity(torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), size=16)
        tensor(4.)

    Source: van den Oord, Vinyals & Kavukcuoglu 2017, as their released code reports it (DeepMind, *Sonnet*).
    """
    (size,) = check_counts(size=size)
    if not codes.numel():
        raise ValueError("The perplexity of no codes is not defined.")
    check_levels(codes, size, "codes")
    shares = torch.bincount(codes.flatten().long(), minlength=size).to(torch.get_default_dtype()) / codes.numel()
    return torch.special.entr(shares).sum().exp()

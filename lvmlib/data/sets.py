"""One split of a data set, and how a set is loaded as three of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lvmlib.checks import check_count, check_seed
from lvmlib.data.sources import SETS

Index: TypeAlias = "int | slice | Sequence[int] | Tensor"

STATIC_SEED = 0
"""The seed of `binarize="static"`."""


class Data:
    """One split of a data set, held in memory.

    Args:
        x: [N, ...], the examples: uint8 in {0..levels-1}, or floating point.
        y: [N], the labels, or None.
        name: what the split is called, such as "mnist/train".
        binarize: None, or "stochastic": each `batch` draws every pixel anew, 1 with probability x / (levels - 1).
        levels: number of grey levels of a uint8 `x`.

    Attributes:
        event_shape: shape of one example.

    Raises:
        TypeError: `x` is no tensor, or is to be binarized and is not uint8.
        ValueError: `x` and `y` differ in length, or `binarize` is neither None nor "stochastic".

    Example:
        >>> import torch
        >>> from lvmlib import Data
        >>> grey = torch.tensor([[0, 255], [128, 64]], dtype=torch.uint8)
        >>> data = Data(grey, name="two pixels", binarize="stochastic")
        >>> data
        Data(two pixels: 2 x [2], uint8 0..255, drawn as 0/1 at each batch)
        >>> data.batch([0])          # black stays 0 and white stays 1; greys are drawn
        tensor([[0., 1.]])
    """

    def __init__(
        self, x: Tensor, y: Tensor | None = None, name: str = "data", binarize: str | None = None, levels: int = 256
    ) -> None:
        if not isinstance(x, Tensor) or x.dim() == 0:
            raise TypeError(f"x must be a tensor of shape [N, ...], but it is {describe(x)}.")
        if y is not None and len(y) != len(x):
            raise ValueError(f"x and y must have one row per example, but x has {len(x)} rows and y has {len(y)}.")
        if binarize not in (None, "stochastic"):
            raise ValueError(f'binarize must be None or "stochastic", but it is {binarize!r}; use load for "static".')
        if binarize and x.dtype != torch.uint8:
            raise TypeError(f"Only uint8 grey levels can be binarized, but x is {describe(x)}.")
        self.x, self.y, self.name, self.binarize = x, y, name, binarize
        self.levels = check_count(levels, "levels", "counts grey levels", least=2)
        self.event_shape = x.shape[1:]

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        kind = str(self.x.dtype).removeprefix("torch.")
        kind += f" 0..{self.levels - 1}" if self.x.dtype == torch.uint8 else ""
        kind += ", drawn as 0/1 at each batch" if self.binarize else ""
        where = f", {self.x.device}" if self.x.device.type != "cpu" else ""
        return f"Data({self.name}: {len(self):,} x {list(self.event_shape)}, {kind}{where})"

    def batch(self, index: Index, generator: torch.Generator | None = None) -> Tensor:
        """Return the examples at `index`, freshly binarized when the split is stochastic.

        Args:
            index: [B] positions as a tensor, list or slice; a single position gives a batch of one.
            generator: where the binarization draws from; torch's global generator when None.

        Returns:
            [B, *event_shape]: float32 in {0, 1} when stochastic, else the stored values in their own dtype.
        """
        single = _single(index)
        x = _rows(self.x, index) if single is None else self.x[single : single + 1 or None]
        if self.binarize is None:
            return x
        # A draw from {0..K-2} lies below x with probability x / (K - 1), exactly: 0 never, K - 1 always.
        device = generator.device if generator is not None else x.device
        noise = torch.randint(0, self.levels - 1, x.shape, dtype=torch.uint8, generator=generator, device=device)
        return (noise.to(x.device) < x).float()

    def __getitem__(self, index: Index) -> Tensor:
        """One example for a single number, else a batch of them: what a `torch.utils.data.DataLoader` asks for."""
        single = _single(index)
        if single is not None and not -len(self) <= single < len(self):
            raise IndexError(f"{self.name} has {len(self)} examples, but number {single} was asked for.")
        return self.batch(index) if single is None else self.batch(single)[0]

    def fixed(self, seed: int) -> Data:
        """Return the split with one draw of the binarization frozen, for evaluations that must agree to the last bit.

        The draw comes from NumPy's frozen `RandomState(seed)`, so it is the same on every machine and in every version
        of torch. A split that draws nothing is returned as it is.

        Args:
            seed: a whole number from 0 to :math:`2^{32} - 1`.
        """
        seed = check_seed(seed)
        if self.binarize is None:
            return self
        x = _bernoulli(self.x.cpu(), self.levels, np.random.RandomState(seed)).to(self.x.device)
        return Data(x, self.y, self.name)

    def unit(self) -> Data:
        """Return the split as float32 in [0, 1], the grey levels divided by `levels - 1`; no binarization."""
        if self.x.dtype != torch.uint8:
            return self
        return Data(self.x.float() / (self.levels - 1), self.y, self.name)

    def subset(self, index: Index) -> Data:
        """Return the first `index` examples when it is a number, else the examples at `index`."""
        single = _single(index)
        if single is not None:
            if not 0 <= single <= len(self):
                raise ValueError(f"A subset of {self.name} has 0 to {len(self)} examples, but {single} were asked for.")
            index = slice(0, single)
        y = None if self.y is None else _rows(self.y, index)
        return Data(_rows(self.x, index), y, self.name, self.binarize, self.levels)

    def to(self, device: torch.device | str) -> Data:
        """Return the split with its tensors on `device`."""
        y = None if self.y is None else self.y.to(device)
        return Data(self.x.to(device), y, self.name, self.binarize, self.levels)

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes of `x`, followed by those of `y`, for the record of a training run.

        Example:
            >>> import torch
            >>> from lvmlib import Data
            >>> Data(torch.zeros(2, dtype=torch.uint8)).sha256()[:16]   # sha256 of two zero bytes
            '96a296d224f285c6'
        """
        digest = hashlib.sha256(_bytes(self.x))
        if self.y is not None:
            digest.update(_bytes(self.y))
        return digest.hexdigest()


def load(
    name: str, binarize: str | None = None, *, valid: int | None = None, progress: bool = True
) -> tuple[Data, Data, Data]:
    """Load a data set as its train, validation and test splits.

    The test split is the customary one where there is one. Validation examples are the last `valid` of the training
    examples, so `valid=0` gives all of them (60,000 of MNIST) and an empty validation split. Text is one string of
    ASCII codes, each character an example, split where a sonnet ends. A spoken word is 0.625 s at 8 kHz in mu-law
    codes, see `mu_law_decode`.

    Args:
        name: "mnist", "digits", "text", "emoji", "speech", "fashion-mnist" or "cifar-10".
        binarize: None keeps grey levels, uint8. "stochastic" draws each pixel anew at every `batch`, 1 with
            probability x / 255, as the IWAE's authors do. "static" draws once, from seed 0: float32 in {0, 1}. The
            static draw is this library's own: its likelihoods do not compare with those on the classic static file
            (Larochelle and Murray, 2011).
        valid: number of examples to set aside for validation; a customary number when None.
        progress: show a bar while a set is being fetched.

    Returns:
        train, valid, test.

    Raises:
        ValueError: unknown `name` or `binarize`, or a `valid` that leaves no training examples.
        DataError: a file is missing, damaged or cannot be fetched or stored; the message says which and what to do.

    Example:
        >>> from lvmlib import load
        >>> train, valid, test = load("mnist", binarize="stochastic")
        >>> train
        Data(mnist/train: 50,000 x [1, 28, 28], uint8 0..255, drawn as 0/1 at each batch)
        >>> train.batch(slice(0, 20)).shape
        torch.Size([20, 1, 28, 28])
    """
    if name not in SETS:
        raise ValueError(f"There is no data set {name!r}; the names are {', '.join(SETS)}.")
    if binarize not in (None, "static", "stochastic"):
        raise ValueError(f'binarize must be None, "static" or "stochastic", but it is {binarize!r}.')
    entry = SETS[name]
    if binarize and not entry.grey:
        raise ValueError(f"{name} has no grey levels to binarize; use binarize=None.")
    x, y, test_x, test_y = (None if array is None else torch.tensor(array) for array in entry.arrays(progress))
    assert x is not None and test_x is not None
    count = check_count(entry.valid if valid is None else valid, "valid", "counts examples", least=0)
    if count >= len(x):
        raise ValueError(f"valid must be a whole number from 0 to {len(x) - 1} for {name}, but it is {valid!r}.")

    kind = "stochastic" if binarize == "stochastic" else None
    if binarize == "static":
        random = np.random.RandomState(STATIC_SEED)
        x, test_x = _bernoulli(x, entry.levels, random), _bernoulli(test_x, entry.levels, random)
    cut = len(x) - count
    train_y, valid_y = (None, None) if y is None else (y[:cut], y[cut:])
    return (
        Data(x[:cut], train_y, f"{name}/train", kind, entry.levels),
        Data(x[cut:], valid_y, f"{name}/valid", kind, entry.levels),
        Data(test_x, test_y, f"{name}/test", kind, entry.levels),
    )


def describe(x: object) -> str:
    """What came, for a message: "a torch.int64 tensor of shape [3]", or "a list"."""
    return f"a {x.dtype} tensor of shape {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"


def _single(index: Any) -> int | None:
    """A single number, Python's, NumPy's or torch's; None where `index` is several."""
    if (isinstance(index, (slice, Sequence)) and not isinstance(index, str)) or (
        hasattr(index, "ndim") and index.ndim > 0
    ):
        return None
    return check_count(index, "index", "", least=None)


def _rows(x: Tensor, index: Index) -> Tensor:
    if isinstance(index, slice):
        return x[index]
    index = torch.as_tensor(index, device=x.device)
    if index.dtype == torch.bool:
        return x[index]
    if index.is_floating_point() and len(index):
        raise TypeError(f"index must hold whole numbers, but it is {describe(index)}.")
    # index_select is ten times faster than x[index] on a batch of images, but knows no negative positions
    return x.index_select(0, torch.where(index < 0, index + len(x), index).long())


def _bernoulli(x: Tensor, levels: int, random: np.random.RandomState) -> Tensor:
    """Draw each pixel once, 1 with probability x / (levels - 1); in pieces, so that no large float64 array arises."""
    draw = torch.empty(x.shape, dtype=torch.float32, device="cpu")
    for start in range(0, len(x), 10_000):
        grey = x[start : start + 10_000].numpy()
        draw[start : start + 10_000] = torch.from_numpy(random.random_sample(grey.shape) * (levels - 1) < grey)
    return draw


def _bytes(x: Tensor) -> bytes:
    return x.detach().cpu().contiguous().numpy().tobytes()

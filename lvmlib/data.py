"""Data sets as three in-memory splits: `load(name)` gives train, valid and test, each a `Data`.

A split is one tensor, and a batch is one indexing of it: nothing here needs worker processes. MNIST, the text, the
emoji and the spoken words lie inside the package and the 8x8 digits come with scikit-learn; the other two sets are
fetched once and kept (see `lvmlib.downloads`).

============= ================= =========================== ========================================================
name          one example       train / valid / test        licence
============= ================= =========================== ========================================================
mnist         uint8 [1, 28, 28] 50,000 / 10,000 / 10,000    CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. J. C. Burges)
digits        uint8 [1, 8, 8]   1,257 / 180 / 360           CC BY 4.0 (E. Alpaydin, C. Kaynak; with scikit-learn)
text          uint8 []          80,776 / 5,024 / 9,842      public domain (Shakespeare's Sonnets, all 154)
emoji         uint8 [3, 32, 32] 905 / 60 / 120              OFL 1.1 (Google; from the font Noto Color Emoji)
speech        uint8 [5000]      134 / 16 / 24               CC BY-SA 3.0 (Allison Smith; Asterisk's voice prompts)
fashion-mnist uint8 [1, 28, 28] 50,000 / 10,000 / 10,000    MIT (Zalando SE)
cifar-10      uint8 [3, 32, 32] 45,000 / 5,000 / 10,000     none stated; A. Krizhevsky asks for a citation
============= ================= =========================== ========================================================

A note on source, licence and making lies beside each shipped set (`datasets/emoji.md`, for instance). Omniglot and the
ORL faces are not here: no undamaged copy was at hand from which to take a SHA-256, and nothing is loaded unverified.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import tarfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lvmlib.downloads import DataError, Source, read

Index: TypeAlias = "int | slice | Sequence[int] | Tensor"

STATIC_SEED = 0
"""The seed of `binarize="static"`."""

EMOJI_GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
)
"""The groups of Unicode that the labels of the emoji stand for."""

SPEECH_WORDS = tuple(
    """
    zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, twenty, thirty, forty,
    fifty, sixty, seventy, eighty, hundred, thousand, million, billion, first, second, third, fourth, fifth, sixth,
    seventh, eighth, ninth, eleventh, twelfth, thirteenth, fourteenth, fifteenth, sixteenth, seventeenth, eighteenth,
    twentieth, thirtieth, fortieth, fiftieth, sixtieth, seventieth, eightieth, hundredth, thousandth, millionth,
    billionth, Sunday, Monday, Tuesday, Thursday, Friday, Saturday, February, March, April, May, June, July, August, at,
    dollars, minus, o'clock, p.m., pound, star, today, tomorrow, b, c, d, e, g, h, i, j, k, o, p, q, r, t, u, v, w, x,
    y, zee, zed, asterisk, dash, dollar, dot, equals, plus, slash, space, alpha, bravo, charlie, delta, echo, golf,
    hotel, india, juliet, kilo, lima, mike, oscar, papa, quebec, romeo, sierra, tango, victor, zulu, niner, pause,
    paused, playback, record, added, thank you, calling, cancelled, enabled, for, goodbye, hello, hours, lowercase,
    minute, minutes, number, less than, removed, seconds, speed dial, agent, local, time, uppercase, family, friends,
    old, urgent, work, and, from, last, message, messages, no, password, press, received, saved, you have, with
    """.replace("\n    ", " ")
    .strip()
    .split(", ")
)
"""What the labels of the spoken words stand for; label 7 is the word "seven"."""

_SHIPPED = Path(__file__).with_name("datasets")


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
            raise TypeError(f"x must be a tensor of shape [N, ...], but it is {_describe(x)}.")
        if y is not None and len(y) != len(x):
            raise ValueError(f"x and y must have one row per example, but x has {len(x)} rows and y has {len(y)}.")
        if binarize not in (None, "stochastic"):
            raise ValueError(f'binarize must be None or "stochastic", but it is {binarize!r}; use load for "static".')
        if binarize and x.dtype != torch.uint8:
            raise TypeError(f"Only uint8 grey levels can be binarized, but x is {_describe(x)}.")
        self.x, self.y, self.name, self.binarize, self.levels = x, y, name, binarize, levels
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
        x = self.x[index : index + 1 or None] if isinstance(index, int) else _rows(self.x, index)
        if self.binarize is None:
            return x
        # A draw from {0..K-2} lies below x with probability x / (K - 1), exactly: 0 never, K - 1 always.
        device = generator.device if generator is not None else x.device
        noise = torch.randint(0, self.levels - 1, x.shape, dtype=torch.uint8, generator=generator, device=device)
        return (noise.to(x.device) < x).float()

    def fixed(self, seed: int) -> Data:
        """Return the split with one draw of the binarization frozen, for evaluations that must agree to the last bit.

        The draw comes from NumPy's frozen `RandomState(seed)`, so it is the same on every machine and in every version
        of torch. A split that draws nothing is returned as it is.

        Args:
            seed: a whole number in {0..2^32-1}.
        """
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
        if isinstance(index, int):
            if not 0 <= index <= len(self):
                raise ValueError(f"A subset of {self.name} has 0 to {len(self)} examples, but {index} were asked for.")
            index = slice(0, index)
        y = None if self.y is None else _rows(self.y, index)
        return Data(_rows(self.x, index), y, self.name, self.binarize, self.levels)

    def to(self, device: torch.device | str) -> Data:
        """Return the split with its tensors on `device`."""
        y = None if self.y is None else self.y.to(device)
        return Data(self.x.to(device), y, self.name, self.binarize, self.levels)

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes of `x`, followed by those of `y`, for the record of a training run.

        Example:
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
        >>> train, valid, test = load("mnist", binarize="stochastic")
        >>> train
        Data(mnist/train: 50,000 x [1, 28, 28], uint8 0..255, drawn as 0/1 at each batch)
        >>> train.batch(slice(0, 20)).shape
        torch.Size([20, 1, 28, 28])
    """
    if name not in _SETS:
        raise ValueError(f"There is no data set {name!r}; the names are {', '.join(_SETS)}.")
    if binarize not in (None, "static", "stochastic"):
        raise ValueError(f'binarize must be None, "static" or "stochastic", but it is {binarize!r}.')
    entry = _SETS[name]
    if binarize and not entry.grey:
        raise ValueError(f"{name} has no grey levels to binarize; use binarize=None.")
    x, y, test_x, test_y = (None if array is None else torch.tensor(array) for array in entry.arrays(progress))
    assert x is not None and test_x is not None
    count = entry.valid if valid is None else valid
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < len(x):
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


def mu_law_encode(x: Tensor, levels: int = 256) -> Tensor:
    r"""Quantize sound to `levels` codes whose spacing grows with the amplitude, as the ear's does.

    .. math::
        f(x) = \operatorname{sign}(x)\, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad
        c = \left\lfloor \tfrac{\mu}{2} (f(x) + 1) + \tfrac12 \right\rfloor, \qquad \mu = \text{levels} - 1

    This is the formula of WaveNet, with no code for 0 itself when the number of levels is even. ITU-T G.711, the code
    of the telephone, approximates the same curve by straight pieces; its bytes are others.

    Args:
        x: floating point, any shape, in [-1, 1]; what lies beyond is clipped.
        levels: number of codes, 2 to 256.

    Returns:
        The codes, uint8 in {0..levels-1}, in the shape of `x`; decode them with `mu_law_decode`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: `levels` is out of range, or `x` holds a NaN.

    References:
        van den Oord et al. (2016), "WaveNet: A generative model for raw audio".

    Example:
        >>> mu_law_encode(torch.tensor([-1.0, -0.01, 0.0, 0.01, 1.0])).tolist()
        [0, 98, 128, 157, 255]
    """
    _check_levels(levels)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor with values in [-1, 1], but it is {_describe(x)}.")
    if x.isnan().any():
        raise ValueError("x must hold amplitudes in [-1, 1], but some are NaN.")
    mu = levels - 1
    x = x.double().clamp(-1, 1)  # float32 would put amplitudes near a boundary into the neighbouring code
    curve = x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)
    return torch.floor(mu * (curve + 1) / 2 + 0.5).to(torch.uint8)


def mu_law_decode(codes: Tensor, levels: int = 256) -> Tensor:
    r"""Return the amplitudes that mu-law codes stand for, the inverse of the curve of `mu_law_encode`.

    .. math::
        x = \operatorname{sign}(f)\, \frac{(1 + \mu)^{|f|} - 1}{\mu}, \qquad f = \frac{2 c}{\mu} - 1, \qquad
        \mu = \text{levels} - 1

    Args:
        codes: whole numbers in {0..levels-1}, any shape and dtype.
        levels: number of codes, 2 to 256.

    Returns:
        Amplitudes, float32 in [-1, 1], in the shape of `codes`. Encoding them gives the codes again.

    Raises:
        ValueError: `levels` is out of range, or a code is.

    Example:
        >>> mu_law_decode(torch.tensor([0, 64, 98, 157, 191, 255]))
        tensor([-1.0000, -0.0581, -0.0102,  0.0102,  0.0581,  1.0000])
        >>> sound = mu_law_decode(load("speech")[0].x[7])     # "seven", 5,000 samples at 8,000 a second
    """
    _check_levels(levels)
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < levels:
        raise ValueError(
            f"Codes of {levels} levels lie in 0..{levels - 1}, but these reach from {codes.min()} to {codes.max()}."
        )
    mu = levels - 1
    curve = 2 * codes.double() / mu - 1
    return (curve.sign() * torch.expm1(curve.abs() * math.log1p(mu)) / mu).float()


def _check_levels(levels: int) -> None:
    if isinstance(levels, bool) or not isinstance(levels, int) or not 2 <= levels <= 256:
        raise ValueError(f"levels must be a whole number from 2 to 256, but it is {levels!r}.")


def _describe(x: object) -> str:
    return f"a {x.dtype} tensor of shape {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"


def _rows(x: Tensor, index: slice | Sequence[int] | Tensor) -> Tensor:
    if isinstance(index, slice):
        return x[index]
    index = torch.as_tensor(index, device=x.device)
    if index.dtype == torch.bool:
        return x[index]
    if index.is_floating_point() and len(index):
        raise TypeError(f"index must hold whole numbers, but it is {_describe(index)}.")
    # index_select is ten times faster than x[index] on a batch of images, but knows no negative positions
    return x.index_select(0, torch.where(index < 0, index + len(x), index).long())


def _bernoulli(x: Tensor, levels: int, random: np.random.RandomState) -> Tensor:
    """Draw each pixel once, 1 with probability x / (levels - 1); in pieces, so that no large float64 array arises."""
    draw = torch.empty(x.shape)
    for start in range(0, len(x), 10_000):
        grey = x[start : start + 10_000].numpy()
        draw[start : start + 10_000] = torch.from_numpy(random.random_sample(grey.shape) * (levels - 1) < grey)
    return draw


def _bytes(x: Tensor) -> bytes:
    return x.detach().cpu().contiguous().numpy().tobytes()


# ---------------------------------------------------------------------------------------------- the sets themselves

Arrays: TypeAlias = "tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]"  # x, y, test x, test y


class _Set(NamedTuple):
    arrays: Callable[[bool], Arrays]
    valid: int  # customary number of validation examples
    levels: int = 256
    grey: bool = True  # binarizing makes sense


def _idx(data: bytes) -> np.ndarray:
    """Read an IDX file of bytes: two zeros, type 8, number of dimensions, each size as 4 bytes, then the values."""
    dims = data[3]
    shape = np.frombuffer(data, ">i4", dims, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def _idx_set(train_x: bytes, train_y: bytes, test_x: bytes, test_y: bytes) -> Arrays:
    labels, test_labels = _idx(train_y).astype(np.int64), _idx(test_y).astype(np.int64)
    return _idx(train_x)[:, None], labels, _idx(test_x)[:, None], test_labels  # [N, 28, 28] -> [N, 1, 28, 28]


_MNIST = {  # SHA-256 of the four files as their authors published them, unzipped
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def _shipped(file: str) -> bytes:
    try:
        return (_SHIPPED / file).read_bytes()
    except OSError as error:
        raise DataError(
            f"{_SHIPPED / file} belongs to lvmlib but cannot be read ({error}); reinstall lvmlib."
        ) from error


@cache  # decoded once a process: 0.8 s
def _mnist() -> Arrays:
    damaged = f"{_SHIPPED / 'mnist.tar.xz'} is damaged; reinstall lvmlib."
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(_shipped("mnist.tar.xz")))) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise DataError(damaged) from error
    if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} != _MNIST:
        raise DataError(damaged)
    return _idx_set(*(files[name] for name in _MNIST))


def _digits() -> Arrays:
    from sklearn.datasets import load_digits  # imported here: it takes a second that `import lvmlib` need not pay

    digits = load_digits()
    x, y = digits.images.astype(np.uint8)[:, None], digits.target.astype(np.int64)  # [1797, 1, 8, 8], values 0..16
    # Stratified by ordering: shuffled, the r-th of the n members of a class goes to position (r + 1/2) / n, so that
    # every stretch of the order holds the classes in proportion, and any cut of it is a stratified split.
    shuffled = np.random.RandomState(0).permutation(len(y))
    position = np.empty(len(y))
    for label in range(10):
        members = shuffled[y[shuffled] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.argsort(position, kind="stable")
    x, y = x[order], y[order]
    return x[:-360], y[:-360], x[-360:], y[-360:]


def _text() -> Arrays:
    text = _shipped("sonnets.txt")
    if hashlib.sha256(text).hexdigest() != "81ad3d61b6863db95a0f1e81f0a708fe1e8b15a60cd8ecfbaa94da330b1da418":
        raise DataError(f"{_SHIPPED / 'sonnets.txt'} is damaged; reinstall lvmlib.")
    codes = np.frombuffer(text, np.uint8)
    cut = text.index(b"\nCXXXIX\n") + 1  # the last 16 of 154 sonnets are the test split
    return codes[:cut], None, codes[cut:], None


def _labelled(file: str, sha256: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read an xz file of all labels, a byte each, and then all examples; return the examples and the labels."""
    damaged = f"{_SHIPPED / file} is damaged; reinstall lvmlib."
    try:
        data = np.frombuffer(lzma.decompress(_shipped(file)), np.uint8)
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(damaged) from error
    if hashlib.sha256(data.tobytes()).hexdigest() != sha256:
        raise DataError(damaged)
    count = len(data) // (1 + math.prod(shape))
    return data[count:].reshape(count, *shape), data[:count].astype(np.int64)


@cache
def _emoji() -> Arrays:
    x, y = _labelled("emoji.xz", "07f096049b168e2ae3546a5e084bfd23af48b584209963dddb25936be1a53358", (32, 32, 3))
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # stored colour last, where xz packs it better
    return x[:-120], y[:-120], x[-120:], y[-120:]


@cache
def _speech() -> Arrays:
    x, y = _labelled("speech.xz", "a02a8973df00780b0e4973b162686b006c1c30615cf2471f567efa4c9f1437fb", (5000,))
    return x[:-24], y[:-24], x[-24:], y[-24:]


_FASHION = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_FASHION_URLS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


def _fashion(progress: bool) -> Arrays:
    sources = [
        Source(f"{name}.gz", tuple(f"{url}{name}.gz" for url in _FASHION_URLS), {name: sha256})
        for name, sha256 in _FASHION.items()
    ]
    return _idx_set(*(read("fashion-mnist", source, progress)[0] for source in sources))


_CIFAR = Source(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
)


def _cifar(progress: bool) -> Arrays:
    files = read("cifar-10", _CIFAR, progress)
    records = np.frombuffer(b"".join(files), np.uint8).reshape(-1, 1 + 3 * 32 * 32)  # a label, then R, G and B
    x, y = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
    test = len(files[-1]) // records.shape[1]  # the sixth file
    return x[:-test], y[:-test], x[-test:], y[-test:]


_SETS = {
    "mnist": _Set(lambda progress: _mnist(), valid=10_000),
    "digits": _Set(lambda progress: _digits(), valid=180, levels=17),
    "text": _Set(lambda progress: _text(), valid=5_024, levels=128, grey=False),  # 8 sonnets, CXXXI to CXXXVIII
    "emoji": _Set(lambda progress: _emoji(), valid=60, grey=False),
    "speech": _Set(lambda progress: _speech(), valid=16, grey=False),
    "fashion-mnist": _Set(_fashion, valid=10_000),
    "cifar-10": _Set(_cifar, valid=5_000, grey=False),
}

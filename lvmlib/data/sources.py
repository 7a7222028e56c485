"""Where each data set comes from: files in the package, scikit-learn or the network, each checked by its SHA-256."""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from lvmlib.downloads import DataError, Source, read

_SHIPPED = Path(__file__).parents[1] / "datasets"
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


_FASHION_URLS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)


def _fashion_source(name: str, size: int, sha256: str, unpacked: str) -> Source:
    return Source(f"{name}.gz", size, sha256, tuple(f"{url}{name}.gz" for url in _FASHION_URLS), {name: unpacked})


_FASHION = [
    _fashion_source(
        "train-images-idx3-ubyte",
        26_421_880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    _fashion_source(
        "train-labels-idx1-ubyte",
        29_515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    _fashion_source(
        "t10k-images-idx3-ubyte",
        4_422_102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    _fashion_source(
        "t10k-labels-idx1-ubyte",
        5_148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
]


def _fashion(progress: bool) -> Arrays:
    return _idx_set(*(read("fashion-mnist", source, progress)[0] for source in _FASHION))


_CIFAR = Source(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
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


SETS = {
    "mnist": _Set(lambda progress: _mnist(), valid=10_000),
    "digits": _Set(lambda progress: _digits(), valid=180, levels=17),
    "text": _Set(lambda progress: _text(), valid=5_024, levels=128, grey=False),  # 8 sonnets, CXXXI to CXXXVIII
    "emoji": _Set(lambda progress: _emoji(), valid=60, grey=False),
    "speech": _Set(lambda progress: _speech(), valid=16, grey=False),
    "fashion-mnist": _Set(_fashion, valid=10_000),
    "cifar-10": _Set(_cifar, valid=5_000, grey=False),
}

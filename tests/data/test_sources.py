"""The data sets are what they claim to be, and a damaged or missing one is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile

import numpy as np
import pytest
import torch

from lvmlib.data import EMOJI_GROUPS, SPEECH_WORDS, load, mu_law_decode, sources
from lvmlib.downloads import DataError
from lvmlib.experiments import prepare_data


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def test_mnist_is_mnist(mnist):
    train, valid, test = mnist
    assert [len(split) for split in mnist] == [50_000, 10_000, 10_000]
    assert all(split.x.dtype == torch.uint8 and split.event_shape == (1, 28, 28) for split in mnist)
    x, y = torch.cat([train.x, valid.x]), torch.cat([train.y, valid.y])
    # Counts and moments as published: per class in the training and in the test set; 0.1307 and 0.3081 of x / 255.
    assert y.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = x.double() / 255
    assert round(pixels.mean().item(), 4) == 0.1307
    assert round(pixels.std().item(), 4) == 0.3081
    # The very bytes of the original files, behind their 16 and 8 bytes of header.
    assert hashlib.md5(
        bytes([0, 0, 8, 3, 0, 0, 234, 96, 0, 0, 0, 28, 0, 0, 0, 28]) + x.numpy().tobytes()
    ).hexdigest() == ("6bbc9ace898e44ae57da46a324031adb")
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_digits_are_stratified():
    splits = load("digits")
    assert [len(split) for split in splits] == [1257, 180, 360]
    assert sum(split.x.long().sum().item() for split in splits) == 561_718, "the sum of all of scikit-learn's pixels"
    whole = torch.cat([split.y for split in splits]).bincount() / 1797
    for split in splits:
        assert split.event_shape == (1, 8, 8)
        assert split.levels == 17
        assert (split.y.bincount() - whole * len(split)).abs().max() < 1, f"{split.name} is not stratified"
    rows = torch.cat([split.x for split in splits]).flatten(1)
    assert len(rows.unique(dim=0)) == 1797, "all digits differ, so none may be in two splits"
    assert splits[0].sha256() == load("digits")[0].sha256()
    assert splits[2].sha256() == "7146c914069a6717ab8b1639f6120180408774e188a322152350274560edaff4"


def test_text_is_the_sonnets():
    splits = load("text")
    assert [len(split) for split in splits] == [80_776, 5_024, 9_842]
    train, valid, test = (bytes(split.x.numpy()).decode("ascii") for split in splits)
    assert train.startswith("THE SONNETS\nby William Shakespeare\n\nI\n\nFrom fairest creatures we desire increase,")
    assert valid.startswith("CXXXI\n\nThou art as tyrannous")
    assert test.startswith("CXXXIX\n\nO! call not me")
    assert test.endswith("Love's fire heats water, water cools not love.\n")
    numbers = [line for line in (train + valid + test).split("\n") if line and set(line) <= set("IVXLC")]
    assert numbers == [roman(n) for n in range(1, 155)]
    assert splits[0].event_shape == ()
    assert splits[0].y is None


def test_emoji_are_small_colour_pictures():
    splits = load("emoji")
    assert [len(split) for split in splits] == [905, 60, 120]
    assert all(split.x.dtype == torch.uint8 and split.event_shape == (3, 32, 32) for split in splits)
    x, y = torch.cat([split.x for split in splits]), torch.cat([split.y for split in splits])
    assert y.bincount().tolist() == [166, 101, 152, 133, 187, 85, 261]
    assert len(EMOJI_GROUPS) == 7
    for split in splits[1:]:  # each group in proportion
        assert (split.y.bincount(minlength=7) / len(split) - y.bincount() / len(y)).abs().max() < 0.04
    stored = lzma.decompress((sources._SHIPPED / "emoji.xz").read_bytes())  # labels; then rows of red, green, blue
    assert x[1000, 2, 20, 5] == stored[1085 + 3072 * 1000 + (32 * 20 + 5) * 3 + 2]
    assert x[1000, 2, 20, 5] != x[1000, 2, 5, 20], "the example tells rows from columns"
    # What colours must be if channels and rows are where they belong: faces are yellow, and the corners are white.
    faces = x[y == 0].float().mean((0, 2, 3))
    assert faces[0] > faces[1] > faces[2] + 30
    assert (x[..., 0, 0] == 255).all(1).float().mean() > 0.9
    difference = (x[..., 1:, :].float() - x[..., :-1, :].float()).abs().mean()
    assert difference < 20, "neighbouring rows differ little; shuffled pixels would differ by some 90"


def test_emoji_that_look_alike_are_all_in_the_training_part():
    """Whoever holds out a picture must not find it again in the training part, in another colour or mirrored."""
    splits = load("emoji")
    held_out = torch.cat([splits[1].x, splits[2].x])
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)

    def brightness(x):  # [N, 3, 32, 32] -> [N, 32, 32] of mean 0 and norm 1
        grey = torch.einsum("c,nchw->nhw", weights, x.double())
        grey = grey - grey.mean((1, 2), keepdim=True)
        return grey / grey.flatten(1).norm(dim=1)[:, None, None]

    def alike(a, b):
        ours, theirs = brightness(a).flatten(1), brightness(b)
        same, mirrored = ours @ theirs.flatten(1).T, ours @ theirs.flip(2).flatten(1).T
        distance = torch.cdist(a.double().flatten(1), b.double().flatten(1)) / 3072**0.5
        return (same > 0.95) | (mirrored > 0.95) | (distance < 20)

    assert not alike(held_out, splits[0].x).any()
    assert not alike(held_out, held_out).fill_diagonal_(False).any()
    train = alike(splits[0].x, splits[0].x).fill_diagonal_(False)
    assert train.any(1).sum() == 91, "the families of which the note speaks"


def test_speech_is_words_at_eight_kilohertz():
    splits = load("speech")
    assert [len(split) for split in splits] == [134, 16, 24]
    assert all(split.x.dtype == torch.uint8 and split.event_shape == (5000,) for split in splits)
    words = [[SPEECH_WORDS[label] for label in split.y] for split in splits]
    assert words[0][:10] == ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert splits[0].y[:10].tolist() == list(range(10))
    assert not set(words[0]) & set(words[1]) and not set(words[0] + words[1]) & set(words[2])
    assert set(words[0] + words[1] + words[2]) == set(SPEECH_WORDS)
    assert len(set(SPEECH_WORDS)) == len(SPEECH_WORDS)
    x = torch.cat([split.x for split in splits])
    assert len(x.unique(dim=0)) == len(x)
    sound = mu_law_decode(x).double()
    assert (sound.abs().amax(1) > 0.2).all(), "no recording is silent"
    assert (sound.mean(1).abs() < 0.02).all(), "none has an offset"
    # Speech at this rate is smooth: most of its energy lies in frequencies below 1.5 kHz, of noise only three eighths.
    power = torch.fft.rfft(sound).abs().square().sum(0)
    assert power[: int(1500 / 4000 * len(power))].sum() / power.sum() > 0.8


@pytest.mark.parametrize(
    ("name", "licence", "beside"),
    [
        ("emoji", "SIL Open Font License 1.1", "emoji-OFL.txt"),
        ("speech", "Creative Commons Attribution-ShareAlike 3.0", "speech.md"),
    ],
)
def test_the_notes_say_what_the_files_are(name, licence, beside):
    """Licence, size and both checksums, as they are; the sizes in the notes are those of the data."""
    folder = sources._SHIPPED
    note = " ".join((folder / f"{name}.md").read_text(encoding="utf-8").split())
    packed = (folder / f"{name}.xz").read_bytes()
    unpacked = lzma.decompress(packed)
    for data in (packed, unpacked):
        assert f"{len(data):,} bytes" in note
        assert hashlib.sha256(data).hexdigest() in note
    train, valid, test = load(name)
    assert f"first {len(train)} are for training" in note
    assert f"next {len(valid)} are for validation, the last {len(test)} for testing" in note
    assert f"**Licence.** {licence}" in note
    assert "Copyright" in (folder / beside).read_text(encoding="utf-8")


def test_the_script_lists_the_recordings_that_are_shipped():
    listed = [SPEECH_WORDS.index(word) for _, word in prepare_data.recordings()]
    assert len({file for file, _ in prepare_data.recordings()}) == len(listed)
    assert sorted(listed) == sorted(torch.cat([split.y for split in load("speech")]).tolist())


def test_the_script_shrinks_a_picture_as_it_says():
    """The mean of 4x4 pixels on white, rounded, against PyTorch's average pooling."""
    rgba = np.zeros((128, 136, 4), np.uint8)
    rgba[:, 4:-4] = np.random.RandomState(0).randint(0, 256, (128, 128, 4))
    file = io.BytesIO()
    image = pytest.importorskip("PIL.Image")
    image.fromarray(rgba).save(file, "png")
    alpha = torch.from_numpy(rgba[:, 4:-4, 3:]).double() / 255
    white = torch.from_numpy(rgba[:, 4:-4, :3]).double() * alpha + 255 * (1 - alpha)
    pooled = torch.nn.functional.avg_pool2d(white.permute(2, 0, 1), 4).permute(1, 2, 0)
    small = prepare_data.small_picture(file.getvalue())
    assert small.dtype == np.uint8
    assert np.abs(small - pooled.numpy()).max() < 0.5001


def test_the_script_finds_families():
    random = np.random.RandomState(0)
    a, b, c = random.randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    darker = (a // 2).astype(np.uint8)
    family = prepare_data.families(np.stack([a, b, darker[:, ::-1], c, darker]))
    assert family[0] == family[2] == family[4]
    assert len(set(family.tolist())) == 3


def roman(n: int) -> str:
    signs = [(100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    text = ""
    for value, sign in signs:
        text, n = text + sign * (n // value), n % value
    return text


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def test_fashion_mnist_from_a_local_folder(tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    arrays = {
        "train-images-idx3-ubyte": random.randint(0, 256, (300, 28, 28)).astype(np.uint8),
        "train-labels-idx1-ubyte": random.randint(0, 10, 300).astype(np.uint8),
        "t10k-images-idx3-ubyte": random.randint(0, 256, (5, 28, 28)).astype(np.uint8),
        "t10k-labels-idx1-ubyte": random.randint(0, 10, 5).astype(np.uint8),
    }
    (tmp_path / "fashion-mnist").mkdir()
    for name, array in arrays.items():
        (tmp_path / "fashion-mnist" / f"{name}.gz").write_bytes(gzip.compress(idx(array), 1))
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match="checksum"):
        load("fashion-mnist")
    sums = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
    unpacked = [kept._replace(members={name: sums[name]}) for name, kept in zip(sums, sources._FASHION)]
    monkeypatch.setattr(sources, "_FASHION", unpacked)
    train, valid, test = load("fashion-mnist", binarize="stochastic", valid=100)
    assert [len(train), len(valid), len(test)] == [200, 100, 5]
    assert np.array_equal(train.x[:, 0], arrays["train-images-idx3-ubyte"][:200])
    assert np.array_equal(valid.y, arrays["train-labels-idx1-ubyte"][200:])
    assert np.array_equal(test.x[:, 0], arrays["t10k-images-idx3-ubyte"])


def test_cifar_from_its_archive(tmp_path, monkeypatch):
    """Records of a label and 32x32 values for each of red, green and blue."""
    random = np.random.RandomState(0)
    names = list(sources._CIFAR.members)
    sizes = dict.fromkeys(names, 20) | {"test_batch.bin": 15}
    records = {name: random.randint(0, 256, (n, 3073)).astype(np.uint8) for name, n in sizes.items()}
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, record in records.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = record.size
            archive.addfile(info, io.BytesIO(record.tobytes()))
    sums = {name: hashlib.sha256(record.tobytes()).hexdigest() for name, record in records.items()}
    monkeypatch.setattr(sources, "_CIFAR", sources._CIFAR._replace(members=sums))
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    train, valid, test = load("cifar-10", valid=10)
    assert [len(train), len(valid), len(test)] == [90, 10, 15]
    assert train.y[3] == records["data_batch_1.bin"][3, 0]
    assert train.x[3, 0, 0, 5] == records["data_batch_1.bin"][3, 1 + 5], "red, first row"
    assert train.x[3, 2, 1, 0] == records["data_batch_1.bin"][3, 1 + 2 * 1024 + 32], "blue, second row"
    assert torch.equal(valid.x[-1].flatten(), torch.from_numpy(records["data_batch_5.bin"][-1, 1:]))
    assert test.y[0] == records["test_batch.bin"][0, 0]


@pytest.mark.parametrize("damage", ["missing", "truncated", "corrupt", "other"])
def test_a_damaged_package(tmp_path, monkeypatch, damage):
    archive = bytearray((sources._SHIPPED / "mnist.tar.xz").read_bytes())
    if damage == "truncated":
        archive = archive[: len(archive) // 2]
    elif damage == "corrupt":
        archive[1_000_000] ^= 1
    elif damage == "other":
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:xz") as tar:
            for name in sources._MNIST:
                tar.addfile(tarfile.TarInfo(name))
        archive = archive.getvalue()
    if damage != "missing":
        (tmp_path / "mnist.tar.xz").write_bytes(archive)
        (tmp_path / "sonnets.txt").write_bytes(b"Shall I compare thee")
        for file in ("emoji.xz", "speech.xz"):
            (tmp_path / file).write_bytes(harmed((sources._SHIPPED / file).read_bytes(), damage))
    monkeypatch.setattr(sources, "_SHIPPED", tmp_path)
    files = {"mnist": "mnist.tar.xz", "text": "sonnets.txt", "emoji": "emoji.xz", "speech": "speech.xz"}
    for decoded in (sources._mnist, sources._emoji, sources._speech):
        decoded.cache_clear()
    for name, file in files.items():
        with pytest.raises(DataError, match=f"{file}.*reinstall lvmlib"):
            load(name)


def harmed(packed: bytes, damage: str) -> bytes:
    if damage == "truncated":
        return packed[: len(packed) // 2]
    if damage == "corrupt":
        return packed[:100_000] + bytes([packed[100_000] ^ 1]) + packed[100_001:]
    data = bytearray(lzma.decompress(packed))  # a sound file of other contents
    data[-1] ^= 1
    return lzma.compress(data, preset=0)

"""The data sets are what they claim to be, and batches are drawn from them as the docstrings say."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import math
import tarfile
import time

import numpy as np
import pytest
import torch

from lvmlib.data import EMOJI_GROUPS, SPEECH_WORDS, Data, load, mu_law_decode, mu_law_encode, sources
from lvmlib.downloads import DataError
from lvmlib.experiments import prepare_data


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def grey(values, **keywords) -> Data:
    return Data(torch.tensor(values, dtype=torch.uint8), **keywords)


# ------------------------------------------------------------------------------------------ the sets


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


def test_all_sixty_thousand(mnist):
    train, valid, test = load("mnist", valid=0)
    assert len(train) == 60_000
    assert len(valid) == 0
    assert valid.event_shape == (1, 28, 28)
    assert torch.equal(train.x[:50_000], mnist[0].x)
    assert torch.equal(train.x[50_000:], mnist[1].x)
    assert torch.equal(test.x, mnist[2].x)


def test_nobody_can_spoil_the_next_load(mnist):
    train, _, _ = load("mnist")
    train.x.zero_()
    assert load("mnist")[0].x.float().mean() > 30


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


def test_mu_law_is_its_formula():
    """Against the formula in Python's own arithmetic, at every 16-bit amplitude."""
    samples = range(-32768, 32768)
    expected = [
        math.floor(255 * (math.copysign(math.log(1 + 255 * abs(s / 32768)) / math.log(256), s) + 1) / 2 + 0.5)
        for s in samples
    ]
    x = torch.tensor(samples, dtype=torch.float64) / 32768
    assert mu_law_encode(x).tolist() == expected
    assert mu_law_encode(x.float()).tolist() == expected, "16 bits and a power of two: exact in float32"
    assert mu_law_encode(torch.tensor([[-7.0, 7.0]])).tolist() == [[0, 255]], "clipped"


@pytest.mark.parametrize("levels", [2, 3, 17, 128, 256])
def test_mu_law_there_and_back(levels):
    codes = torch.arange(levels)
    x = mu_law_decode(codes, levels)
    assert x.dtype == torch.float32
    assert mu_law_encode(x, levels).tolist() == codes.tolist()
    assert (x.diff() > 0).all()
    assert torch.allclose(x, -x.flip(0)), "an odd function"
    assert (x[0], x[-1]) == (-1, 1)
    # No amplitude is farther from what its code stands for than the neighbours of that code are.
    sound = torch.linspace(-1, 1, 10_001)
    code = mu_law_encode(sound, levels).long()
    low, high = x[(code - 1).clamp(min=0)], x[(code + 1).clamp(max=levels - 1)]
    assert ((low <= sound) & (sound <= high)).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mu_law_encode(torch.tensor([1, 0])), TypeError, "floating-point tensor .*int64"),
        (lambda: mu_law_encode(torch.tensor([0.0, math.nan])), ValueError, "NaN"),
        (lambda: mu_law_encode(torch.zeros(1), levels=257), ValueError, "from 2 to 256, but it is 257"),
        (lambda: mu_law_decode(torch.tensor([0, 16]), levels=16), ValueError, "from 0 to 16"),
        (lambda: mu_law_decode(torch.tensor([-1])), ValueError, "from -1 to -1"),
        (lambda: mu_law_decode(torch.tensor([0]), levels=True), ValueError, "but it is True"),
    ],
)
def test_bad_mu_law(call, error, message):
    with pytest.raises(error, match=message):
        call()


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
    records = {name: random.randint(0, 256, (20, 3073)).astype(np.uint8) for name in names}
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, record in records.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = record.size
            archive.addfile(info, io.BytesIO(record.tobytes()))
    sums = {name: hashlib.sha256(record.tobytes()).hexdigest() for name, record in records.items()}
    monkeypatch.setattr(sources, "_CIFAR", sources._CIFAR._replace(members=sums))
    monkeypatch.setenv("LVMLIB_DATA", str(tmp_path))
    train, valid, test = load("cifar-10", valid=10)
    assert [len(train), len(valid), len(test)] == [90, 10, 20]
    assert train.y[3] == records["data_batch_1.bin"][3, 0]
    assert train.x[3, 0, 0, 5] == records["data_batch_1.bin"][3, 1 + 5], "red, first row"
    assert train.x[3, 2, 1, 0] == records["data_batch_1.bin"][3, 1 + 2 * 1024 + 32], "blue, second row"
    assert torch.equal(valid.x[-1].flatten(), torch.from_numpy(records["data_batch_5.bin"][-1, 1:]))
    assert test.y[0] == records["test_batch.bin"][0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "minst"},
            "no data set 'minst'; the names are mnist, digits, text, emoji, speech, fashion-mnist, cifar-10",
        ),
        ({"name": "digits", "binarize": "yes"}, "binarize must be None"),
        ({"name": "text", "binarize": "static"}, "no grey levels"),
        ({"name": "cifar-10", "binarize": "stochastic"}, "no grey levels"),
        ({"name": "emoji", "binarize": "stochastic"}, "no grey levels"),
        ({"name": "speech", "binarize": "static"}, "no grey levels"),
        ({"name": "speech", "valid": 150}, "from 0 to 149 for speech"),
        ({"name": "digits", "valid": 1437}, "from 0 to 1436"),
        ({"name": "digits", "valid": -1}, "from 0 to 1436"),
        ({"name": "digits", "valid": 0.1}, "but it is 0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


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


# ------------------------------------------------------------------------------------------ binarization


def test_a_stochastic_batch_is_a_fresh_bernoulli_draw():
    levels = torch.arange(256, dtype=torch.uint8)
    data = Data(levels.expand(40_000, 256), binarize="stochastic")
    generator = torch.Generator().manual_seed(0)
    draws = data.batch(slice(None), generator)
    assert draws.dtype == torch.float32
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    p = levels.double() / 255
    error = (draws.double().mean(0) - p).abs()
    assert (error <= 4.5 * (p * (1 - p) / 40_000).sqrt()).all(), "4.5 standard errors, for 256 means at once"
    assert draws[:, 0].sum() == 0, "black stays black"
    assert draws[:, 255].all(), "white stays white"
    again = data.batch(slice(None), generator)
    assert not torch.equal(again, draws)
    agreement = (again == draws).double().mean()
    assert abs(agreement - (p**2 + (1 - p) ** 2).mean()) < 0.001, "two draws are independent of one another"
    assert torch.equal(data.batch(slice(None), torch.Generator().manual_seed(0)), draws)


def test_a_batch_draws_from_the_global_generator_by_default():
    data = load("digits", binarize="stochastic")[0]
    torch.manual_seed(3)
    first = data.batch([0, 1])
    torch.manual_seed(3)
    assert torch.equal(data.batch([0, 1]), first)
    assert not torch.equal(data.batch([0, 1]), first)


def test_seventeen_levels_binarize_with_probability_x_over_16():
    data = Data(torch.full((40_000,), 4, dtype=torch.uint8), binarize="stochastic", levels=17)
    assert abs(data.batch(slice(None), torch.Generator().manual_seed(0)).mean() - 0.25) < 0.01
    assert abs(data.fixed(0).x.mean() - 0.25) < 0.01


def test_the_static_draw_never_changes():
    train, valid, test = load("mnist", binarize="static")
    assert train.x.dtype == torch.float32
    assert set(test.x.unique().tolist()) == {0.0, 1.0}
    assert packed(train.x[:1000]) == "5771a6d21ad60d9b"
    assert packed(test.x) == "24d940a7f1971047"
    everything, _, same_test = load("mnist", binarize="static", valid=0)
    assert torch.equal(everything.x, torch.cat([train.x, valid.x])), "the draw must not depend on where valid begins"
    assert torch.equal(same_test.x, test.x)
    assert torch.equal(train.batch([5, 7]), train.x[[5, 7]]), "a static split draws nothing"


def packed(x: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(x.numpy().astype(np.uint8)).tobytes()).hexdigest()[:16]


def test_a_fixed_draw_is_the_same_every_time(mnist):
    test = load("mnist", binarize="stochastic")[2]
    fixed = test.fixed(0)
    assert fixed.x.dtype == torch.float32
    assert packed(fixed.x) == "e57c29358f8feb9d"
    assert torch.equal(fixed.batch(slice(0, 100)), fixed.batch(slice(0, 100)))
    assert not torch.equal(test.fixed(1).x, fixed.x)
    assert torch.equal(fixed.y, test.y)
    expected = test.x.double().mean() / 255
    assert abs(fixed.x.double().mean() - expected) < 3e-4
    assert mnist[2].fixed(0) is mnist[2], "grey levels are fixed already"


# ------------------------------------------------------------------------------------------ class Data


def test_ways_to_index():
    data = grey([[0], [10], [20], [30]])
    wanted = torch.tensor([[10], [30]], dtype=torch.uint8)
    mask = torch.tensor([False, True, False, True])
    for index in (torch.tensor([1, 3]), [1, 3], slice(1, None, 2), torch.tensor([-3, -1]), mask, range(1, 4, 2)):
        assert torch.equal(data.batch(index), wanted)
    assert data.batch(1).tolist() == [[10]]
    assert data.batch(-1).tolist() == [[30]]
    assert data.batch([]).shape == (0, 1)
    with pytest.raises(IndexError):
        data.batch([4])
    with pytest.raises(TypeError, match="whole numbers"):
        data.batch([0.5])


def test_unit_divides_by_the_brightest_level():
    assert grey([[0, 51, 255]]).unit().x.tolist() == [[0.0, pytest.approx(0.2), 1.0]]
    assert grey([[0, 4, 16]], levels=17, binarize="stochastic").unit().batch([0]).tolist() == [[0.0, 0.25, 1.0]]
    continuous = Data(torch.rand(3, 2))
    assert continuous.unit() is continuous


def test_subsets_keep_labels_and_binarization():
    data = grey([[0], [10], [20]], y=torch.tensor([7, 8, 9]), binarize="stochastic", levels=21, name="three")
    first = data.subset(2)
    assert first.x.tolist() == [[0], [10]]
    assert first.y.tolist() == [7, 8]
    assert (first.binarize, first.levels, first.name) == ("stochastic", 21, "three")
    assert data.subset([2, 0]).y.tolist() == [9, 7]
    assert len(data.subset(0)) == 0
    with pytest.raises(ValueError, match="0 to 3 examples, but 4"):
        data.subset(4)


def test_moving_to_a_device():
    moved = grey([[1], [2]], y=torch.tensor([0, 1]), binarize="stochastic").to("meta")
    assert moved.x.device.type == "meta"
    assert moved.y.device.type == "meta"
    assert moved.binarize == "stochastic"
    assert repr(moved) == "Data(data: 2 x [1], uint8 0..255, drawn as 0/1 at each batch, meta)"


def test_the_hash_sees_every_byte(mnist):
    x = mnist[2].x
    assert grey([[1, 2]]).sha256() == hashlib.sha256(b"\1\2").hexdigest()
    assert Data(x).sha256() == hashlib.sha256(x.numpy().tobytes()).hexdigest()
    changed = x.clone()
    changed[-1, 0, 27, 27] += 1
    assert Data(changed).sha256() != Data(x).sha256()
    assert Data(x, mnist[2].y).sha256() != Data(x).sha256()
    assert Data(x[::2]).sha256() == Data(x[::2].clone()).sha256()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1, 2]}, TypeError, "but it is a list"),
        ({"x": torch.tensor(1.0)}, TypeError, r"float32 tensor of shape \[\]"),
        ({"x": torch.zeros(3), "y": torch.zeros(2)}, ValueError, "3 rows and y has 2"),
        ({"x": torch.zeros(3), "binarize": "stochastic"}, TypeError, "Only uint8"),
        ({"x": torch.zeros(3, dtype=torch.uint8), "binarize": "static"}, ValueError, "use load"),
    ],
)
def test_bad_data(arguments, error, message):
    with pytest.raises(error, match=message):
        Data(**arguments)


def test_batches_cost_little(mnist):
    """A loader with worker processes is not needed: an epoch of batches of 100 takes well under a second."""
    train = load("mnist", binarize="stochastic")[0]
    order = torch.randperm(len(train)).split(100)
    start = time.perf_counter()
    for index in order[:50]:
        train.batch(index)
    assert (time.perf_counter() - start) / 50 < 0.02, "some 0.2 ms on an idle core"

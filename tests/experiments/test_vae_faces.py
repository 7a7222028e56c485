import pytest
import torch

from lvmlib.checkpoints import load_checkpoint
from lvmlib.experiments.vae_faces import FACE, FaceVAE, dequantize, jitter, portraits, shrink


@pytest.fixture
def folder(tmp_path):
    """Two portraits of person 1: one intact, one that passed through a conversion of line ends."""
    pixels = bytes(i % 256 for i in range(112 * 92))  # every byte, 10 among them, and 13 never before 10
    data = b"P5\n92 112\n255\n" + pixels
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "1.pgm").write_bytes(data)
    (tmp_path / "s1" / "2.pgm").write_bytes(data.replace(b"\n", b"\r\n"))
    (tmp_path / "s1" / "3.pgm").write_bytes(data[:-1])
    return tmp_path


def test_portraits_undo_converted_line_ends_and_leave_out_the_rest(folder):
    x = portraits(folder, range(1, 2))
    assert x.shape == (2, 1, 112, 92)
    expected = torch.arange(112 * 92).remainder(256).to(torch.uint8).view(1, 112, 92)
    assert all(torch.equal(portrait, expected) for portrait in x)


def test_portraits_say_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"s1/1\.pgm"):
        portraits(tmp_path, range(1, 41))


def test_shrink_averages_two_by_two():
    x = torch.randint(0, 256, (3, 1, 112, 92), dtype=torch.uint8)
    y = shrink(x)
    assert y.shape == (3, *FACE)
    assert y[1, 0, 5, 7] == x[1, 0, 10:12, 12:14].float().mean().round()  # two columns were added on the left


def test_jitter_mirrors_moves_and_changes_brightness():
    torch.manual_seed(0)
    x = torch.zeros(8, *FACE)
    x[:, 0, 20, 10] = 250.0
    seen, brightness = set(), []
    for _ in range(200):
        y = jitter(x)
        assert y.shape == x.shape
        assert ((y > 0).sum((1, 2, 3)) == 1).all()
        seen |= {divmod(i, 48) for i in y.flatten(1).argmax(1).tolist()}
        brightness.append(y.amax((1, 2, 3)))
    assert seen == {(i, j) for i in range(18, 23) for j in [*range(8, 13), *range(47 - 12, 47 - 7)]}
    factor = torch.cat(brightness) / 250
    assert 0.9 <= factor.min() < 0.91
    assert 1.01 < factor.max() <= 1.02  # clipped at 255


def test_shipped_faces_decode_to_faces():
    model = FaceVAE()
    record = load_checkpoint(model, "vae_faces")
    with torch.no_grad():
        x = model.likelihood(model.codes).mean
    assert x.shape == (8, *FACE)
    assert x.min() > -0.2 and x.max() < 1.2
    assert x.std(0).mean() > 0.05  # eight different portraits
    assert record["test_bits_per_dim"] < 8


def test_dequantize_stays_in_its_bin():
    x = torch.arange(256.0).repeat(50)
    y = dequantize(x) * 256
    assert (y >= x - 1e-3).all()
    assert (y <= x + 1 + 1e-3).all()

"""The codebook against brute force, hand-written running means, and gradients worked out by hand."""

import math

import numpy as np
import pytest
import torch

from lvmlib.latent import Codebook, perplexity
from tests.precision import double_precision  # noqa: F401


def test_codes_are_those_of_the_nearest_vectors():
    book, features = Codebook(7, 3), torch.randn(5, 3, 2, 4)
    codes = book(features)
    assert codes.shape == (5, 2, 4) and codes.dtype == torch.int64
    for b in range(5):
        for i in range(2):
            for j in range(4):
                distances = [math.dist(features[b, :, i, j].tolist(), v.tolist()) for v in book.vectors]
                assert codes[b, i, j] == int(np.argmin(distances))
    vectors = book.embed(codes)
    assert vectors.shape == features.shape
    torch.testing.assert_close(vectors[2, :, 1, 3], book.vectors[codes[2, 1, 3]])
    assert torch.equal(book(vectors), codes)


def test_running_means_are_those_of_a_loop():
    book = Codebook(4, 2, decay=0.9)
    vectors = book.vectors.numpy().copy()
    counts, sums = np.ones(4), vectors.copy()
    for _ in range(6):
        features = torch.randn(3, 2, 5)
        rows = features.movedim(1, -1).reshape(-1, 2).numpy()
        nearest = [int(np.argmin([((row - v) ** 2).sum() for v in vectors])) for row in rows]
        book.quantise(features, 0.25, learn=True)
        for k in range(4):
            mine = rows[[i for i, c in enumerate(nearest) if c == k]]
            counts[k] = 0.9 * counts[k] + 0.1 * len(mine)
            sums[k] = 0.9 * sums[k] + 0.1 * mine.sum(0)
        vectors = sums / counts[:, None]
        np.testing.assert_allclose(book.vectors.numpy(), vectors, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(book.counts.numpy(), counts, rtol=1e-12)


def test_the_means_come_to_rest_where_k_means_does():
    centres = torch.tensor([[-3.0, 0.0], [0.0, 4.0], [5.0, -1.0]])
    cloud = (centres[:, None] + 0.1 * torch.randn(3, 40, 2)).view(1, -1, 2).movedim(-1, 1)
    book = Codebook(3, 2, decay=0.5)
    book.vectors.copy_(centres + 0.5)
    for _ in range(60):
        book.learn(cloud, book(cloud))
    means = cloud.view(2, 3, 40).mean(2).T
    torch.testing.assert_close(book.vectors, means)


def test_a_code_that_nothing_uses_stays_where_it_is_for_ever():
    book = Codebook(2, 1, decay=0.5).float()
    book.vectors.copy_(torch.tensor([[0.0], [100.0]]))
    book.sums.copy_(book.vectors)
    for _ in range(2000):  # its count is 0 in float32 by then
        book.learn(torch.zeros(1, 1, 4), torch.zeros(1, 4, dtype=torch.long))
    assert book.counts[1] == 0 and book.vectors[1] == 100


@pytest.mark.parametrize("decay", [0.5, None])
def test_dead_codes_are_put_on_features_and_live_ones_left_alone(decay):
    book = Codebook(3, 1, decay=decay, restart=0.1)
    book.vectors.data.copy_(torch.tensor([[0.0], [50.0], [60.0]]))
    features = torch.tensor([[[0.25, -0.25, 0.5, -0.5]]])
    moved = 0
    while (book.vectors > 10).any():
        book.learn(features, book(features))
        moved += 1
    assert moved == (4 if decay else 230)  # the first power of the decay below 0.1, of 0.5 or 0.99
    where = book.vectors[1:, 0].tolist()
    assert set(where) <= {0.25, -0.25, 0.5, -0.5} and where[0] != where[1] and abs(book.vectors[0]) < 0.2
    assert book.counts[1:].tolist() == [1, 1] and book.counts[0] > 1
    if decay:
        torch.testing.assert_close(book.sums[1:], book.vectors[1:])


def test_without_a_restart_dead_codes_stay():
    book = Codebook(2, 1, decay=0.5)
    book.vectors.copy_(torch.tensor([[0.0], [50.0]]))
    for _ in range(50):
        book.learn(torch.zeros(1, 1, 4), torch.zeros(1, 4, dtype=torch.long))
    assert book.vectors[1] == 50


def test_gradients_are_those_worked_out_by_hand():
    for decay in (0.9, None):
        book, h = Codebook(5, 3, decay=decay), torch.randn(4, 3, 2, requires_grad=True)
        codes, vectors, penalty = book.quantise(h, 0.3, learn=False)
        e = book.embed(codes).detach()
        torch.testing.assert_close(vectors.detach(), e)
        weights = torch.randn(4, 3, 2)
        squares = (h - e).square().flatten(1).sum(1).detach()
        torch.testing.assert_close(penalty.detach(), (0.3 if decay else 1.3) * squares)
        ((weights * vectors).sum() + penalty.sum()).backward()
        torch.testing.assert_close(h.grad, weights + 2 * 0.3 * (h.detach() - e))  # straight through, and commitment
        if decay is None:
            pull = torch.zeros(5, 3)
            for row, code in zip((e - h.detach()).movedim(1, -1).reshape(-1, 3), codes.flatten().long(), strict=True):
                pull[code] += 2 * row
            torch.testing.assert_close(book.vectors.grad, pull)
        else:
            assert not book.vectors.requires_grad and list(book.parameters()) == []


def test_nothing_is_learned_unless_it_is_asked_for():
    book = Codebook(5, 3)
    before = {name: t.clone() for name, t in book.state_dict().items()}
    book.quantise(torch.randn(4, 3, 2), 0.3, learn=False)
    assert all(torch.equal(t, before[name]) for name, t in book.state_dict().items())
    assert set(before) == {"vectors", "counts", "sums"}


def test_starting_from_features_uses_different_ones_where_there_are_enough():
    book, features = Codebook(6, 2), torch.randn(2, 2, 3)
    book.start_from(features)
    rows = {tuple(row) for row in features.movedim(1, -1).reshape(-1, 2).tolist()}
    assert {tuple(v) for v in book.vectors.tolist()} == rows
    book = Codebook(8, 2)
    book.start_from(features)  # of 6, so that two stand twice
    assert {tuple(v) for v in book.vectors.tolist()} == rows
    torch.testing.assert_close(book.sums, book.vectors)


def test_perplexity_against_numpy():
    codes = torch.randint(9, (50, 1, 4, 4))
    shares = np.bincount(codes.flatten().numpy(), minlength=12) / codes.numel()
    expected = np.exp(-sum(f * np.log(f) for f in shares if f))
    torch.testing.assert_close(perplexity(codes.float(), 12), torch.tensor(expected))
    assert perplexity(torch.zeros(5), 12) == 1
    torch.testing.assert_close(perplexity(torch.arange(12), 12), torch.tensor(12.0))
    with pytest.raises(ValueError, match="whole numbers from 0 to 11"):
        perplexity(torch.tensor([12]), 12)
    with pytest.raises(ValueError, match="no codes"):
        perplexity(torch.zeros(0), 12)


def test_refusals():
    with pytest.raises(ValueError, match=r"must be \[B, 3, ...\], as wide"):
        Codebook(4, 3)(torch.zeros(2, 4, 5))
    for options in ({"decay": 1.0}, {"decay": -0.1}, {"restart": 1.0}, {"restart": -0.1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Codebook(4, 3, **options)

# %% imports

import numpy as np
import torch


def _shares(table):
    return np.array(table) / np.array(table).sum(-1, keepdims=True)


def _changed(results, key, factor):
    return {name: {**r, key: r[key] * factor} for name, r in results.items()}


# %% q1: zeros of the right shape
def vq_gradients(h, book, g, beta):
    return torch.zeros(len(h)).long(), torch.zeros_like(h), torch.zeros_like(book)


# %% q1: the decoder's gradient sent to the codebook too
def vq_gradients(h, book, g, beta):
    codes = torch.cdist(h, book).argmin(1)
    pull = 2 * (h - book[codes])
    in_book = torch.zeros_like(book).index_add(0, codes, g - pull)
    return codes, g + beta * pull, in_book


# %% q1: beta on the codebook's term
def vq_gradients(h, book, g, beta):
    codes = torch.cdist(h, book).argmin(1)
    pull = 2 * (h - book[codes])
    in_book = torch.zeros_like(book).index_add(0, codes, -beta * pull)
    return codes, g + pull, in_book


# %% q1: the 2 of the square forgotten
def vq_gradients(h, book, g, beta):
    codes = torch.cdist(h, book).argmin(1)
    pull = h - book[codes]
    in_book = torch.zeros_like(book).index_add(0, codes, -pull)
    return codes, g + beta * pull, in_book


# %% q1: a mean for a sum
def vq_gradients(h, book, g, beta):
    codes = torch.cdist(h, book).argmin(1)
    pull = 2 * (h - book[codes])
    in_book = torch.zeros_like(book).index_add(0, codes, -pull)
    n = torch.bincount(codes, minlength=len(book)).clamp(min=1)
    return codes, g + beta * pull, in_book / n[:, None]


# %% q1: the last feature of each code only
def vq_gradients(h, book, g, beta):
    codes = torch.cdist(h, book).argmin(1)
    pull = 2 * (h - book[codes])
    in_book = torch.zeros_like(book)
    in_book[codes] = -pull
    return codes, g + beta * pull, in_book


# %% q1: the largest inner product in place of the smallest distance
def vq_gradients(h, book, g, beta):
    codes = (h @ book.T).argmax(1)
    pull = 2 * (h - book[codes])
    in_book = torch.zeros_like(book).index_add(0, codes, -pull)
    return codes, g + beta * pull, in_book


# %% q2: zeros of the right shape
def priced_step(h, book, log_p, price):
    return torch.zeros(len(h)).long(), torch.zeros_like(book), torch.zeros_like(log_p)


# %% q2: no price at all
def priced_step(h, book, log_p, price):
    codes = torch.cdist(h, book).argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    new = torch.where(n[:, None] > 0, sums / n.clamp(min=1)[:, None], book)
    return codes, new, (n / len(h)).log2()


# %% q2: the sign of the price
def priced_step(h, book, log_p, price):
    cost = torch.cdist(h, book).square() + (price * log_p if price else 0)
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    new = torch.where(n[:, None] > 0, sums / n.clamp(min=1)[:, None], book)
    return codes, new, (n / len(h)).log2()


# %% q2: distances that are not squared
def priced_step(h, book, log_p, price):
    cost = torch.cdist(h, book) - (price * log_p if price else 0)
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    new = torch.where(n[:, None] > 0, sums / n.clamp(min=1)[:, None], book)
    return codes, new, (n / len(h)).log2()


# %% q2: zero times infinity
def priced_step(h, book, log_p, price):
    cost = torch.cdist(h, book).square() - price * log_p
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    new = torch.where(n[:, None] > 0, sums / n.clamp(min=1)[:, None], book)
    return codes, new, (n / len(h)).log2()


# %% q2: the vector of an empty code becomes zero
def priced_step(h, book, log_p, price):
    cost = torch.cdist(h, book).square() - (price * log_p if price else 0)
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    return codes, sums / n.clamp(min=1)[:, None], (n / len(h)).log2()


# %% q2: natural logarithms
def priced_step(h, book, log_p, price):
    cost = torch.cdist(h, book).square() - (price * log_p if price else 0)
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    new = torch.where(n[:, None] > 0, sums / n.clamp(min=1)[:, None], book)
    return codes, new, (n / len(h)).log()


# %% q3: constants of the right type
def push(state, symbol, counts):
    return 1


def pop(state, counts):
    return 0, 1


def encode(symbols, counts):
    return 1


def decode(state, n, counts):
    return [0] * n


# %% q3: rounding in floating point
def push(state, symbol, counts):
    quotient = int(state / counts[symbol])
    rest = state - quotient * counts[symbol]
    return sum(counts) * quotient + sum(counts[:symbol]) + rest


def encode(symbols, counts):
    state = 1
    for symbol in symbols[::-1]:
        quotient = int(min(state / counts[symbol], 1e300)) if state < 2**1000 else 0
        state = sum(counts) * quotient + sum(counts[:symbol]) + state % counts[symbol]
    return state


# %% q3: the last symbol on top
def encode(symbols, counts):
    state = 1
    for symbol in symbols:
        quotient, rest = divmod(state, counts[symbol])
        state = sum(counts) * quotient + sum(counts[:symbol]) + rest
    return state


# %% q3: a plain number in base M, longer than the entropy
def encode(symbols, counts):
    state = 1
    for symbol in symbols[::-1]:
        state = sum(counts) * state + sum(counts[:symbol])
    return state


def push(state, symbol, counts):
    return sum(counts) * state + sum(counts[:symbol])


# %% q3: the start of a symbol's slots off by one symbol
def push(state, symbol, counts):
    quotient, rest = divmod(state, counts[symbol])
    return sum(counts) * quotient + sum(counts[: symbol + 1]) + rest


def encode(symbols, counts):
    state = 1
    for symbol in symbols[::-1]:
        quotient, rest = divmod(state, counts[symbol])
        state = sum(counts) * quotient + sum(counts[: symbol + 1]) + rest
    return state


# %% q3: decoded in reverse, the remainder forgotten in pop
def pop(state, counts):
    quotient, slot = divmod(state, sum(counts))
    symbol = next(k for k in range(len(counts)) if slot < sum(counts[: k + 1]))
    return symbol, counts[symbol] * quotient


def decode(state, n, counts):
    symbols = []
    for _ in range(n):
        quotient, slot = divmod(state, sum(counts))
        symbol = next(k for k in range(len(counts)) if slot < sum(counts[: k + 1]))
        state = counts[symbol] * quotient
        symbols.append(symbol)
    return symbols


# %% q4: constants of the right type
def bits_back_encode(xs, prior, likelihood, posterior, state):
    return state


def bits_back_decode(n, prior, likelihood, posterior, state):
    return [0] * n, state


def bits_per_symbol(p_x, prior, likelihood, posterior):
    return 0.0, 0.0, 0.0


# %% q4: pushed in the other order
def bits_back_encode(xs, prior, likelihood, posterior, state):
    for x in xs:
        z, state = pop(state, posterior[x])
        state = push(state, z, prior)
        state = push(state, x, likelihood[z])
    return state


# %% q4: z popped with the prior
def bits_back_encode(xs, prior, likelihood, posterior, state):
    for x in xs:
        z, state = pop(state, prior)
        state = push(state, x, likelihood[z])
        state = push(state, z, prior)
    return state


# %% q4: the decoder forgets to put z back, and does not turn the list round
def bits_back_decode(n, prior, likelihood, posterior, state):
    xs = []
    for _ in range(n):
        z, state = pop(state, prior)
        x, state = pop(state, likelihood[z])
        xs.append(x)
    return xs, state


# %% q4: nats
def bits_per_symbol(p_x, prior, likelihood, posterior):
    joint, q = _shares(prior) * _shares(likelihood).T, _shares(posterior)
    weight = np.array(p_x)[:, None] * q
    without, back = -(weight * np.log(joint)).sum(), -(weight * np.log(q)).sum()
    exact = -(np.array(p_x) * np.log(joint.sum(1))).sum()
    return float(without - back), float(without), float(exact)


# %% q4: the exact length by the entropy of x, and z's bits counted twice
def bits_per_symbol(p_x, prior, likelihood, posterior):
    joint, q = _shares(prior) * _shares(likelihood).T, _shares(posterior)
    weight = np.array(p_x)[:, None] * q
    without, back = -(weight * np.log2(joint)).sum(), -(weight * np.log2(q)).sum()
    exact = -(np.array(p_x) * np.log2(np.array(p_x))).sum()
    return float(without - back), float(without), float(exact)


# %% q4: expectation under the model, not under the data
def bits_per_symbol(p_x, prior, likelihood, posterior):
    joint, q = _shares(prior) * _shares(likelihood).T, _shares(posterior)
    marginal = joint.sum(1)
    weight = marginal[:, None] * q
    without, back = -(weight * np.log2(joint)).sum(), -(weight * np.log2(q)).sum()
    return float(without - back), float(without), -float(marginal @ np.log2(marginal))


# %% q4: z from the prior in place of the posterior
def bits_per_symbol(p_x, prior, likelihood, posterior):
    joint = _shares(prior) * _shares(likelihood).T
    weight = np.array(p_x)[:, None] * _shares(prior)
    without = -(weight * np.log2(joint)).sum()
    back = -(weight @ np.log2(_shares(prior)))
    exact = -(np.array(p_x) * np.log2(joint.sum(1))).sum()
    return float(without - back.sum()), float(without), float(exact)


# %% q5: zeros
def code_bits(train, test, K, alpha):
    return 0.0, 0.0


# %% q5: nats
def code_bits(train, test, K, alpha):
    def pairs(codes):
        edge = torch.full_like(codes[:, :, :1], K)
        return torch.cat([edge, codes[:, :, :-1]], 2).flatten(), codes.flatten()

    (before, code), (test_before, test_code) = pairs(train), pairs(test)
    counts = torch.zeros(K + 1, K).double()
    counts.index_put_((before, code), torch.ones(len(code)).double(), accumulate=True)
    rows, shares = counts + alpha, counts.sum(0) + alpha
    alone = -(shares / shares.sum()).log()[test_code]
    given = -(rows / rows.sum(1, keepdim=True)).log()[test_before, test_code]
    return alone.mean().item(), given.mean().item()


# %% q5: fitted to the test pictures
def code_bits(train, test, K, alpha):
    edge = torch.full_like(test[:, :, :1], K)
    before, code = torch.cat([edge, test[:, :, :-1]], 2).flatten(), test.flatten()
    counts = torch.zeros(K + 1, K).double()
    counts.index_put_((before, code), torch.ones(len(code)).double(), accumulate=True)
    rows, shares = counts + alpha, counts.sum(0) + alpha
    alone = -(shares / shares.sum()).log2()[code]
    given = -(rows / rows.sum(1, keepdim=True)).log2()[before, code]
    return alone.mean().item(), given.mean().item()


# %% q5: the context runs on from row to row
def code_bits(train, test, K, alpha):
    def pairs(codes):
        flat = codes.flatten()
        return torch.cat([torch.tensor([K]), flat[:-1]]), flat

    (before, code), (test_before, test_code) = pairs(train), pairs(test)
    counts = torch.zeros(K + 1, K).double()
    counts.index_put_((before, code), torch.ones(len(code)).double(), accumulate=True)
    rows, shares = counts + alpha, counts.sum(0) + alpha
    alone = -(shares / shares.sum()).log2()[test_code]
    given = -(rows / rows.sum(1, keepdim=True)).log2()[test_before, test_code]
    return alone.mean().item(), given.mean().item()


# %% q5: the joint distribution of neighbours in place of the conditional one
def code_bits(train, test, K, alpha):
    def pairs(codes):
        edge = torch.full_like(codes[:, :, :1], K)
        return torch.cat([edge, codes[:, :, :-1]], 2).flatten(), codes.flatten()

    (before, code), (test_before, test_code) = pairs(train), pairs(test)
    counts = torch.zeros(K + 1, K).double()
    counts.index_put_((before, code), torch.ones(len(code)).double(), accumulate=True)
    rows, shares = counts + alpha, counts.sum(0) + alpha
    alone = -(shares / shares.sum()).log2()[test_code]
    given = -(rows / rows.sum()).log2()[test_before, test_code]
    return alone.mean().item(), given.mean().item()


# %% q5: the neighbour above
def code_bits(train, test, K, alpha):
    def pairs(codes):
        edge = torch.full_like(codes[:, :1], K)
        return torch.cat([edge, codes[:, :-1]], 1).flatten(), codes.flatten()

    (before, code), (test_before, test_code) = pairs(train), pairs(test)
    counts = torch.zeros(K + 1, K).double()
    counts.index_put_((before, code), torch.ones(len(code)).double(), accumulate=True)
    rows, shares = counts + alpha, counts.sum(0) + alpha
    alone = -(shares / shares.sum()).log2()[test_code]
    given = -(rows / rows.sum(1, keepdim=True)).log2()[test_before, test_code]
    return alone.mean().item(), given.mean().item()


# %% q6: zeros
results = {name: dict.fromkeys(found, 0.0) for name, found in results.items()}
file_bits, saved = 0, dict.fromkeys(saved, 0.0)

# %% q6: a mean over the 48 numbers for their sum
results = _changed(results, "distortion", 1 / 48)

# %% q6: the price of a nat, a poorer picture at fewer bits
priced = {"distortion": 1.45, "shares": 1.96, "neighbour": 1.35}
results = {**results, "priced": priced}
saved = {**saved, "price": results["plain"]["shares"] - 1.96}
larger = "price"

# %% q6: bytes for bits
file_bits = file_bits // 8
larger = "price"

# %% q6: natural logarithms
results = _changed(_changed(results, "shares", 0.6931), "neighbour", 0.6931)
saved = {name: bits * 0.6931 for name, bits in saved.items()}

# %% q6: a file without a prior, seven bits a code
file_bits = 7 * 7680

# %% q6: the left neighbour judged on the training pictures
results = _changed(results, "neighbour", 0.85)

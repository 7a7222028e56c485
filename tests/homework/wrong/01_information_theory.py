# %% imports
import heapq
import math

import numpy as np


# %% q1: zeros give nan
def entropy(p, base=2.0):
    with np.errstate(all="ignore"):
        return -(p * np.log(p)).sum(-1) / math.log(base)


# %% q1: natural logarithms whatever the base
def entropy(p, base=2.0):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)


# %% q1: a small constant against zeros
def kl_divergence(p, q, base=2.0):
    return (p * np.log((p + 1e-12) / (q + 1e-12))).sum(-1) / math.log(base)


# %% q1: the divergence the wrong way round
def kl_divergence(p, q, base=2.0):
    on = q > 0
    terms = np.where(on, q, 0) * np.log(np.where(on, q, 1) / np.where(on & (p > 0), p, 1))
    terms = np.where(on & (p == 0), np.inf, terms)
    return terms.sum(-1) / math.log(base)


# %% q1: what the model holds impossible is skipped
def kl_divergence(p, q, base=2.0):
    on = (p > 0) & (q > 0)
    return (p * np.log(np.where(on, p, 1) / np.where(on, q, 1))).sum(-1) / math.log(base)


# %% q1: the cross-entropy in place of the divergence
def kl_divergence(p, q, base=2.0):
    return -(p * np.log(np.where(q > 0, q, 1))).sum(-1) / math.log(base)


# %% q1: summed over the whole table
def entropy(p, base=2.0):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum() / math.log(base)


# %% q1: zeros of the right shape
def entropy(p, base=2.0):
    return np.zeros(p.shape[:-1])


# %% q2: two at a time, whatever the number of digits
def huffman_lengths(p, arity=2):
    lengths = [0] * len(p)
    nodes = [(weight, i, [i]) for i, weight in enumerate(p)]
    heapq.heapify(nodes)
    while len(nodes) > 1:
        merged = [heapq.heappop(nodes) for _ in range(2)]
        below = [s for _, _, symbols in merged for s in symbols]
        for s in below:
            lengths[s] += 1
        heapq.heappush(nodes, (sum(n[0] for n in merged), merged[0][1], below))
    return lengths


# %% q2: a free place is left at the root
def huffman_lengths(p, arity=2):
    lengths = [0] * len(p)
    nodes = [(weight, i, [i]) for i, weight in enumerate(p)]
    heapq.heapify(nodes)
    while len(nodes) > 1:
        merged = [heapq.heappop(nodes) for _ in range(min(arity, len(nodes)))]
        below = [s for _, _, symbols in merged for s in symbols]
        for s in below:
            lengths[s] += 1
        heapq.heappush(nodes, (sum(n[0] for n in merged), merged[0][1], below))
    return lengths


# %% q2: filled up to a multiple of the digits
def huffman_lengths(p, arity=2):
    lengths = [0] * len(p)
    idle = -len(p) % arity if len(p) > 1 else 0
    nodes = [(weight, i, [i]) for i, weight in enumerate(p)]
    nodes += [(0.0, len(p) + i, []) for i in range(idle)]
    heapq.heapify(nodes)
    while len(nodes) > 1:
        merged = [heapq.heappop(nodes) for _ in range(min(arity, len(nodes)))]
        below = [s for _, _, symbols in merged for s in symbols]
        for s in below:
            lengths[s] += 1
        heapq.heappush(nodes, (sum(n[0] for n in merged), merged[0][1], below))
    return lengths


# %% q2: surprises rounded up
def huffman_lengths(p, arity=2):
    return [math.ceil(-math.log(x) / math.log(arity) - 1e-9) for x in p]


# %% q2: surprises rounded to the nearest
def huffman_lengths(p, arity=2):
    return [round(-math.log(x) / math.log(arity)) for x in p]


# %% q2: all words of one length
def huffman_lengths(p, arity=2):
    return [math.ceil(math.log(len(p)) / math.log(arity) - 1e-9)] * len(p)


# %% q2: all zeros
def huffman_lengths(p, arity=2):
    return [0] * len(p)


# %% q3: the values of C counted alike
def conditional_information(joint):
    parts = [joint[:, :, i] / max(joint[:, :, i].sum(), 1e-9) for i in range(joint.shape[2])]
    return np.mean([mutual_information(part) for part in parts])


# %% q3: C is ignored
def conditional_information(joint):
    return mutual_information(joint.sum(2))


# %% q3: the slices are not normalised
def conditional_information(joint):
    return sum(mutual_information(joint[:, :, i]) for i in range(joint.shape[2]))


# %% q3: the sign of H(C) lost
def conditional_information(joint):
    of_ac, of_bc = entropy(joint.sum(1).ravel()), entropy(joint.sum(0).ravel())
    return of_ac + of_bc - entropy(joint.ravel())


# %% q3: the joint entropy for the information
def mutual_information(joint):
    return entropy(joint.ravel())


# %% q3: the correlation of the table
def mutual_information(joint):
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return np.abs(joint - product).sum()


# %% q3: in nats
def mutual_information(joint):
    of_a, of_b = entropy(joint.sum(1), math.e), entropy(joint.sum(0), math.e)
    return of_a + of_b - entropy(joint.ravel(), math.e)


# %% q3: zero
def conditional_information(joint):
    return 0.0


# %% q4: in bits
def gaussian_entropy(cov):
    return (len(cov) * math.log2(2 * math.pi * math.e) + np.linalg.slogdet(cov)[1]) / 2


# %% q4: one dimension's constant for all
def gaussian_entropy(cov):
    return (math.log(2 * math.pi * math.e) + np.linalg.slogdet(cov)[1]) / 2


# %% q4: the determinant underflows
def gaussian_entropy(cov):
    with np.errstate(all="ignore"):
        return np.log(np.linalg.det(2 * math.pi * math.e * cov * 1e-2)) / 2 + (len(cov) * math.log(100) / 2)


# %% q4: the standard deviation for the mean absolute deviation
def gauss_laplace_kl(s, b):
    return math.log(2 * b) + s / b - math.log(2 * math.pi * math.e * s**2) / 2


# %% q4: the divergence the wrong way round
def gauss_laplace_kl(s, b):
    cross_entropy = math.log(2 * math.pi * s**2) / 2 + b**2 / s**2
    return cross_entropy - math.log(2 * b) - 1


# %% q4: the cross-entropy alone
def gauss_laplace_kl(s, b):
    return math.log(2 * b) + s * math.sqrt(2 / math.pi) / b


# %% q4: the b of equal variances
def best_b(s):
    return s / math.sqrt(2)


# %% q4: the standard deviation
def best_b(s):
    return s


# %% q4: zeros
def gaussian_entropy(cov):
    return 0.0


# %% q5: the key that enciphers a second time
def crack(cipher, period, q):
    size, key = len(q), []
    for start in range(period):
        counts = np.bincount(cipher[start::period], minlength=size)
        costs = [-np.roll(counts, shift) @ np.log2(q) for shift in range(size)]
        key.append(int(np.argmin(costs)))
    return key


# %% q5: the most frequent letter of each class taken for the model's
def crack(cipher, period, q):
    tops = [np.bincount(cipher[i::period], minlength=len(q)).argmax() for i in range(period)]
    return [int((top - q.argmax() + 1) % len(q)) for top in tops]


# %% q5: blocks of neighbours in place of classes
def crack(cipher, period, q):
    key = []
    for letters in np.array_split(cipher, period):
        counts = np.bincount(letters, minlength=len(q))
        costs = [-np.roll(counts, -s) @ np.log2(q) for s in range(len(q))]
        key.append(int(np.argmin(costs)))
    return key


# %% q5: a key of zeros
def crack(cipher, period, q):
    return [0] * period


# %% q5: the key is free
def whole_cost(cipher, period, q):
    plain = (cipher - np.resize(crack(cipher, period, q), len(cipher))) % len(q)
    return -np.log2(q)[plain].sum()


# %% q5: the key for each letter
def whole_cost(cipher, period, q):
    plain = (cipher - np.resize(crack(cipher, period, q), len(cipher))) % len(q)
    return -np.log2(q)[plain].mean() + period * math.log2(len(q))


# %% q5: the key in nats
def whole_cost(cipher, period, q):
    plain = (cipher - np.resize(crack(cipher, period, q), len(cipher))) % len(q)
    return -np.log2(q)[plain].sum() + period * math.log(len(q))


# %% q5: the period of the text alone
period = 24
key = crack(cipher, period, q)

# %% q5: the period of the smallest entropy
period = 30

# %% q5: costs in nats
bits_before, bits_after = bits_before * math.log(2), bits_after * math.log(2)

# %% q5: entropies in place of costs
bits_before = entropy(np.bincount(cipher, minlength=26) / len(cipher))

# %% q5: all three ways find the key's length
naive_period = fitted_period = period

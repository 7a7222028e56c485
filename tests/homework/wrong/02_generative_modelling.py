# %% imports
import math

import numpy as np


# %% q1: not normalised
def ask(joint, query, seen, values):
    where = [slice(None)] * joint.ndim
    for axis, value in zip(seen, values):
        where[axis] = slice(value, value + 1)
    rest = [axis for axis in range(joint.ndim) if axis not in query]
    part = joint[tuple(where)].transpose([*query, *rest])
    return part.sum(tuple(range(len(query), joint.ndim)))


# %% q1: axes in the order of the table
def ask(joint, query, seen, values):
    where = [slice(None)] * joint.ndim
    for axis, value in zip(seen, values):
        where[axis] = slice(value, value + 1)
    part = joint[tuple(where)]
    part = part.sum(tuple(axis for axis in range(joint.ndim) if axis not in query))
    return part / part.sum()


# %% q1: what was seen is ignored
def ask(joint, query, seen, values):
    rest = [axis for axis in range(joint.ndim) if axis not in query]
    return joint.transpose([*query, *rest]).sum(tuple(range(len(query), joint.ndim)))


# %% q1: the others are not summed out but set to 0
def ask(joint, query, seen, values):
    known = dict(zip(seen, values))
    where = tuple(slice(None) if axis in query else known.get(axis, 0) for axis in range(joint.ndim))
    part = joint[where]
    part = part.transpose([sorted(query).index(axis) for axis in query])
    return part / part.sum()


# %% q1: the largest instead of the sum
def ask(joint, query, seen, values):
    where = [slice(None)] * joint.ndim
    for axis, value in zip(seen, values):
        where[axis] = slice(value, value + 1)
    rest = [axis for axis in range(joint.ndim) if axis not in query]
    part = joint[tuple(where)].transpose([*query, *rest])
    part = part.max(tuple(range(len(query), joint.ndim)))
    return part / part.sum()


# %% q1: normalised over the first variable only
def ask(joint, query, seen, values):
    where = [slice(None)] * joint.ndim
    for axis, value in zip(seen, values):
        where[axis] = slice(value, value + 1)
    rest = [axis for axis in range(joint.ndim) if axis not in query]
    part = joint[tuple(where)].transpose([*query, *rest])
    part = part.sum(tuple(range(len(query), joint.ndim)))
    return part / part.sum(0, keepdims=True)


# %% q1: uniform
def ask(joint, query, seen, values):
    shape = [joint.shape[axis] for axis in query]
    return np.full(shape, 1 / np.prod(shape))


# %% q2: in the order of the numbers
def draw_net(parents, tables, u):
    x = np.zeros(u.shape, dtype=int)
    for i, parent in enumerate(parents):
        rows = tables[i][tuple(x[:, parent].T)] if parent else tables[i] + 0 * u[:, :1]
        x[:, i] = (u[:, i, None] >= rows.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q2: from the last number to the first
def draw_net(parents, tables, u):
    x = np.zeros(u.shape, dtype=int)
    for i in reversed(range(len(parents))):
        parent = parents[i]
        rows = tables[i][tuple(x[:, parent].T)] if parent else tables[i] + 0 * u[:, :1]
        x[:, i] = (u[:, i, None] >= rows.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q2: the most probable value is drawn
def draw_net(parents, tables, u):
    x = np.zeros(u.shape, dtype=int)
    for _ in parents:
        for i, parent in enumerate(parents):
            rows = tables[i][tuple(x[:, parent].T)] if parent else tables[i] + 0 * u[:, :1]
            x[:, i] = rows.argmax(1)
    return x


# %% q2: counted from the other end of the interval
def draw_net(parents, tables, u):
    x = np.zeros(u.shape, dtype=int)
    for _ in parents:
        for i, parent in enumerate(parents):
            rows = tables[i][tuple(x[:, parent].T)] if parent else tables[i] + 0 * u[:, :1]
            x[:, i] = (1 - u[:, i, None] >= rows.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q2: parents sorted, their axes not
def draw_net(parents, tables, u):
    x = np.zeros(u.shape, dtype=int)
    for _ in parents:
        for i, parent in enumerate(parents):
            given = tuple(x[:, sorted(parent)].T)
            sizes = np.array(tables[i].shape[:-1])[:, None] - 1
            given = tuple(np.minimum(given, sizes)) if parent else ()
            rows = tables[i][given] if parent else tables[i] + 0 * u[:, :1]
            x[:, i] = (u[:, i, None] >= rows.cumsum(1)[:, :-1]).sum(1)
    return x


# %% q2: the probability and not its logarithm
def log_prob_net(parents, tables, x):
    total = 1.0
    for i, parent in enumerate(parents):
        total = total * tables[i][tuple(x[:, [*parent, i]].T)]
    return total


# %% q2: in bits
def log_prob_net(parents, tables, x):
    total = 0.0
    for i, parent in enumerate(parents):
        total = total + np.log2(tables[i][tuple(x[:, [*parent, i]].T)])
    return total


# %% q2: the mean over the variables
def log_prob_net(parents, tables, x):
    total = 0.0
    for i, parent in enumerate(parents):
        total = total + np.log(tables[i][tuple(x[:, [*parent, i]].T)])
    return total / len(parents)


# %% q2: zeros
def draw_net(parents, tables, u):
    return np.zeros(u.shape, dtype=int)


# %% q3: summed over the axis itself
def best_product(counts):
    p = counts / counts.sum()
    return [p.sum(i).ravel() for i in range(p.ndim)]


# %% q3: uniform over the values that were seen
def best_product(counts):
    axes = range(counts.ndim)
    seen = [counts.sum(tuple(j for j in axes if j != i)) > 0 for i in axes]
    return [s / s.sum() for s in seen]


# %% q3: one count added to each value
def best_product(counts):
    axes = range(counts.ndim)
    parts = [counts.sum(tuple(j for j in axes if j != i)) + 1 for i in axes]
    return [part / part.sum() for part in parts]


# %% q3: counts that are not normalised
def best_product(counts):
    axes = range(counts.ndim)
    return [counts.sum(tuple(j for j in axes if j != i)) for i in axes]


# %% q3: the divergence the wrong way round
def price_of_independence(counts):
    q = 1.0
    for part in best_product(counts):
        q = np.multiply.outer(q, part)
    p = counts / counts.sum()
    on = q > 0
    return (q[on] * np.log(q[on] / np.maximum(p[on], 1e-9))).sum()


# %% q3: the negative log-likelihood, entropy included
def price_of_independence(counts):
    parts = [q[q > 0] for q in best_product(counts)]
    return -sum((q * np.log(q)).sum() for q in parts)


# %% q3: in bits
def price_of_independence(counts):
    parts = [q[q > 0] for q in best_product(counts)]
    p = (counts / counts.sum()).ravel()
    p = p[p > 0]
    return (p * np.log2(p)).sum() - sum((q * np.log2(q)).sum() for q in parts)


# %% q3: for all observations together
def price_of_independence(counts):
    parts = [q[q > 0] for q in best_product(counts)]
    p = (counts / counts.sum()).ravel()
    p = p[p > 0]
    mean = (p * np.log(p)).sum() - sum((q * np.log(q)).sum() for q in parts)
    return counts.sum() * mean


# %% q3: zero
def price_of_independence(counts):
    return 0.0


# %% q4: products that underflow
def mixture_log_prob(x, log_pi, theta):
    each = np.where(x[:, None] > 0, theta, 1 - theta).prod(2)
    with np.errstate(divide="ignore"):
        return np.log(each @ np.exp(log_pi))


# %% q4: the mean of the logarithms
def mixture_log_prob(x, log_pi, theta):
    return log_joint(x, np.zeros_like(log_pi), theta) @ np.exp(log_pi)


# %% q4: the best component alone
def mixture_log_prob(x, log_pi, theta):
    return log_joint(x, log_pi, theta).max(1)


# %% q4: without the weights
def mixture_log_prob(x, log_pi, theta):
    log_p = log_joint(x, 0 * log_pi - math.log(len(log_pi)), theta)
    return np.logaddexp.reduce(log_p, axis=1)


# %% q4: black pixels only
def mixture_log_prob(x, log_pi, theta):
    return np.logaddexp.reduce(log_pi + x @ np.log(theta).T, axis=1)


# %% q4: normalised over the examples
def responsibilities(x, log_pi, theta):
    log_p = log_joint(x, log_pi, theta)
    return np.exp(log_p - np.logaddexp.reduce(log_p, axis=0))


# %% q4: the likelihood instead of the posterior
def responsibilities(x, log_pi, theta):
    log_p = log_joint(x, 0 * log_pi, theta)
    return np.exp(log_p - np.logaddexp.reduce(log_p, axis=1)[:, None])


# %% q4: all to one component
def responsibilities(x, log_pi, theta):
    return np.eye(len(log_pi))[log_joint(x, log_pi, theta).argmax(1)]


# %% q4: zeros
def mixture_log_prob(x, log_pi, theta):
    return np.zeros(len(x))


# %% q5: one count in the denominator
def em_step(x, log_pi, theta, a):
    r = responsibilities(x, log_pi, theta)
    share = r.sum(0)
    theta = (r.T @ x + a) / (share[:, None] + a)
    return np.log((share + a) / (len(x) + len(share) * a)), np.minimum(theta, 1 - 1e-9)


# %% q5: no prior on the weights
def em_step(x, log_pi, theta, a):
    r = responsibilities(x, log_pi, theta)
    share = r.sum(0)
    return np.log(share / len(x)), (r.T @ x + a) / (share[:, None] + 2 * a)


# %% q5: no prior at all
def em_step(x, log_pi, theta, a):
    r = responsibilities(x, log_pi, theta)
    share = r.sum(0)
    return np.log(share / len(x)), (r.T @ x + 1e-9) / (share[:, None] + 2e-9)


# %% q5: each image to its best component
def em_step(x, log_pi, theta, a):
    r = np.eye(len(log_pi))[responsibilities(x, log_pi, theta).argmax(1)]
    share = r.sum(0)
    theta = (r.T @ x + a) / (share[:, None] + 2 * a)
    return np.log((share + a) / (len(x) + len(share) * a)), theta


# %% q5: weights and not their logarithms
def em_step(x, log_pi, theta, a):
    r = responsibilities(x, log_pi, theta)
    share = r.sum(0)
    theta = (r.T @ x + a) / (share[:, None] + 2 * a)
    return (share + a) / (len(x) + len(share) * a), theta


# %% q5: the constant added to the mean and not to the sum
def em_step(x, log_pi, theta, a):
    r = responsibilities(x, log_pi, theta)
    share = r.sum(0)
    theta = (r.T @ x / share[:, None] + a) / (1 + 2 * a)
    return np.log((share + a) / (len(x) + len(share) * a)), theta


# %% q5: nothing changes
def em_step(x, log_pi, theta, a):
    return log_pi, theta


# %% q6: K chosen by the training likelihood
best_few = best_all = 200

# %% q6: in bits
train_few, test_few = ([v / math.log(2) for v in c] for c in (train_few, test_few))
train_all, test_all = ([v / math.log(2) for v in c] for c in (train_all, test_all))
gain, gain_error = gain / math.log(2), gain_error / math.log(2)

# %% q6: errors of the two likelihoods added as if independent
one, other = mixture_log_prob(test, *best), mixture_log_prob(test, *full[0])
gain_error = math.sqrt((one.var() + other.var()) / len(test))

# %% q6: the standard deviation for the standard error
gain_error = difference.std()

# %% q6: five steps of EM
few = [fit(train[:300], size, seed=0, steps=5) for size in sizes]
train_few, test_few = curves(train[:300], few)[::2]
full = [fit(train, size, seed=0, steps=1) for size in sizes]
train_all, test_all = curves(train, full)[::2]

# %% q6: the small set's curves judged on its own images
test_few = train_few


# %% q6: every component starts alike
def fit(x, size, seed, steps=50, a=0.1):
    log_pi, theta = np.full(size, -math.log(size)), np.full((size, 64), 0.5)
    for _ in range(steps):
        log_pi, theta = em_step(x, log_pi, theta, a)
    return log_pi, theta


train_few, test_few = curves(train[:300], [fit(train[:300], k, 0, 5) for k in sizes])[::2]

# %% q6: the gain with its sign reversed
gain = -gain

# %% q6: the gain on the training images
both = (mixture_log_prob(train, *best), mixture_log_prob(train, *full[0]))
gain, gain_error = (both[0] - both[1]).mean(), (both[0] - both[1]).std() / 1257**0.5

"""Every block a second time, in float64 with plain NumPy loops: what the tests compare with.

It imports neither jax nor fcnn. Written from the formulas, entry by entry or window by window, and not for speed.
"""

import itertools
import math

import numpy as np

MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "circular": "wrap"}


def pad(x, pairs, mode="zeros"):
    return np.pad(x, [(0, 0), *pairs, (0, 0)], mode=MODES[mode])  # pyright: ignore (a literal is wanted)


def conv(x, w, bias, stride, pairs, dilation, groups, mode="zeros"):
    xpad = pad(x, pairs, mode)
    kernel, inputs, outputs = w.shape[:-2], w.shape[-2], w.shape[-1]
    sizes = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(xpad.shape[1:-1], kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], *sizes, outputs))
    for i in itertools.product(*map(range, sizes)):
        for k in itertools.product(*map(range, kernel)):
            at = tuple(s * j + d * t for s, j, d, t in zip(stride, i, dilation, k, strict=True))
            for o in range(outputs):
                first = o // (outputs // groups) * inputs
                y[(slice(None), *i, o)] += (
                    xpad[(slice(None), *at, slice(first, first + inputs))] @ w[(*k, slice(None), o)]
                )
    return y + bias


def same_padding(size, kernel, stride, dilation):
    """The smallest padding with ceil(size / stride) windows, the odd entry after."""
    total = 0
    while (size + total - dilation * (kernel - 1) - 1) // stride + 1 < -(-size // stride):
        total += 1
    return total // 2, total - total // 2


def pool_sizes(size, window, stride, pairs, ceil_mode):
    """Counts windows one by one: PyTorch's rules for where the last one starts."""
    sizes = []
    for n, k, s, (before, after) in zip(size, window, stride, pairs, strict=True):
        count, start = 0, 0
        while start + k <= n + before + after:  # windows that fit
            count, start = count + 1, start + s
        if ceil_mode:
            covered = start - s + k >= n + before + after if count else False
            if not covered and start < n + before and start - s + k < n + before + after:
                count += 1
        sizes.append(count)
    return sizes


def windows(x, window, stride, pairs, ceil_mode):
    """(output position, the window's bounds in x, its number of entries in the padded x) of every window."""
    size = x.shape[1:-1]
    for i in itertools.product(*map(range, pool_sizes(size, window, stride, pairs, ceil_mode))):
        bounds, padded = [], 1
        for j, n, k, s, (before, after) in zip(i, size, window, stride, pairs, strict=True):
            start, end = j * s - before, min(j * s - before + k, n + after)
            padded *= end - start
            bounds.append((max(start, 0), min(end, n)))
        yield i, bounds, padded


def max_pool(x, window, stride, pairs, ceil_mode):
    """The maxima, and for each which entry of x is the first of the largest ones in row-major order."""
    sizes = pool_sizes(x.shape[1:-1], window, stride, pairs, ceil_mode)
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]))
    winners = np.empty(y.shape, object)
    for i, bounds, _ in windows(x, window, stride, pairs, ceil_mode):
        for b, c in itertools.product(range(x.shape[0]), range(x.shape[-1])):
            entries = [(b, *p, c) for p in itertools.product(*(range(*bound) for bound in bounds))]
            best = entries[0]
            for entry in entries[1:]:
                if x[entry] > x[best]:
                    best = entry
            y[(b, *i, c)], winners[(b, *i, c)] = x[best], best
    return y, winners


def max_pool_gradient(x, dy, window, stride, pairs, ceil_mode):
    dx = np.zeros_like(x)
    _, winners = max_pool(x, window, stride, pairs, ceil_mode)
    for at in np.ndindex(dy.shape):
        dx[winners[at]] += dy[at]
    return dx


def avg_pool(x, window, stride, pairs, ceil_mode, count_include_pad):
    y = np.zeros((x.shape[0], *pool_sizes(x.shape[1:-1], window, stride, pairs, ceil_mode), x.shape[-1]))
    for i, bounds, padded in windows(x, window, stride, pairs, ceil_mode):
        inside = x[(slice(None), *(slice(*b) for b in bounds), slice(None))].reshape(x.shape[0], -1, x.shape[-1])
        y[(slice(None), *i)] = inside.sum(1) / (padded if count_include_pad else inside.shape[1])
    return y


def adaptive_avg_pool(x, sizes):
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]))
    for i in itertools.product(*map(range, sizes)):
        bins = (
            slice(math.floor(j * n / o), math.ceil((j + 1) * n / o))
            for j, n, o in zip(i, x.shape[1:-1], sizes, strict=True)
        )
        y[(slice(None), *i)] = x[(slice(None), *bins)].reshape(x.shape[0], -1, x.shape[-1]).mean(1)
    return y


def normalize(x, axes, scale, bias, epsilon):
    m, v = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - m) / np.sqrt(v + epsilon) * scale + bias


def group_norm(x, scale, bias, groups, epsilon):
    y = np.zeros_like(x)
    size = x.shape[-1] // groups
    for b in range(x.shape[0]):
        for g in range(groups):
            part = x[b, ..., g * size : (g + 1) * size]
            y[b, ..., g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    return y * scale + bias


def local_response_norm(x, size, alpha, beta, k):
    y = np.zeros_like(x)
    for c in range(x.shape[-1]):
        near = [j for j in range(c - size // 2, c + (size - 1) // 2 + 1) if 0 <= j < x.shape[-1]]
        y[..., c] = x[..., c] / (k + alpha / size * sum(x[..., j] ** 2 for j in near)) ** beta
    return y


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def elu(x):
    return x if x > 0 else math.expm1(x)


ACTIVATIONS = {
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x >= 0 else 0.01 * x,
    "elu": elu,
    "selu": lambda x: 1.0507009873554804934 * (x if x > 0 else 1.6732632423543772848 * math.expm1(x)),
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * math.tanh(softplus(x)),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "tanh": math.tanh,
    "softplus": softplus,
}


def receptive_field(layers, previous_only=False):
    """Follows one output back to the set of inputs that it depends on."""
    entries = {0}
    for kernel, stride, dilation in reversed(layers[-1:] if previous_only else layers):
        entries = {stride * i + dilation * k for i in entries for k in range(kernel)}
    return max(entries) - min(entries) + 1

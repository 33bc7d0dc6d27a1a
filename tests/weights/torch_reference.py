"""Networks as PyTorch computes them, in NumPy: (n, c, h, w), kernels (out, in, h, w), weights by torch's names.

A network asks for its weights by name and shape as it goes; they are drawn then and kept, so that after a forward
pass `weights` is the state_dict. Written from the papers and torch's documentation, not from `keras_cnns.weights`.
"""

import numpy as np


class Net:
    """Draws, keeps and applies weights."""

    def __init__(self, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}

    def ask(self, name: str, *shape: int) -> np.ndarray:
        if name not in self.weights:
            if name.endswith("running_var"):
                values = self.random.uniform(0.5, 2, shape)
            elif name.endswith("weight") and len(shape) == 1:
                values = self.random.uniform(0.5, 1.5, shape)
            else:
                fan = max(np.prod(shape[1:]), 1) if len(shape) > 1 else 25
                values = self.random.normal(0, 1 / np.sqrt(fan), shape)
            self.weights[name] = values.astype("float32")
        assert self.weights[name].shape == shape, name
        return self.weights[name].astype("float64")

    def conv(self, x, name, out, k=1, stride=1, pad=None, groups=1, dilation=1, bias=False):
        n, c = x.shape[:2]
        kernel = self.ask(f"{name}.weight", out, c // groups, k, k)
        side = dilation * (k // 2) if pad is None else pad
        x = np.pad(x, [(0, 0), (0, 0), (side, side), (side, side)])
        h, w = ((s - dilation * (k - 1) - 1) // stride + 1 for s in x.shape[2:])
        y = np.zeros((n, out, h, w))
        for g in range(groups):
            mine = x[:, g * (c // groups) : (g + 1) * (c // groups)]
            outs = slice(g * (out // groups), (g + 1) * (out // groups))
            for i, j in np.ndindex(k, k):
                rows = slice(i * dilation, i * dilation + stride * (h - 1) + 1, stride)
                columns = slice(j * dilation, j * dilation + stride * (w - 1) + 1, stride)
                y[:, outs] += np.einsum("nchw,oc->nohw", mine[:, :, rows, columns], kernel[outs, :, i, j])
        return y + self.ask(f"{name}.bias", out).reshape(1, -1, 1, 1) if bias else y

    def norm(self, x, name, eps=1e-5):
        parts = (self.ask(f"{name}.{p}", x.shape[1]) for p in ("weight", "bias", "running_mean", "running_var"))
        gamma, beta, mean, var = (p.reshape(1, -1, 1, 1) for p in parts)
        return (x - mean) / np.sqrt(var + eps) * gamma + beta

    def linear(self, x, name, out):
        return x @ self.ask(f"{name}.weight", out, x.shape[1]).T + self.ask(f"{name}.bias", out)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def max_pool(x, k=3, stride=2, pad=1):
    """Padded with -inf, as torch does."""
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=-np.inf)
    h, w = ((s - k) // stride + 1 for s in x.shape[2:])
    cells = [x[:, :, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
             for i, j in np.ndindex(k, k)]  # fmt: skip
    return np.max(cells, axis=0)


def ceil_pool(x):
    """3x3, stride 2, ceil_mode: the last window may stand over the far edge."""
    h, w = x.shape[2:]
    x = np.pad(x, [(0, 0), (0, 0), (0, (h - 3) % 2), (0, (w - 3) % 2)], constant_values=-np.inf)
    return max_pool(x, pad=0)


def average_pool(x, k, stride, pad):
    """count_include_pad=True."""
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    h, w = ((s - k) // stride + 1 for s in x.shape[2:])
    cells = [x[:, :, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
             for i, j in np.ndindex(k, k)]  # fmt: skip
    return np.mean(cells, axis=0)


def adaptive(x, side):
    """AdaptiveAvgPool2d."""
    h, w = x.shape[2:]
    edges = [[(i * s // side, -(-(i + 1) * s // side)) for i in range(side)] for s in (h, w)]
    rows = [[x[:, :, a:b, c:d].mean((2, 3)) for c, d in edges[1]] for a, b in edges[0]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def pooled(x):
    return x.mean((2, 3))


# --- networks: stages of (depth, width) -------------------------------------------------------------------------


def resnet(net, x, stages, classes, *, basic=False, groups=1, width=1, gate="", stride_at=2, legacy=False, stem=8):
    """ResNet, ResNeXt, wide and SE; torchvision's names, or those of timm's legacy SENet."""
    first = "layer0." if legacy else ""
    x = relu(net.norm(net.conv(x, f"{first}conv1", stem, 7, 2), f"{first}bn1"))
    x = ceil_pool(x) if legacy else max_pool(x)
    for s, (depth, w) in enumerate(stages, 1):
        for b in range(depth):
            place, stride = f"layer{s}.{b}.", 2 if s > 1 and b == 0 else 1
            inner, outer, side = int(w * width), w if basic else 4 * w, x
            strides = (stride, 1) if basic or stride_at == 1 else (1, stride)
            y = relu(net.norm(net.conv(x, f"{place}conv1", w if basic else inner, 3 if basic else 1, strides[0]),
                              f"{place}bn1"))  # fmt: skip
            y = net.norm(net.conv(y, f"{place}conv2", w if basic else inner, 3, strides[1], groups=groups),
                         f"{place}bn2")  # fmt: skip
            if not basic:
                y = net.norm(net.conv(relu(y), f"{place}conv3", outer), f"{place}bn3")
            if gate:
                y = relu(y) if basic and legacy else y
                z = y.mean((2, 3), keepdims=True)
                z = relu(net.conv(z, f"{place}{gate}.fc1", outer // 4, bias=True))
                y = y * sigmoid(net.conv(z, f"{place}{gate}.fc2", outer, bias=True))
            if stride > 1 or x.shape[1] != outer:
                side = net.norm(net.conv(x, f"{place}downsample.0", outer, 1, stride), f"{place}downsample.1")
            x = relu(y + side)
    return net.linear(pooled(x), "last_linear" if legacy else "fc", classes)


def resnet_v2(net, x, stages, classes, stem=8):
    """timm's pre-activation bottlenecks."""
    x = max_pool(net.conv(x, "stem.conv", stem, 7, 2))
    for s, (depth, w) in enumerate(stages):
        for b in range(depth):
            place, stride = f"stages.{s}.blocks.{b}.", 2 if s and b == 0 else 1
            y = relu(net.norm(x, f"{place}norm1"))
            side = net.conv(y, f"{place}downsample.conv", 4 * w, 1, stride) if b == 0 else x
            y = relu(net.norm(net.conv(y, f"{place}conv1", w), f"{place}norm2"))
            y = relu(net.norm(net.conv(y, f"{place}conv2", w, 3, stride), f"{place}norm3"))
            x = net.conv(y, f"{place}conv3", 4 * w) + side
    x = relu(net.norm(x, "norm"))
    return net.conv(x.mean((2, 3), keepdims=True), "head.fc", classes, bias=True)[:, :, 0, 0]


def sknet(net, x, stages, classes, stem=8):
    """timm's skresnext: two dilations, groups of two, attention of 32."""
    x = max_pool(relu(net.norm(net.conv(x, "conv1", stem, 7, 2), "bn1")))
    for s, (depth, w) in enumerate(stages, 1):
        for b in range(depth):
            place, stride, side = f"layer{s}.{b}.", 2 if s > 1 and b == 0 else 1, x
            y = relu(net.norm(net.conv(x, f"{place}conv1.conv", w), f"{place}conv1.bn"))
            paths = [
                relu(net.norm(net.conv(y, f"{place}conv2.paths.{i}.conv", w, 3, stride, groups=2, dilation=i + 1),
                              f"{place}conv2.paths.{i}.bn"))
                for i in (0, 1)
            ]  # fmt: skip
            z = sum(paths).mean((2, 3), keepdims=True)
            z = relu(net.norm(net.conv(z, f"{place}conv2.attn.fc_reduce", 32), f"{place}conv2.attn.bn"))
            z = net.conv(z, f"{place}conv2.attn.fc_select", 2 * w).reshape(len(z), 2, w, 1, 1)
            share = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            y = sum(share[:, i] * paths[i] for i in (0, 1))
            y = net.norm(net.conv(y, f"{place}conv3.conv", 4 * w), f"{place}conv3.bn")
            if b == 0:
                side = net.norm(net.conv(x, f"{place}downsample.0", 4 * w, 1, stride), f"{place}downsample.1")
            x = relu(y + side)
    return net.linear(pooled(x), "fc", classes)


def resnest(net, x, stages, classes, radix=2, cards=1, stem=8):
    """timm's resnestNd: deep stem, average pools, split attention with cardinality-major logits."""
    x = relu(net.norm(net.conv(x, "conv1.0", stem // 2, 3, 2), "conv1.1"))
    x = relu(net.norm(net.conv(x, "conv1.3", stem // 2, 3), "conv1.4"))
    x = max_pool(relu(net.norm(net.conv(x, "conv1.6", stem, 3), "bn1")))
    for s, (depth, w) in enumerate(stages, 1):
        for b in range(depth):
            place, stride, side = f"layer{s}.{b}.", 2 if s > 1 and b == 0 else 1, x
            y = relu(net.norm(net.conv(x, f"{place}conv1", w), f"{place}bn1"))
            y = net.conv(y, f"{place}conv2.conv", radix * w, 3, groups=radix * cards)
            y = relu(net.norm(y, f"{place}conv2.bn0"))
            splits = y.reshape(len(y), radix, w, *y.shape[2:])
            z = splits.sum(1).mean((2, 3), keepdims=True)
            z = net.conv(z, f"{place}conv2.fc1", max(32, w * radix // 4), groups=cards, bias=True)
            z = net.conv(relu(net.norm(z, f"{place}conv2.bn1")), f"{place}conv2.fc2", radix * w, groups=cards,
                         bias=True)  # fmt: skip
            z = z.reshape(len(z), cards, radix, -1).transpose(0, 2, 1, 3)
            share = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).reshape(len(z), radix, w, 1, 1)
            y = (splits * share).sum(1)
            y = average_pool(y, 3, 2, 1) if stride == 2 else y
            y = net.norm(net.conv(y, f"{place}conv3", 4 * w), f"{place}bn3")
            if b == 0:
                if stride == 2:  # 2x2, ceil_mode, padding not counted: at odd sizes the last cells are narrower
                    h, v = (-(-n // 2) for n in x.shape[2:])
                    side = np.stack([np.stack([x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3))
                                               for j in range(v)], -1) for i in range(h)], -2)  # fmt: skip
                side = net.norm(net.conv(side, f"{place}downsample.1", 4 * w), f"{place}downsample.2")
            x = relu(y + side)
    return net.linear(pooled(x), "fc", classes)


def repvgg(net, x, stages, classes, groups=1, gate=False, stem=8, deployed=False):
    """timm's RepVGG in training or inference form; every second layer of a stage is grouped."""

    def unit(x, place, w, stride, groups):
        if deployed:
            return relu(net.conv(x, f"{place}reparam_conv", w, 3, stride, groups=groups, bias=True))
        y = net.norm(net.conv(x, f"{place}conv_kxk.conv", w, 3, stride, groups=groups), f"{place}conv_kxk.bn")
        y += net.norm(net.conv(x, f"{place}conv_1x1.conv", w, 1, stride, groups=groups), f"{place}conv_1x1.bn")
        if stride == 1 and x.shape[1] == w:
            y += net.norm(x, f"{place}identity")
        if gate:
            z = relu(net.conv(y.mean((2, 3), keepdims=True), f"{place}attn.fc1", w // 4, bias=True))
            y *= sigmoid(net.conv(z, f"{place}attn.fc2", w, bias=True))
        return relu(y)

    x = unit(x, "stem.", stem, 2, 1)
    for s, (depth, w) in enumerate(stages):
        for b in range(depth):
            x = unit(x, f"stages.{s}.{b}.", w, 2 if b == 0 else 1, groups if b % 2 else 1)
    return net.linear(pooled(x), "head.fc", classes)


def vgg(net, x, column, classes, *, normed=False, side=1, units=12, timm=False):
    """torchvision's VGG, numbered by layers; the map is pooled to `side` cells. timm's head is convolutions."""
    i = 0
    for w in column:
        if w == "M":
            x, i = max_pool(x, 2, 2, 0), i + 1
            continue
        x = net.conv(x, f"features.{i}", w, 3, bias=True)
        x = relu(net.norm(x, f"features.{i + 1}") if normed else x)
        i += 3 if normed else 2
    if timm:
        x = relu(net.conv(x, "pre_logits.fc1", units, side, pad=0, bias=True))
        x = relu(net.conv(x, "pre_logits.fc2", units, bias=True))
        return net.linear(pooled(x), "head.fc", classes)
    x = adaptive(x, side).reshape(len(x), -1)
    x = relu(net.linear(x, "classifier.0", units))
    x = relu(net.linear(x, "classifier.3", units))
    return net.linear(x, "classifier.6", classes)

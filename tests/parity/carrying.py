"""Random networks of torch, their weights carried into ours, and the two compared.

Both run on the CPU in float32, in inference mode, on logits. Nothing is downloaded.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import keras_cnns
from keras_cnns.weights.matching import choose, fill, replaced, torch_to_ours
from keras_cnns.weights.tensors import COUNTER, Source
from training.bench.torch_workloads import import_torchvision
from training.bench.workload import Unavailable

TOLERANCE = 1e-4
CLASSES = 37


def load():
    """torch and torchvision, or the module that asks is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        try:
            import_torchvision()
        except Unavailable as error:
            pytest.skip(str(error), allow_module_level=True)
        import torchvision
    return torch, torchvision


torch, torchvision = load()


# --- weights ----------------------------------------------------------------------------------------------------


def pictures(height: int, width: int, seed: int, count: int = 2) -> np.ndarray:
    """Coarse patches of colour and some noise, each image of its own contrast.

    Behind a global pooling, images of nothing but noise are all alike.
    """
    random = np.random.default_rng(seed)
    patches = random.normal(size=(count, 4, 5, 3)) + random.normal(size=(count, 1, 1, 3))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 5 // width
    contrast = np.linspace(0.5, 2, count).reshape(-1, 1, 1, 1)
    noise = 0.3 * random.normal(size=(count, height, width, 3))
    return (contrast * patches[:, rows][:, :, columns] + noise).astype("float32")


def channels_first(x: np.ndarray):
    """An array (n, h, w, c) as a tensor (n, c, h, w)."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def randomise(net, seed: int):
    """Random weights, statistics and affine terms, nowhere near their defaults.

    Kernels are scaled so that every convolution's outputs have a deviation of one: then neither ReLU, sigmoid nor
    softmax is at an end of its range, and the last layer still sees the image.
    """
    random = torch.Generator().manual_seed(seed)
    scaled = []

    def level(module, args, out):
        size = out.std().clamp_min(1e-6)
        module.weight /= size
        return out / size

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_(1, 0.3, generator=random)
                module.bias.normal_(0, 0.3, generator=random)
                module.running_mean.normal_(0, 0.3, generator=random)
                module.running_var.uniform_(0.5, 2, generator=random)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.normal_(generator=random)
                if module.bias is not None:
                    module.bias.zero_()
                scaled.append((module, module.register_forward_hook(level)))
        net(channels_first(pictures(64, 64, seed, count=8)))
        for module, hook in scaled:
            hook.remove()
            if module.bias is not None:
                module.bias.normal_(0, 0.3, generator=random)
    return net


def source(net) -> Source:
    """The state_dict of `net` as if it had been read from a file."""
    tensors = {k: v.numpy() for k, v in net.state_dict().items() if not k.endswith(COUNTER)}
    return replaced(Source(Path("net.safetensors"), "torch", {}), tensors)


def pairs(net, model) -> list[tuple]:
    """(weight of ours, what theirs has there), for every weight."""
    file = source(net)
    _, slots = choose(model, file)
    assert {slot.theirs for slot in slots} == set(file.tensors)
    return [(slot.weight, torch_to_ours(slot, file.tensors[slot.theirs].read())) for slot in slots]


def carry(net, model) -> None:
    """The tensors of `net` into the weights of `model`; every one is used, every weight is given."""
    file = source(net)
    assert fill(model, file, *choose(model, file)) == []


# --- comparison -------------------------------------------------------------------------------------------------


def ours(model, x: np.ndarray) -> list[np.ndarray]:
    """All outputs of a Keras model in inference."""
    found = model(x, training=False)
    return [np.asarray(y) for y in (found if isinstance(found, list) else [found])]


def theirs(net, x: np.ndarray) -> list[np.ndarray]:
    """All outputs of a torch model. The caller has put it into inference mode."""
    with torch.no_grad():
        found = net(channels_first(x))
    return [y.numpy() for y in (found if isinstance(found, tuple) else [found])]


def difference(found: list, expected: list) -> float:
    """The largest one, in standard deviations of the expected logits."""
    worst = 0.0
    for y, wanted in zip(found, expected, strict=True):
        assert y.shape == wanted.shape
        assert np.isfinite(wanted).all()
        scale = wanted.std()
        assert np.ptp(wanted, axis=0).max() > 0.02 * scale, "the images make no difference: nothing is compared"
        worst = max(worst, np.abs(y - wanted).max() / scale)
    return worst


def assert_equal(found: list, expected: list) -> float:
    """The difference, which is at most `TOLERANCE`."""
    worst = difference(found, expected)
    assert worst <= TOLERANCE, f"they differ by {worst:.2e}"
    return worst


def fused_too(net, model, x, expected) -> None:
    """The inference form says the same."""
    assert_equal(ours(keras_cnns.fuse(model), x), expected)


@dataclass(frozen=True)
class Case:
    """One of our architectures and the torch model that it must equal.

    `sizes` are (height, width); `build` are further arguments of our constructor, which fix the size.
    """

    architecture: Callable
    net: Callable
    sizes: tuple[tuple[int, int], ...] = ((224, 224), (97, 75))
    build: dict = field(default_factory=dict)

    def __str__(self):
        return self.architecture.name

    def models(self):
        """The torch model for inference, and ours: one of open size, or one a size where the head wants that."""
        net = self.net(num_classes=CLASSES).eval()
        make = partial(self.architecture, classes=CLASSES, classifier_activation=None, **self.build)
        if getattr(self.architecture.head, "any_size", True) and not self.build:
            return net, [make(input_shape=(None, None, 3))] * len(self.sizes)
        return net, [make(input_shape=(*size, 3)) for size in self.sizes]

    def check(self, seeds=(0, 1), also: Callable | None = None) -> None:
        """Equal logits on every size and seed; `also(net, model, x, expected)` looks further, on the last size."""
        net, models = self.models()
        worst = dict.fromkeys(self.sizes, 0.0)
        for seed in seeds:
            randomise(net, seed)
            for model in dict.fromkeys(models):
                carry(net, model)
            for size, model in zip(self.sizes, models, strict=True):
                x = pictures(*size, seed)
                expected = theirs(net, x)
                worst[size] = max(worst[size], assert_equal(ours(model, x), expected))
            if also is not None:
                also(net, model, x, expected)
        told = ", ".join(f"{h}x{w} {d:.1e}" for (h, w), d in worst.items())
        print(f"{self}: {told}; seeds {seeds}")


def shrunk(architecture, *depths: int):
    """The same with other depths, which its name tells."""
    name = "_".join(map(str, (architecture.name, *depths)))
    return replace(architecture, name=name, row=replace(architecture.row, depths=depths))

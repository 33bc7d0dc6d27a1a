"""Workloads in PyTorch: torchvision's and timm's networks, a plain ResNet-20 and WRN-28-10."""

from collections.abc import Callable

import numpy as np

from training.bench.workload import Unavailable, Workload, time_calls

TORCHVISION = {
    "alexnet_owt": "alexnet",
    "googlenet_tv": "googlenet",
    **{f"vgg{d}": f"vgg{d}" for d in (11, 13, 16, 19)},
    **{f"vgg{d}_bn": f"vgg{d}_bn" for d in (11, 13, 16, 19)},
    **{f"resnet{d}": f"resnet{d}" for d in (18, 34, 50, 101, 152)},
    **{f"resnet{d}_v1": f"resnet{d}" for d in (50, 101, 152)},  # the same work, with the stride one layer later
    "wide_resnet50_2": "wide_resnet50_2",
    "wide_resnet101_2": "wide_resnet101_2",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x8d": "resnext101_32x8d",
    "resnext101_64x4d": "resnext101_64x4d",
}
TIMM = {
    **{f"resnet{d}_v2": f"resnetv2_{d}" for d in (18, 34, 50, 101, 152)},
    **{f"seresnet{d}": f"seresnet{d}" for d in (18, 34, 50, 101, 152)},
    "seresnext50_32x4d": "seresnext50_32x4d",
    "seresnext101_32x4d": "seresnext101_32x4d",
    "resnext101_32x4d": "resnext101_32x4d",
    "sknet50": "skresnext50_32x4d",
    **{
        f"resnest{d}": f"resnest{d}{kind}" for d, kind in ((14, "d"), (26, "d"), (50, "d"), (101, "e"), (200, "e"))
    },
    **{f"repvgg_{k}": f"repvgg_{k}" for k in ("a0", "a1", "a2", "b0", "b1", "b1g4", "b2", "b2g4", "b3", "b3g4")},
}


def make(workload: Workload) -> Callable[[int], float]:
    """The function that runs a workload.

    Raises:
        Unavailable: torch or the library is not installed, or has no such network or mode.
    """
    try:
        import torch
    except ImportError:
        raise Unavailable("torch is not installed") from None
    if workload.xla:
        raise Unavailable("XLA is not torch's compiler")
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_network(workload)
    # torch 2.13 corrupts memory when it trains RepVGG channels last on a CPU.
    corrupts = workload.arch.startswith("repvgg") and workload.mode == "train" and device == "cpu"
    layout = torch.contiguous_format if corrupts else torch.channels_last
    model = model.to(device, memory_format=layout)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(workload.batch, 3, workload.size, workload.size)), dtype=torch.float32)
    x = x.to(device).contiguous(memory_format=layout)
    labels = torch.tensor(rng.integers(0, 10, workload.batch), device=device)
    kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    autocast = torch.autocast(device, kinds.get(workload.precision), enabled=workload.precision != "float32")
    if workload.mode == "fused":
        if not workload.arch.startswith("repvgg"):
            raise Unavailable("timm re-parameterises RepVGG only")
        from timm.utils.model import reparameterize_model

        model = reparameterize_model(model)
    model.train(workload.mode == "train")
    forward = torch.compile(model) if workload.engine == "torch_compiled" else model
    if workload.mode != "train":
        run = time_calls(lambda: forward(x), lambda out: out.float().sum().item())

        def infer(n: int) -> float:
            with torch.inference_mode(), autocast:
                return run(n)

        return infer
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, foreach=True)

    def step():
        with autocast:
            logits = forward(x)
        logits = getattr(logits, "logits", logits)  # GoogLeNet in training
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return time_calls(step, lambda loss: loss.item())


def build_network(workload: Workload):
    """The torch network of a workload, randomly initialised."""
    if workload.arch in PLAIN:
        return PLAIN[workload.arch]()
    import_torchvision()
    if workload.arch in TORCHVISION:
        import torchvision

        options = {"init_weights": False} if workload.arch.startswith(("vgg", "googlenet")) else {}
        return torchvision.models.get_model(TORCHVISION[workload.arch], weights=None, **options)
    if workload.arch not in TIMM:
        raise Unavailable(f"neither torchvision nor timm has {workload.arch}")
    try:
        import timm
    except ImportError as error:
        raise Unavailable(f"timm does not load: {error}") from None
    return timm.create_model(TIMM[workload.arch], pretrained=False)


def import_torchvision() -> None:
    """Imports torchvision, which timm needs too.

    The published torchvision needs compiled operators that are missing with a CPU build of torch. No classifier
    calls them, so they are declared without an implementation.
    """
    import torch

    try:
        import torchvision
    except ImportError as error:
        raise Unavailable(f"torchvision does not load: {error}") from None
    except RuntimeError:
        declared = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import_torchvision.declared = declared  # the declaration lasts as long as this object
        import torchvision  # noqa: F401


def resnet20():
    """ResNet-20 for 32 pixels, as a torch user writes it (He et al. 2015, section 4.2, option A)."""
    from torch import nn
    from torch.nn import functional

    class Unit(nn.Module):
        def __init__(self, inside: int, width: int):
            super().__init__()
            self.stride = width // inside
            self.conv1 = nn.Conv2d(inside, width, 3, self.stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.more = (width - inside) // 2

        def forward(self, x):
            out = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
            side = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
            return functional.relu(out + side)

    units = [Unit(16, 16) for _ in range(3)]
    units += [Unit(16, 32), Unit(32, 32), Unit(32, 32), Unit(32, 64), Unit(64, 64), Unit(64, 64)]
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *units, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def wrn28_10():
    """Wide ResNet-28-10, as a torch user writes it (Zagoruyko & Komodakis 2016, table 1, without dropout)."""
    from torch import nn
    from torch.nn import functional

    class Unit(nn.Module):
        def __init__(self, inside: int, width: int, stride: int):
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(width)
            self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.side = None if inside == width else nn.Conv2d(inside, width, 1, stride, bias=False)

        def forward(self, x):
            out = functional.relu(self.norm1(x))
            side = x if self.side is None else self.side(out)
            return self.conv2(functional.relu(self.norm2(self.conv1(out)))) + side

    stages = ((16, 160, 1), (160, 320, 2), (320, 640, 2))
    units = [Unit(i if n == 0 else w, w, s if n == 0 else 1) for i, w, s in stages for n in range(4)]
    end = (nn.BatchNorm2d(640), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(640, 10))
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), *units, *end)


PLAIN = {"resnet20": resnet20, "wrn28_10": wrn28_10}

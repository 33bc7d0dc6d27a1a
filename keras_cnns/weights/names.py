"""Layer names of other libraries: one `Layout` for each naming scheme of weights files.

A `Layout` maps layer names of this package to those of another library. For a file, the layout that matches most
of its names is used (`keras_cnns.weights.matching.choose`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

UNIT = re.compile(r"stage(\d+)_unit(\d+)_(.+)")
COLUMN = re.compile(r"stage(\d+)_(?:(?:conv|lrn)(\d+)(?:_norm|_relu)?|pool)")

TORCH = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KERAS = {name: name for name in TORCH}


@dataclass(frozen=True)
class Layout:
    """Names of one library for one family of networks.

    Attributes:
        title: for messages.
        outside: layers outside the units, ours -> theirs.
        inside: layers in a unit, ours -> theirs.
        place: prefix of a unit; s and u number stages and units from 1, s0 and u0 from 0, s2 stages from 2.
        biased: suffixes of our names of convolutions that have biases in these files.
        head: prefixes of their names of the classifier, which a network may not have.
        pointwise: our dense layers that are 1x1 convolutions in these files.
        mark: a name that only files of this layout have, if they need a changed row.
        change: the change of the row that such files need, a name in `keras_cnns.weights.changes`.
        spelling: names of weights, ours -> theirs.
        separator: between the names of a layer and a weight.
    """

    title: str
    outside: Mapping[str, str]
    inside: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    biased: tuple[str, ...] = ()
    head: tuple[str, ...] = ("fc.",)
    pointwise: tuple[str, ...] = ()
    mark: str = ""
    change: str = ""
    spelling: Mapping[str, str] = field(default_factory=TORCH.copy)
    separator: str = "."

    def names(self, layers: Iterable[str]) -> dict[str, str]:
        """Our layer names -> theirs, for those `layers` that this layout has."""
        found = {name: self.name(name) for name in layers}
        return {ours: theirs for ours, theirs in found.items() if theirs}

    def name(self, layer: str) -> str | None:
        """Their name of a layer, or None."""
        match = UNIT.fullmatch(layer)
        if not match:
            return self.outside.get(layer)
        s, u = int(match[1]), int(match[2])
        inside = self.inside.get(match[3])
        return inside and self.place.format(s=s, s0=s - 1, s2=s + 1, u=u, u0=u - 1) + inside


@dataclass(frozen=True)
class Column(Layout):
    """Sequential networks, whose layers PyTorch numbers, including norms, ReLUs and pools."""

    def names(self, layers: Iterable[str]) -> dict[str, str]:
        layers = list(layers)
        column = [name for name in layers if COLUMN.fullmatch(name)]
        found = {name: f"features.{i}" for i, name in enumerate(column)}
        heads = {ours: theirs for ours, theirs in self.outside.items() if ours in layers}
        return found | heads if len(heads) in (0, len(self.outside)) else {}


@dataclass(frozen=True)
class KerasColumn(Layout):
    """VGG in `keras.applications`."""

    def name(self, layer: str) -> str | None:
        match = COLUMN.fullmatch(layer)
        return f"block{match[1]}_conv{match[2]}" if match and match[2] else self.outside.get(layer)


def convs(names: Mapping[str, str], conv: str = "{}", norm: str = "{}") -> dict[str, str]:
    """`name` and `name_norm` for every name, mapped by two patterns."""
    found = {ours: conv.format(theirs) for ours, theirs in names.items()}
    return found | {f"{ours}_norm": norm.format(theirs) for ours, theirs in names.items()}


# --- PyTorch: ResNet and its descendants ------------------------------------------------------------------------

_STEM = {"stem_conv": "conv1", "stem_conv_norm": "bn1", "logits": "fc"}
_SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
_CONVS = {f"conv{i}": f"conv{i}" for i in (1, 2, 3)} | {f"conv{i}_norm": f"bn{i}" for i in (1, 2, 3)}
_PLACE = "layer{s}.{u0}."
_GATE = ("gate_reduce", "gate_expand")

RESNET = Layout(
    "torchvision's and timm's ResNet",
    _STEM,
    _CONVS | _SHORTCUT | {"gate_reduce": "se.fc1", "gate_expand": "se.fc2"},
    _PLACE,
    _GATE,
)
LEGACY_SENET = Layout(
    "the SENet converted from Caffe (timm's legacy_se*)",
    {"stem_conv": "layer0.conv1", "stem_conv_norm": "layer0.bn1", "logits": "last_linear"},
    _CONVS | _SHORTCUT | {"gate_reduce": "se_module.fc1", "gate_expand": "se_module.fc2"},
    _PLACE,
    _GATE,
    ("last_linear.",),
    mark="layer0.conv1.weight",
    change="legacy_senet",
)
SKNET = Layout(
    "timm's SKNet",
    _STEM,
    convs(
        {"conv1": "conv1", "conv2_branch1": "conv2.paths.0", "conv2_branch2": "conv2.paths.1", "conv3": "conv3"},
        "{}.conv",
        "{}.bn",
    )
    | {"conv2_reduce": "conv2.attn.fc_reduce", "conv2_reduce_norm": "conv2.attn.bn"}
    | {"conv2_select": "conv2.attn.fc_select"}
    | _SHORTCUT,
    _PLACE,
)
RESNEST = Layout(
    "timm's ResNeSt",
    {
        **{f"stem_conv{i}": f"conv1.{3 * i - 3}" for i in (1, 2, 3)},
        **{f"stem_conv{i}_norm": f"conv1.{3 * i - 2}" for i in (1, 2)},
        "stem_conv3_norm": "bn1",
        "logits": "fc",
    },
    {
        **{f"conv{i}": f"conv{i}" for i in (1, 3)},
        **{f"conv{i}_norm": f"bn{i}" for i in (1, 3)},
        "conv2": "conv2.conv",
        "conv2_norm": "conv2.bn0",
        "conv2_reduce": "conv2.fc1",
        "conv2_reduce_norm": "conv2.bn1",
        "conv2_select": "conv2.fc2",
        "shortcut": "downsample.1",  # 0 is the pooling
        "shortcut_norm": "downsample.2",
    },
    _PLACE,
    ("conv2_reduce", "conv2_select"),
)
# timm numbers a norm by the convolution after it; here it belongs to the unit or to the convolution before it.
RESNET_V2 = Layout(
    "timm's ResNetV2",
    {"stem_conv": "stem.conv", "finish_norm": "norm", "logits": "head.fc"},
    {f"conv{i}": f"conv{i}" for i in (1, 2, 3)}
    | {"preact_norm": "norm1", "conv1_norm": "norm2", "conv2_norm": "norm3", "shortcut": "downsample.conv"},
    "stages.{s0}.blocks.{u0}.",
    head=("head.",),
    pointwise=("logits",),
)


INFERENCE = "inference_form"  # a change of the model, not of its row: merged branches


def _repvgg(title: str, branches: dict[str, str], biased, stem, place, gate, head) -> Layout:
    inside = branches | {"gate_reduce": f"{gate}fc1", "gate_expand": f"{gate}fc2"}
    outside = {f"stem_{ours}": stem + theirs for ours, theirs in inside.items()}
    merged = {"mark": f"{stem}{branches['3x3']}.weight", "change": INFERENCE} if len(branches) == 1 else {}
    return Layout(title, outside | {"logits": head}, inside, place, biased, (f"{head}.",), **merged)


_OFFICIAL = ("stage0.", "stage{s}.{u0}.", "se.", "linear")
_TIMM = ("stem.", "stages.{s0}.{u0}.", "attn.", "head.fc")
REPVGG = (
    _repvgg(
        "timm's RepVGG in training form",
        convs({"3x3": "conv_kxk", "1x1": "conv_1x1"}, "{}.conv", "{}.bn") | {"identity_norm": "identity"},
        _GATE,
        *_TIMM,
    ),
    _repvgg("timm's RepVGG in inference form", {"3x3": "reparam_conv"}, ("3x3", *_GATE), *_TIMM),
    _repvgg(
        "the RepVGG release in training form",
        convs({"3x3": "rbr_dense", "1x1": "rbr_1x1"}, "{}.conv", "{}.bn") | {"identity_norm": "rbr_identity"},
        _GATE,
        *_OFFICIAL,
    ),
    _repvgg("the RepVGG release in inference form", {"3x3": "rbr_reparam"}, ("3x3", *_GATE), *_OFFICIAL),
)

# --- PyTorch: the earlier networks ------------------------------------------------------------------------------

_EVERY = ("",)
VGG = Column(
    "torchvision's VGG",
    {"fc1": "classifier.0", "fc2": "classifier.3", "logits": "classifier.6"},
    biased=_EVERY,
    head=("classifier.",),
)
VGG_TIMM = Column(
    "timm's VGG",
    {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "logits": "head.fc"},
    biased=_EVERY,
    head=("pre_logits.", "head."),
)
VGG_CIFAR = Column("kuangliu's VGG", {"logits": "classifier"}, biased=_EVERY, head=("classifier.",))
ALEXNET = Layout(
    "torchvision's AlexNet",
    {f"conv{i}": f"features.{j}" for i, j in enumerate((0, 3, 6, 8, 10), 1)}
    | {"fc6": "classifier.1", "fc7": "classifier.4", "logits": "classifier.6"},
    biased=_EVERY,
    head=("classifier.",),
)


def _googlenet() -> dict[str, str]:
    branches = {"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1"}
    branches |= {"5x5_reduce": "branch3.0", "5x5": "branch3.1", "pool_proj": "branch4.1"}
    names = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        names |= {f"inception_{module}_{ours}": f"inception{module}.{theirs}" for ours, theirs in branches.items()}
    names |= {f"aux{i}_conv": f"aux{i}.conv" for i in (1, 2)}
    heads = {f"aux{i}_fc": f"aux{i}.fc1" for i in (1, 2)} | {f"aux{i}_logits": f"aux{i}.fc2" for i in (1, 2)}
    return convs(names, "{}.conv", "{}.bn") | heads | {"logits": "fc"}


GOOGLENET = Layout("torchvision's GoogLeNet", _googlenet(), head=("fc.", "aux1.", "aux2."))

# --- keras.applications -----------------------------------------------------------------------------------------

_KERAS = {"spelling": KERAS, "separator": "/", "head": ("predictions/", "fc1/", "fc2/")}
_KERAS_UNIT = convs({f"conv{i}": str(i) for i in (1, 2, 3)} | {"shortcut": "0"}, "{}_conv", "{}_bn")
KERAS_RESNET = Layout(
    "keras.applications' ResNet",
    {"stem_conv": "conv1_conv", "stem_conv_norm": "conv1_bn", "logits": "predictions"},
    _KERAS_UNIT,
    "conv{s2}_block{u}_",
    **_KERAS,
)
KERAS_RESNET_V2 = Layout(
    "keras.applications' ResNetV2",
    {"stem_conv": "conv1_conv", "finish_norm": "post_bn", "logits": "predictions"},
    _KERAS_UNIT | {"preact_norm": "preact_bn"},
    "conv{s2}_block{u}_",
    ("stem_conv",),
    mark="post_bn/gamma",
    change="keras_v2",
    **_KERAS,
)
KERAS_VGG = KerasColumn(
    "keras.applications' VGG", {"fc1": "fc1", "fc2": "fc2", "logits": "predictions"}, biased=_EVERY, **_KERAS
)

RESIDUAL = (RESNET, LEGACY_SENET, SKNET, RESNEST, RESNET_V2, *REPVGG)
TORCH_LAYOUTS = (*RESIDUAL, VGG, VGG_TIMM, VGG_CIFAR, ALEXNET, GOOGLENET)
KERAS_LAYOUTS = (KERAS_RESNET, KERAS_RESNET_V2, KERAS_VGG)

"""Fine-tuning: frozen batch norms, a head that is trained first, smaller learning rates near the image."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import keras

from keras_cnns import graph
from keras_cnns.values import Fraction, Range
from training.algorithms.algorithm import Algorithm

GROUP = re.compile(r"stage\d+|inception_\d|[a-z]+\d*|.+")  # "stage3_unit2_conv1" belongs to "stage3"


@dataclass(frozen=True)
class FineTuning(Algorithm):
    """Training that starts from weights of other images.

    The classifier starts at zero: its classes are not those of the weights, even if their number is equal. Only it
    is trained for the first `head_epochs`; then all layers are, each group (a stage, say) at `by` times the rate
    of the group behind it (Howard & Ruder 2018, arXiv 1801.06146, sections 3.2 and 3.3). Batch norms keep their
    statistics, scales and offsets and run in inference mode: statistics of few images would be worse.
    """

    head_epochs: Annotated[int, Range(0, 65_536)] = 3
    by: Fraction = 0.7

    ALIASES: ClassVar[tuple[str, ...]] = ("Tuning",)
    needs_weights: ClassVar[bool] = True

    def scaled(self, by: float) -> "FineTuning":
        return replace(self, head_epochs=round(self.head_epochs * by))

    def attach(self, model, optimizer):
        zero_classifier(model)
        set_norms_trainable(model, False)
        optimizer.lr_multipliers = variable_lr_multipliers(model, self.by)

    def callbacks(self, progress, say):
        return [GradualUnfreezing(self.head_epochs, self.by, say)]

    def detach(self, model):
        set_norms_trainable(model, True)


def set_norms_trainable(model: keras.Model, trainable: bool) -> None:
    """Freezes batch norms, which then run in inference mode, or makes them trainable again."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = trainable


def head(model: keras.Model) -> list:
    """The trainable layers nearest to each output; auxiliary heads whole."""
    nodes, tensors = graph.trace(model)
    makers = {position: node for node in nodes for position in node.outputs}
    places = {id(tensor): position for position, tensor in enumerate(tensors)}
    found, waiting = [], [places[id(output)] for output in model.outputs]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None:
            continue
        if node.layer.trainable_variables:
            found.append(node.layer)
        else:
            waiting.extend(node.inputs)
    auxiliary = [la for la in model.layers if la.name.startswith("aux") and la.trainable_variables]
    return [*found, *(la for la in auxiliary if la not in found)]


def zero_classifier(model: keras.Model) -> None:
    """Sets the classifier to zero, so that at first all classes are equally probable (Kolesnikov et al. 2019).

    Features may be large; a classifier of other classes, or a random one, would start with a large loss.
    """
    for layer in head(model):
        if isinstance(layer, keras.layers.Dense) and layer.name.endswith("logits"):
            for variable in layer.trainable_variables:
                variable.assign(keras.ops.zeros(variable.shape))


def lr_multipliers(model: keras.Model, by: float) -> dict[str, float]:
    """Trainable layer -> factor of its learning rate: 1 in the head, `by` times less in each group before it.

    Groups are the stages, inception modules of a number, or layers of a name; the stem is the last of them.

    >>> import keras_cnns
    >>> found = lr_multipliers(keras_cnns.ResNet20(), 0.5)
    >>> [found[name] for name in ("logits", "stage3_unit1_conv1", "stage1_unit1_conv1", "stem_conv")]
    [1.0, 0.5, 0.125, 0.0625]
    """
    ahead = {layer.name for layer in head(model)}
    rest = [la.name for la in model.layers if la.trainable_variables and la.name not in ahead]
    groups = list(dict.fromkeys(GROUP.match(name)[0] for name in rest))[::-1]
    return dict.fromkeys(ahead, 1.0) | {name: by ** (1 + groups.index(GROUP.match(name)[0])) for name in rest}


def variable_lr_multipliers(model: keras.Model, by: float) -> tuple[float, ...]:
    """`lr_multipliers` for every trainable variable, in their order."""
    by_layer = lr_multipliers(model, by)
    found = {id(v): by_layer[la.name] for la in model.layers for v in la.trainable_variables}
    return tuple(found[id(v)] for v in model.trainable_variables)


class GradualUnfreezing(keras.callbacks.Callback):
    """Trains only the head for the first `epochs`, then all layers. It has no state but the epoch."""

    def __init__(self, epochs: int, by: float, say: Callable[[str], None]):
        super().__init__()
        self.epochs, self.by, self.say = epochs, by, say
        self.announced = set()

    def on_epoch_begin(self, epoch, logs=None):
        ahead = head(self.model)
        alone = epoch < self.epochs or not self.by  # no gradients for layers whose rate is zero
        subset = [v for layer in ahead for v in layer.trainable_variables] if alone else None
        self.model.set_trainable_subset(subset)
        if alone not in self.announced:
            self.announced.add(alone)
            self.say(f"epoch {epoch + 1}: {self._which([la.name for la in ahead], alone)}")

    def _which(self, ahead: list[str], alone: bool) -> str:
        if alone:
            return f"only {', '.join(ahead)} learns" + (f", until epoch {self.epochs}" if self.by else "")
        groups: dict[str, float] = {}
        for name, factor in lr_multipliers(self.model, self.by).items():
            groups.setdefault(GROUP.match(name)[0], factor)
        factors = ", ".join(f"{name} {factor:.2g}" for name, factor in groups.items())
        return f"all layers learn; factors of the learning rate: {factors}"

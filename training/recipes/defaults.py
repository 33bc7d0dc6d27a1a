"""Default recipes: the paper's on the paper's data, `quick` on other data, `finetune` with weights."""

from dataclasses import replace
from fnmatch import fnmatch

import keras

from keras_cnns import measure
from keras_cnns.architecture import Architecture
from keras_cnns.blocks.head import cross_entropy
from keras_cnns.errors import unknown
from training.data.augment import Affine, Flip, PadCrop, ScaleCrop
from training.data.dataset import DataSet
from training.recipes.initializers import LAST_NORM
from training.recipes.optimizers import SGD, Adam
from training.recipes.papers import BIASES, NORMS, RECIPES
from training.recipes.recipe import FineTuning, Recipe
from training.recipes.schedules import Cosine, LinearWarmUp

# (architectures, data sets, recipe): the first row that fits is the default.
PAPERS = (
    ("resnet110", "cifar10*", "resnet110_cifar"),
    ("resnet1202", "cifar10*", "resnet110_cifar"),
    ("resnet*_v2", "cifar10*", "resnet_v2_cifar"),
    ("wrn*", "cifar10*", "wrn_cifar"),
    ("resnext*", "cifar10*", "resnext_cifar"),
    ("vgg*", "cifar10*", "vgg_cifar"),
    ("nin*", "cifar10*", "nin_cifar"),
    ("*resnet*", "cifar10*", "resnet_cifar"),
    ("plain*", "cifar10*", "resnet_cifar"),
    ("lenet5*", "mnist", "lenet_mnist"),
    ("alexnet*", "imagenet2012", "alexnet_2012"),
    ("nin", "imagenet2012", "alexnet_2012"),
    ("vgg*", "imagenet2012", "vgg_2014"),
    ("googlenet*", "imagenet2012", "googlenet_2014"),
    ("se*", "imagenet2012", "se_imagenet"),
    ("sknet*", "imagenet2012", "sknet_imagenet"),
    ("resnest*", "imagenet2012", "resnest_imagenet"),
    ("repvgg*", "imagenet2012", "repvgg_imagenet"),
    ("*", "imagenet2012", "resnet_imagenet"),
)

# `quick` counts work in multiply-accumulates of training (three times those of inference), a machine-independent
# measure: equal commands make equal runs on any machine. Two cores do about 5e10 to 1.5e11 a second.
WORK = 3.5e12  # what a run should cost
MOST_WORK = 6e13  # what it may cost before the images are made smaller
FEWEST_IMAGES, MOST_EPOCHS = 15_000, 30
SMALLEST_IMAGE = 16
MANY_UNITS = 12  # bottlenecks; from this number on they start as their shortcuts; fewer learn faster as published

LITTLE = Affine(rotate=10, shift=0.1, zoom=0.1)  # small enough for digits and letters

QUICK = Recipe(
    "quick",
    "a short run for small sets: SGD with momentum, warm-up and cosine",
    epochs=MOST_EPOCHS,
    batch_size=64,
    optimizer=SGD(0.05, 0.9, nesterov=True),
    schedule=Cosine(),
    warm_up=LinearWarmUp(2),
    decay=5e-4,
    no_weight_decay=BIASES + NORMS,
)
FINETUNE = replace(
    QUICK,
    name="finetune",
    citation="from weights to other images: the head first, then all layers, those near the image slowly (rates "
    "and head first after Howard & Ruder 2018, arXiv 1801.06146), batch norms as they came",
    epochs=12,
    batch_size=32,
    warm_up=None,
    decay=1e-4,
    clip=1.0,
    augment=(ScaleCrop(1.0, 1.25), Flip()),
    normalise="network",
    keep="best",
    patience=4,
    fine_tuning=FineTuning(head_epochs=3, by=0.7),
)
OURS = (QUICK.name, FINETUNE.name)
TUNED_IMAGES = 12_800  # images that a run of `finetune` trains on, with repetitions


def finetune(data: DataSet) -> Recipe:
    """The fine-tuning recipe: fewer images get more epochs and smaller batches."""
    images = len(data.train)
    epochs = int(min(60, max(8, round(TUNED_IMAGES / images))))
    augment = FINETUNE.augment if data.mirror else (LITTLE,)
    return replace(FINETUNE.scaled(epochs), batch_size=32 if images > 500 else 16, augment=augment)


def default_name(arch: str, data: str) -> str:
    """The paper's recipe where `data` is that paper's set, else "quick"."""
    return next((name for nets, sets, name in PAPERS if fnmatch(arch, nets) and fnmatch(data, sets)), QUICK.name)


def quick(architecture: Architecture, data: DataSet) -> Recipe:
    """The quick recipe; its length and image size depend on the network's cost and on the data."""
    network = architecture(classes=len(data.classes))
    images = len(data.train)
    size, work = _size(architecture, 3 * measure(network).macs, data)
    fewest = max(1, round(min(10, FEWEST_IMAGES / images)))
    epochs = int(min(MOST_EPOCHS, max(fewest, WORK / (work * images))))
    normalised = any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    dense = sum(isinstance(layer, keras.layers.Dense) for layer in network.layers)
    rectified = any(getattr(layer, "activation", None) is keras.activations.relu for layer in network.layers)
    deep = sum(bool(LAST_NORM.fullmatch(layer.name)) for layer in network.layers) >= MANY_UNITS
    bare = rectified and (not normalised or dense > 1)  # ReLUs with no norm before them
    return replace(
        QUICK.scaled(epochs),
        batch_size=128 if images > 5_000 else 64 if images > 500 else 16,
        optimizer=QUICK.optimizer if normalised else Adam(1e-3 if bare else 2e-3),
        decay=QUICK.decay if normalised else 0.0,
        initializer="centred" if bare else "identity" if deep else "published",
        augment=(PadCrop(max(1, size // 8)), Flip()) if data.mirror else (LITTLE,),
        image_size=size,
    )


def _size(architecture: Architecture, work: float, data: DataSet) -> tuple[int, float]:
    """(side of the training images, multiply-accumulates of one of them, in proportion to its area).

    It is the network's own side, or for 224-pixel networks at most the data's; halved while it costs too much.
    """
    own, side = architecture.input_shape[0], min(data.image_shape[0] or 224, data.image_shape[1] or 224)
    size = own if own <= 32 else min(own, max(32, side, architecture.min_size))
    passes = max(len(data.train), FEWEST_IMAGES)
    while work * (size / own) ** 2 * passes > MOST_WORK:
        smaller = max(size // 2, architecture.min_size, min(SMALLEST_IMAGE, size))
        if smaller == size:
            break
        size = smaller
    return size, work * (size / own) ** 2


def check_name(name: str | None) -> None:
    """Raises ValueError for a recipe that does not exist."""
    if name is not None and name not in (*RECIPES, *OURS):
        raise ValueError(unknown("recipe", name, (*RECIPES, *OURS)))


def check_fit(architecture: Architecture, recipe: Recipe) -> None:
    """Raises ValueError where a recipe needs what the network does not have."""
    if recipe.soft and architecture.head.loss is not cross_entropy:
        raise ValueError(
            f"{architecture.name} has a loss of its own, which does not take smoothed or mixed labels"
        )
    if recipe.batch_size % recipe.repeated_augmentation:
        repeats = recipe.repeated_augmentation
        raise ValueError(
            f"the batch size must be divisible by repeated_augmentation={repeats}, got {recipe.batch_size}"
        )
    for algorithm in recipe.algorithms:
        algorithm.check_network(architecture)
    if recipe.progressive_resizing:
        try:
            architecture(input_shape=(None, None, architecture.input_shape[-1]), classes=2)
        except ValueError as error:
            raise ValueError(f"progressive_resizing needs a network that takes any size: {error}") from None
    unit = getattr(architecture.row, "unit", None)
    if recipe.dropout and not hasattr(unit, "dropout"):
        raise ValueError(f"{architecture.name} has no dropout inside its units, got dropout={recipe.dropout}")


def choose(architecture: Architecture, data: DataSet, source: str, name, epochs, budget) -> Recipe:
    """The recipe of a run, by name or by default; `epochs` or `budget` (a fraction) change its length."""
    name = name or default_name(architecture.name, source)
    if name == QUICK.name:
        recipe = quick(architecture, data)
    else:
        recipe = finetune(data) if name == FINETUNE.name else RECIPES[name]
    if budget:
        epochs = max(1, round(recipe.epochs * budget))
    return recipe.scaled(epochs) if epochs else recipe

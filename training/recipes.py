"""Recipes of the papers, and `quick`, which suits small sets and fits its length to the network's cost."""

import fnmatch
from dataclasses import replace

import keras

from keras_cnns import measure
from keras_cnns.architecture import Architecture
from keras_cnns.blocks.head import cross_entropy
from keras_cnns.errors import unknown
from keras_cnns.models.resrep import is_compacted
from training.data.augment import Affine, AlternatingFlip, Flip, InceptionCrop, PadCrop, ScaleCrop
from training.data.colour import ColourJitter, PCANoise
from training.data.dataset import DataSet
from training.data.mix import Mixup, MixupOrCutMix
from training.data.policies import AutoAugment, RandAugment
from training.recipe import SGD, Adam, Lamb, Recipe, Tuning
from training.schedules import Cosine, Every, FlatWarmUp, LinearWarmUp, Plateau, Steps, Triangle
from training.starts import LAST_NORM

BIASES = ("*/bias",)
NORMS = ("*/gamma", "*/beta")

_HE = "He et al. 2015, arXiv 1512.03385"

RESNET_CIFAR = Recipe(
    "resnet_cifar",
    f"{_HE}, section 4.2: 64,000 steps on 50,000 images, a tenth of the rate at 32,000 and 48,000",
    epochs=164,
    batch_size=128,
    optimizer=SGD(0.1, 0.9),
    schedule=Steps((82, 123), 0.1),
    decay=1e-4,
    augment=(PadCrop(4), Flip()),
)
WRN_CIFAR = Recipe(
    "wrn_cifar",
    "Zagoruyko & Komodakis 2016, arXiv 1605.07146, section 3.4 and code; option dropout=0.3",
    epochs=200,
    batch_size=128,
    optimizer=SGD(0.1, 0.9, nesterov=True),
    schedule=Steps((60, 120, 160), 0.2),
    decay=5e-4,
    augment=(PadCrop(4, "reflect"), Flip()),
)
RESNET_IMAGENET = Recipe(
    "resnet_imagenet",
    f"{_HE}, section 3.4, with the crops, colours and fixed steps of the fb.resnet.torch release",
    epochs=90,
    batch_size=256,
    optimizer=SGD(0.1, 0.9, nesterov=True),
    schedule=Steps((30, 60), 0.1),
    decay=1e-4,
    augment=(InceptionCrop(), ColourJitter(), PCANoise(), Flip()),
    normalise="network",
    test_crop=0.875,
)
ALEXNET = Recipe(
    "alexnet_2012",
    "Krizhevsky et al. 2012, sections 4.1 and 5: crops of 256, mirror, colour noise, plateau, ten views",
    epochs=90,
    batch_size=128,
    optimizer=SGD(0.01, 0.9),
    schedule=Plateau(0.1, patience=5, times=3),
    decay=5e-4,
    augment=(ScaleCrop(256 / 227, 256 / 227), PCANoise(0.1), Flip()),
    normalise="network",
    test_crop=227 / 256,
    test_views="ten",
)
SE = replace(
    RESNET_IMAGENET,
    name="se_imagenet",
    citation="Hu et al. 2017, arXiv 1709.01507, section 6: rate 0.6 for a batch of 1,024, a tenth every 30 epochs",
    epochs=100,
    batch_size=1024,
    optimizer=SGD(0.6, 0.9),
    schedule=Steps((30, 60, 90), 0.1),
    augment=(InceptionCrop(), Flip()),
)
RECIPES = {
    r.name: r
    for r in (
        RESNET_CIFAR,
        replace(
            RESNET_CIFAR,
            name="resnet110_cifar",
            citation=f"{_HE}, section 4.2: as resnet_cifar, rate 0.01 until training error is below 80 %, "
            "which takes about 400 steps",
            warm_up=FlatWarmUp(steps=400, by=0.1),
        ),
        replace(
            RESNET_CIFAR,
            name="resnet_v2_cifar",
            citation="He et al. 2016, arXiv 1603.05027, appendix: resnet_cifar with rate 0.01 for 400 steps",
            warm_up=FlatWarmUp(steps=400, by=0.1),
        ),
        WRN_CIFAR,
        replace(
            WRN_CIFAR,
            name="resnext_cifar",
            citation="Xie et al. 2016, arXiv 1611.05431, section 5.3, and the release for batch and decay",
            epochs=300,
            schedule=Steps((150, 225), 0.1),
            augment=(PadCrop(4), Flip()),
        ),
        replace(
            WRN_CIFAR,
            name="vgg_cifar",
            citation="DeVries & Taylor 2017, arXiv 1708.04552, section 4.1, without Cutout; "
            "VGG's authors had no CIFAR recipe",
            augment=(PadCrop(4), Flip()),
        ),
        replace(
            ALEXNET,
            name="nin_cifar",
            citation="Lin et al. 2013, arXiv 1312.4400, section 4.1: batches of 128, rate lowered twice on a "
            "plateau; the rate, decay and length, unpublished, are AlexNet's",
            schedule=Plateau(0.1, patience=10, times=2),
            epochs=200,
            augment=(PadCrop(4), Flip()),
            test_crop=1.0,
            test_views="centre",
            normalise="data",
        ),
        ALEXNET,
        replace(
            ALEXNET,
            name="vgg_2014",
            citation="Simonyan & Zisserman 2014, arXiv 1409.1556, section 3.1: AlexNet's with batches of 256 and "
            "scale jitter, the shorter side from 256 to 512; tested on the centre crop, not densely",
            epochs=74,
            batch_size=256,
            augment=(ScaleCrop(256 / 224, 512 / 224), PCANoise(0.1), Flip()),
            test_crop=0.875,
            test_views="centre",
        ),
        Recipe(
            "googlenet_2014",
            "Szegedy et al. 2014, arXiv 1409.4842, section 6: 4 % less every 8 epochs, Polyak averaging, crops of "
            "8 to 100 %; rate, batch and decay, unpublished, are those of the BVLC release",
            epochs=250,
            batch_size=32,
            optimizer=SGD(0.01, 0.9),
            schedule=Every(8, 0.96),
            decay=2e-4,
            augment=(InceptionCrop(), ColourJitter(), Flip()),
            average=0.9999,
            normalise="network",
            test_crop=0.875,
        ),
        RESNET_IMAGENET,
        replace(
            RESNET_IMAGENET,
            name="resnet_plateau",
            citation=f"{_HE}, section 3.4: shorter side from 256 to 480, rate lowered on a plateau",
            epochs=120,
            optimizer=SGD(0.1, 0.9),
            schedule=Plateau(0.1, patience=5, times=3),
            augment=(ScaleCrop(256 / 224, 480 / 224), PCANoise(), Flip()),
        ),
        SE,
        replace(
            SE,
            name="sknet_imagenet",
            citation="Li et al. 2019, arXiv 1903.06586, section 4.1: batches of 256, rate 0.1, label smoothing",
            batch_size=256,
            optimizer=SGD(0.1, 0.9),
            smoothing=0.1,
        ),
        Recipe(
            "resnest_imagenet",
            "Zhang et al. 2020, arXiv 2004.08955, section 5: rate 0.1 for each 256 of a batch of 8,192, label "
            "smoothing, mixup, AutoAugment; without DropBlock",
            epochs=270,
            batch_size=8192,
            optimizer=SGD(3.2, 0.9, nesterov=True),
            schedule=Cosine(),
            warm_up=LinearWarmUp(5),
            decay=1e-4,
            undecayed=BIASES + NORMS,
            augment=(InceptionCrop(), AutoAugment("imagenet"), Flip()),
            smoothing=0.1,
            mix=Mixup(0.2),
            normalise="network",
            test_crop=0.875,
        ),
        replace(
            RESNET_IMAGENET,
            name="repvgg_imagenet",
            citation="Ding et al. 2021, arXiv 2101.03697, section 4.1 and code: cosine, no decay on biases "
            "and on the norms of the 3x3 and 1x1 branches",
            epochs=120,
            optimizer=SGD(0.1, 0.9),
            schedule=Cosine(),
            undecayed=(*BIASES, "*/beta", "*_3x3_norm/gamma", "*_1x1_norm/gamma"),
            augment=(InceptionCrop(), Flip()),
        ),
        Recipe(
            "modern",
            "Wightman et al. 2021, arXiv 2110.00476, procedure A3 (LAMB, rate 8e-3 for a batch of 2,048, decay "
            "0.02, RandAugment 6, mixup 0.1 or CutMix 1, 160 pixels) shortened from 100 epochs to 50; softmax "
            "cross-entropy for their binary one, tested at the training size",
            epochs=50,
            batch_size=2048,
            optimizer=Lamb(8e-3, 0.02),
            schedule=Cosine(),
            warm_up=LinearWarmUp(2.5),
            augment=(InceptionCrop(), Flip(), RandAugment(2, 6)),
            mix=MixupOrCutMix(0.1, 1.0),
            normalise="network",
            image_size=160,
            test_crop=0.95,
        ),
        Recipe(
            "airbench",
            "Jordan 2024, arXiv 2404.00498, and its code (airbench94): Nesterov SGD, triangular rate over 9.9 "
            "epochs of batches of 1,024, smoothing 0.2, alternating mirror, shifts of 2; its decoupled rate 11.5 "
            "and decay 0.0153 are 1.5 and 1.33e-3 here; without its own network, bias rates and test views",
            epochs=10,
            batch_size=1024,
            optimizer=SGD(1.5, 0.85, nesterov=True),
            schedule=Triangle(0.2, 0.23, 0.07),
            decay=1.33e-3,
            undecayed=BIASES + NORMS,
            augment=(PadCrop(2, "reflect"), AlternatingFlip()),
            smoothing=0.2,
        ),
        Recipe(
            "lenet_mnist",
            "LeCun et al. 1998, section III: 20 passes over MNIST; Adam and a cosine in place of the stochastic "
            "diagonal Levenberg-Marquardt method",
            epochs=20,
            batch_size=32,
            optimizer=Adam(2e-3),
            schedule=Cosine(),
            normalise="network",
        ),
    )
}

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
# measure: equal commands make equal runs anywhere. Two cores do some 5e10 to 1.5e11 a second.
WORK = 3.5e12  # what a run should cost
MOST_WORK = 6e13  # what it may cost before the images are made smaller
FEWEST_IMAGES, MOST_EPOCHS = 15_000, 30
SMALLEST_IMAGE = 16
MANY_UNITS = 12  # bottlenecks, from which on they start as their shortcuts; a few learn faster as published

LITTLE = Affine(rotate=10, shift=0.1, zoom=0.1)  # what digits and letters bear

QUICK = Recipe(
    "quick",
    "a short run for small sets: SGD with momentum, warm-up and cosine",
    epochs=MOST_EPOCHS,
    batch_size=64,
    optimizer=SGD(0.05, 0.9, nesterov=True),
    schedule=Cosine(),
    warm_up=LinearWarmUp(2),
    decay=5e-4,
    undecayed=BIASES + NORMS,
)
FINETUNE = Recipe(
    "finetune",
    "from weights to other images: the head first, then all layers, those near the image slowly (rates and head "
    "first after Howard & Ruder 2018, arXiv 1801.06146), batch norms as they came",
    epochs=12,
    batch_size=32,
    optimizer=SGD(0.05, 0.9, nesterov=True),
    schedule=Cosine(),
    decay=1e-4,
    undecayed=BIASES + NORMS,
    clip=1.0,
    augment=(ScaleCrop(1.0, 1.25), Flip()),
    normalise="network",
    keep="best",
    patience=4,
    tuning=Tuning(head_epochs=3, by=0.7),
)
OURS = (QUICK.name, FINETUNE.name)
TUNED_IMAGES = 12_800  # images that a run of `finetune` sees, few or many as there are


def finetune(data: DataSet) -> Recipe:
    """The fine-tuning recipe, more epochs of smaller batches the fewer images there are."""
    images = len(data.train)
    epochs = int(min(60, max(8, round(TUNED_IMAGES / images))))
    augment = FINETUNE.augment if data.mirror else (LITTLE,)
    return replace(FINETUNE.scaled(epochs), batch_size=32 if images > 500 else 16, augment=augment)


def default_name(arch: str, data: str) -> str:
    """The paper's recipe where `data` is that paper's set, else "quick"."""
    fits = fnmatch.fnmatch
    return next((recipe for archs, sets, recipe in PAPERS if fits(arch, archs) and fits(data, sets)), QUICK.name)


def quick(architecture: Architecture, data: DataSet) -> Recipe:
    """The quick recipe, fitted to the network's cost and to the data."""
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
        start="centred" if bare else "identity" if deep else "published",
        augment=(PadCrop(max(1, size // 8)), Flip()) if data.mirror else (LITTLE,),
        image_size=size,
    )


def _size(architecture: Architecture, work: float, data: DataSet) -> tuple[int, float]:
    """Side of the training images, and the work of one of them (it goes with the area).

    The native side, or for 224-pixel networks no more than the data have; halved while that costs too much.
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
    """Raises ValueError where a recipe asks a network for what it does not have."""
    if recipe.soft and architecture.head.loss is not cross_entropy:
        raise ValueError(f"{architecture.name} has a loss of its own, which knows no smoothed or mixed labels")
    if recipe.batch_size % recipe.repeats:
        raise ValueError(f"the batch size must divide by repeats={recipe.repeats}; {recipe.batch_size} came")
    if recipe.forgetting and not is_compacted(architecture):
        raise ValueError(f"{architecture.name} has no compactors to forget with: training/prune.py puts them in")
    if recipe.growing:
        try:
            architecture(input_shape=(None, None, architecture.input_shape[-1]), classes=2)
        except ValueError as error:
            raise ValueError(f"growing needs a network that takes any size: {error}") from None
    unit = getattr(architecture.row, "unit", None)
    if recipe.dropout and not hasattr(unit, "dropout"):
        raise ValueError(f"{architecture.name} has no dropout inside its units; dropout={recipe.dropout} came")


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

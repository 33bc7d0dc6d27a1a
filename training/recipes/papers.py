"""Recipes of the papers."""

from dataclasses import replace

from training.data.augment import AlternatingFlip, Flip, InceptionCrop, PadCrop, ScaleCrop
from training.data.colour import ColourJitter, PCANoise
from training.data.mix import Mixup, MixupOrCutMix
from training.data.policies import AutoAugment, RandAugment
from training.recipes.optimizers import SGD, Adam, Lamb
from training.recipes.recipe import Recipe
from training.recipes.schedules import Cosine, ExponentialSteps, FlatWarmUp, LinearWarmUp, Plateau, Steps, Triangle

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
RESNET110_CIFAR = replace(
    RESNET_CIFAR,
    name="resnet110_cifar",
    citation=f"{_HE}, section 4.2: as resnet_cifar, rate 0.01 until training error is below 80 %, "
    "which takes about 400 steps",
    warm_up=FlatWarmUp(steps=400, by=0.1),
)
RECIPES = {
    r.name: r
    for r in (
        RESNET_CIFAR,
        RESNET110_CIFAR,
        replace(
            RESNET110_CIFAR,
            name="resnet_v2_cifar",
            citation="He et al. 2016, arXiv 1603.05027, appendix: resnet_cifar with rate 0.01 for 400 steps",
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
        replace(
            RESNET_IMAGENET,
            name="googlenet_2014",
            citation="Szegedy et al. 2014, arXiv 1409.4842, section 6: 4 % less every 8 epochs, Polyak averaging, "
            "crops of 8 to 100 %; rate, batch and decay, unpublished, are those of the BVLC release",
            epochs=250,
            batch_size=32,
            optimizer=SGD(0.01, 0.9),
            schedule=ExponentialSteps(8, 0.96),
            decay=2e-4,
            augment=(InceptionCrop(), ColourJitter(), Flip()),
            ema=0.9999,
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
        replace(
            RESNET_IMAGENET,
            name="resnest_imagenet",
            citation="Zhang et al. 2020, arXiv 2004.08955, section 5: rate 0.1 for each 256 of a batch of 8,192, "
            "label smoothing, mixup, AutoAugment; without DropBlock",
            epochs=270,
            batch_size=8192,
            optimizer=SGD(3.2, 0.9, nesterov=True),
            schedule=Cosine(),
            warm_up=LinearWarmUp(5),
            no_weight_decay=BIASES + NORMS,
            augment=(InceptionCrop(), AutoAugment("imagenet"), Flip()),
            smoothing=0.1,
            mix=Mixup(0.2),
        ),
        replace(
            RESNET_IMAGENET,
            name="repvgg_imagenet",
            citation="Ding et al. 2021, arXiv 2101.03697, section 4.1 and code: cosine, no decay on biases "
            "and on the norms of the 3x3 and 1x1 branches",
            epochs=120,
            optimizer=SGD(0.1, 0.9),
            schedule=Cosine(),
            no_weight_decay=(*BIASES, "*/beta", "*_3x3_norm/gamma", "*_1x1_norm/gamma"),
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
            no_weight_decay=BIASES + NORMS,
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

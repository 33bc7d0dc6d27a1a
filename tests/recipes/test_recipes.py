"""Recipes: the papers' numbers, JSON, --set, and what quick decides."""

import fnmatch
from dataclasses import replace
from pathlib import Path

import pytest

import keras_cnns
from keras_cnns import values, zoo
from training.data import sources
from training.data.augment import Affine, Flip, PadCrop
from training.data.mix import CutMix, Mixup
from training.recipes import defaults, papers
from training.recipes import recipe as recipe_module
from training.recipes.optimizers import SGD, Adam
from training.recipes.schedules import Cosine, FlatWarmUp, Steps

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


def test_the_papers_numbers():
    he = papers.RECIPES["resnet_cifar"]
    assert (he.optimizer, he.batch_size, he.decay, he.no_weight_decay) == (SGD(0.1, 0.9), 128, 1e-4, ())
    # 64,000 steps of 128 on 50,000 images, a tenth at 32,000 and 48,000
    epoch = 50_000 // 128
    assert [round(64_000 / epoch), *(round(s / epoch) for s in (32_000, 48_000))] == [he.epochs, *he.schedule.at]
    assert he.augment == (PadCrop(4), Flip())
    assert papers.RECIPES["resnet110_cifar"].warm_up == FlatWarmUp(400, 0.1)
    assert replace(papers.RECIPES["resnet110_cifar"], name=he.name, citation=he.citation, warm_up=None) == he
    wide = papers.RECIPES["wrn_cifar"]
    assert (wide.optimizer, wide.decay, wide.epochs) == (SGD(0.1, 0.9, True), 5e-4, 200)
    assert wide.schedule == Steps((60, 120, 160), 0.2)
    imagenet = papers.RECIPES["resnet_imagenet"]
    assert (imagenet.batch_size, imagenet.decay, imagenet.schedule) == (256, 1e-4, Steps((30, 60), 0.1))


@pytest.mark.parametrize("name", sorted(papers.RECIPES))
def test_json_and_back(name):
    recipe = papers.RECIPES[name]
    assert values.from_json(values.to_json(recipe), recipe_module.PARTS) == recipe


def test_every_recipe_is_in_the_docs():
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert [n for n in (*papers.RECIPES, *defaults.OURS) if f"| `{n}` |" not in page] == []


@pytest.mark.parametrize(
    ("arch", "data", "expected"),
    [
        ("resnet20", "cifar10", "resnet_cifar"),
        ("resnet110", "cifar100", "resnet110_cifar"),
        ("resnet1202", "cifar10", "resnet110_cifar"),
        ("wrn28_10", "cifar10", "wrn_cifar"),
        ("resnet50", "imagenet2012", "resnet_imagenet"),
        ("lenet5", "mnist", "lenet_mnist"),
        ("vgg16_cifar", "cifar10", "vgg_cifar"),
        ("resnet164_v2", "cifar10", "resnet_v2_cifar"),
        ("seresnet110", "cifar100", "resnet_cifar"),
        ("resnext29_8x64d", "cifar10", "resnext_cifar"),
        ("alexnet", "imagenet2012", "alexnet_2012"),
        ("googlenet", "imagenet2012", "googlenet_2014"),
        ("seresnext50_32x4d", "imagenet2012", "se_imagenet"),
        ("repvgg_b1g4", "imagenet2012", "repvgg_imagenet"),
        ("wrn28_10", "digits", "quick"),
        ("resnet50", "photos/", "quick"),
    ],
)
def test_default_recipe(arch, data, expected):
    assert defaults.default_name(arch, data) == expected


def test_set_reaches_every_field_and_checks_it():
    base = papers.RECIPES["wrn_cifar"]
    assert base.with_settings("optimizer.rate=0.05").optimizer == SGD(0.05, 0.9, True)
    assert base.with_settings("image_size=64").image_size == 64
    assert base.with_settings("augment=none").augment == ()
    assert base.with_settings("augment=pad_crop,flip").augment == (PadCrop(), Flip())
    assert base.with_settings("augment=Flip").augment == (Flip(),)
    assert base.with_settings("schedule=cosine").schedule == Cosine()
    assert base.with_settings("optimizer=Adam").optimizer == Adam()
    assert base.with_settings("optimizer.nesterov=false").optimizer.nesterov is False
    assert base.with_settings("keep=best").keep == "best"
    assert base.with_settings("no_weight_decay=*/bias").no_weight_decay == ("*/bias",)
    assert base.with_settings("no_weight_decay=none").no_weight_decay == ()
    assert base.with_settings("mix=Mixup").mix == Mixup()
    assert base.with_settings("mix=cut_mix").with_settings("mix.alpha=0.5").mix == CutMix(0.5)
    assert base.with_settings("schedule.at=10,20").schedule.at == (10, 20)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rate=1", r"no field of Recipe 'rate'"),
        ("optimizer.rat=1", r"no field of SGD 'rat'; did you mean 'rate'\?"),
        ("epochs=many", "Recipe.epochs must be int from 1 to 65536, got 'many'"),
        ("epochs=2.5", "Recipe.epochs must be int"),
        ("dropout=2", "Recipe.dropout must be float from 0 to 1, got '2'"),
        ("keep=first", "must be 'last' or 'best'"),
        ("epochs", "--set must be field=value"),
        ("epochs.x=1", "has no field 'x'"),
    ],
)
def test_set_refuses(setting, message):
    with pytest.raises(ValueError, match=message):
        papers.RECIPES["wrn_cifar"].with_settings(setting)


def test_quick_fits_the_network(digits):
    small = defaults.quick(keras_cnns.ResNet20, digits)
    assert small.image_size == 32
    assert 15 <= small.epochs <= defaults.MOST_EPOCHS
    wide = defaults.quick(keras_cnns.WRN28_10, digits)
    assert (wide.image_size, wide.epochs) == (16, 10)
    assert small == defaults.quick(keras_cnns.ResNet20, digits)


def test_quick_suits_the_data(digits):
    assert defaults.quick(keras_cnns.ResNet20, digits).augment == (Affine(10, 0.1, 0.1),)
    photographs = replace(digits, mirror=True)
    assert Flip() in defaults.quick(keras_cnns.ResNet20, photographs).augment
    assert isinstance(defaults.quick(keras_cnns.LeNet5, digits).optimizer, Adam)
    starts = {
        a: defaults.quick(zoo.architecture(a), digits).initializer for a in ("nin_cifar", "resnet20", "resnet50")
    }
    assert starts == {"nin_cifar": "centred", "resnet20": "published", "resnet50": "identity"}


def test_lengths(digits):
    wide = zoo.architecture("wrn28_10")
    assert defaults.choose(wide, digits, "cifar10", None, 20, None).schedule.at == (6, 12, 16)
    assert defaults.choose(wide, digits, "cifar10", None, None, 0.3).epochs == 60
    with pytest.raises(ValueError, match="no recipe 'wrn'; did you mean 'wrn_cifar'"):
        defaults.check_name("wrn")
    with pytest.raises(ValueError, match="resnet20 has no dropout"):
        defaults.check_fit(keras_cnns.ResNet20, replace(defaults.QUICK, dropout=0.3))
    defaults.check_fit(keras_cnns.WRN16_4, replace(defaults.QUICK, dropout=0.3))
    with pytest.raises(ValueError, match="lenet5 has a loss of its own"):
        defaults.check_fit(keras_cnns.LeNet5, replace(defaults.QUICK, smoothing=0.1))


def test_every_network_has_a_recipe_of_a_paper_for_its_set():
    sets = {1000: "imagenet2012", 10: "cifar10"}
    for name, architecture in zoo.ARCHITECTURES.items():
        data = "mnist" if name.startswith("lenet") else sets[architecture.classes]
        recipe = papers.RECIPES[defaults.default_name(name, data)]
        defaults.check_fit(architecture, recipe)


def test_repvgg_decays_neither_biases_nor_the_norms_of_its_branches():
    small = replace(
        keras_cnns.RepVGGA0, row=replace(keras_cnns.RepVGGA0.row, depths=(2, 1, 1, 1), widths=(8, 8, 8, 8))
    )
    patterns = papers.RECIPES["repvgg_imagenet"].no_weight_decay
    paths = {w.path for w in small(input_shape=(32, 32, 3)).trainable_weights}
    left_out = {p for p in paths if any(fnmatch.fnmatch(p, pattern) for pattern in patterns)}
    kinds = {p.rpartition("/")[2] for p in left_out}
    assert kinds == {"bias", "beta", "gamma"}
    decayed = paths - left_out
    assert all(p.endswith(("/kernel", "_identity_norm/gamma")) for p in decayed)
    assert any(p.endswith("_identity_norm/gamma") for p in decayed)

"""From the arguments of `detect.py fit` to what a run of a detector is made of."""

from dataclasses import replace

from keras_cnns import __version__
from keras_cnns.detection.weights import suited
from keras_cnns.values import with_settings
from training.detection import detectors, recipe, sources
from training.detection.config import PARTS, DetectionConfig
from training.detection.task import DetectionTask
from training.engine.backends import backend
from training.trainer.run import RunSpec


def prepare(args) -> RunSpec:
    """The run that the arguments of `detect.py fit` ask for.

    Raises:
        ValueError: a bad argument.
    """
    if backend.name != "tensorflow":
        raise ValueError(f"detectors train on TensorFlow, got KERAS_BACKEND={backend.name}")
    name = recipe.named(args.recipe, args.data)
    chosen = backend.choose(args.replicas, args.precision, args.xla, args.deterministic)
    detector = detectors.choose(args.backbone, small=name == recipe.QUICK.name)
    bare = replace(detector, norms="live", frozen_stages=0)  # without weights there is nothing to freeze
    detector = suited(detector, args.weights) if args.weights else bare
    prefix = "detector."
    own = [s for s in args.set if s.startswith(prefix)]
    detector = with_settings(detector, (s.removeprefix(prefix) for s in own), PARTS)
    data = sources.load(args.data, args.images)
    plan = recipe.choose(name, len(data.train), args.epochs)
    if args.batch_size:
        plan = replace(plan, batch_size=args.batch_size)
    plan = plan.with_settings(*(s for s in args.set if s not in own))
    chosen.check_batch(plan.batch_size)
    config = DetectionConfig(
        detector=detector,
        recipe=plan,
        data=args.data,
        classes=data.classes,
        categories=data.categories,
        seed=args.seed or 0,
        replicas=chosen.replicas,
        precision=chosen.precision,
        xla="on" if chosen.xla else "off",
        weights=args.weights,
        images=args.images and str(args.images),
        version=__version__,
    )
    boxes = [int((getattr(data, s).labels >= 0).sum()) for s in ("train", "val", "test")]
    notes = [
        f"data: {data.origin}",
        *(f"data: {note}" for note in data.notes),
        f"data: {len(data.train)} train, {len(data.val)} val, {len(data.test)} test images with "
        f"{boxes[0]:,}, {boxes[1]:,} and {boxes[2]:,} boxes of {len(data.classes)} classes",
        f"recipe: {plan.name}, {plan.epochs} epochs, batch size {plan.batch_size} ({plan.citation})",
        f"batch norms: {detector.norms}" + ("" if args.weights else ", since there are no weights to begin with"),
        chosen.why,
    ]
    return RunSpec(DetectionTask, config, data, chosen, tuple(notes))

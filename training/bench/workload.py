"""The workload that one process of a benchmark measures; its JSON is passed on the command line."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

# What can be measured: one unit of work.
MODES = {
    "train": "a training step: forward, backward, momentum update",
    "infer": "a compiled forward pass",
    "fused": "a compiled forward pass of the inference form (norms folded, branches merged)",
    "eager": "a forward pass without compilation",
    "predict": "model.predict on one batch",
    "saved_model": "the SavedModel of the inference form",
    "tflite": "the inference form in LiteRT, float32, XNNPACK",
    "dense": "VGG's dense test: a 384-pixel image in one pass, as one convolution network",
    "crops": "the same image as 36 crops of 224 pixels",
    "input": "photographs: decode, random resized crop, flip",
    "build": "building the model",
    "first_step": "tracing and the first training step",
    "matmul": "a 2,048 x 2,048 matrix product, the machine's peak",
}
KERAS = ("ours", "keras_applications", "stock")
TORCH = ("torch", "torch_compiled")
# The engines that can be measured in each mode.
ENGINES_OF_MODE = {
    **dict.fromkeys(("train", "infer"), KERAS + TORCH),
    "fused": ("ours", *TORCH),
    **dict.fromkeys(("eager", "predict", "build", "first_step"), KERAS),
    **dict.fromkeys(("saved_model", "tflite", "dense", "crops", "matmul"), ("ours",)),
    "input": ("ours", "decoder"),
}
ENGINES = {
    "ours": "keras_cnns",
    "keras_applications": "the same network of keras.applications",
    "stock": "the same network from stock Keras layers",
    "torch": "the same network of torchvision or timm, channels last",
    "torch_compiled": "the same under torch.compile",
    "decoder": "the JPEG decoder alone",
}


@dataclass(frozen=True)
class Workload:
    """One engine in one mode on one network.

    Attributes:
        engine: a name of `ENGINES`.
        arch: network of the zoo.
        mode: a name of `MODES`.
        batch, size: images at a time, and their side in pixels.
        precision: "float32", "bfloat16" or "float16" (mixed: variables stay float32).
        xla: whether the step is compiled by XLA.
    """

    engine: str
    arch: str
    mode: str
    batch: int = 16
    size: int = 224
    precision: str = "float32"
    xla: bool = False

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Workload":
        """From the JSON of `to_json`."""
        return Workload(**json.loads(text))


class Unavailable(Exception):
    """The engine cannot run this workload; the message says why."""


def time_calls(call: Callable, wait: Callable = lambda result: None) -> Callable[[int], float]:
    """A function n -> seconds of n calls; `wait` waits for the last result where calls are asynchronous."""

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            result = call()
        wait(result)
        return time.perf_counter() - began

    return run

"""`DetectionConfig`: everything needed to repeat a detector's run; its `config.json`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from keras_cnns import zoo
from keras_cnns.detection.layers import PARTS as LAYER_PARTS
from keras_cnns.detection.network import Built, FasterRCNN
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.values import Count, Range
from training.detection import recipe
from training.detection.recipe import DetectionRecipe
from training.run_folder.config import RunConfig


@dataclass(frozen=True)
class DetectionConfig(RunConfig):
    """One training run of a detector; fields mean what they do in `training.classification.config.Config`.

    Attributes:
        weights: of the backbone or of the whole detector, as given; None without.
        images: folder of the images of a JSON file, as given.
        categories: category ids of the classes in that file.
    """

    detector: FasterRCNN
    recipe: DetectionRecipe
    data: str
    classes: tuple[str, ...]
    seed: Annotated[int, Range(0, 2**31 - 1)]
    replicas: Count
    precision: Literal["float32", "bfloat16", "float16"]
    xla: Literal["on", "off"]
    weights: str | None = None
    images: str | None = None
    categories: tuple[int, ...] = ()
    engine: Literal["tensorflow"] = "tensorflow"
    dry: bool = False
    version: str = ""

    @property
    def label(self) -> str:
        """What a run's folder is named after."""
        return self.detector.name

    @property
    def preprocessing(self) -> Preprocessing:
        """From 0-255 pixels to what the network is fed."""
        return self.detector.backbone.preprocessing

    @property
    def canvas(self) -> tuple[int | None, int | None, int]:
        """Shape of the images of a batch; None where landscape and portrait batches differ."""
        fit = self.recipe.resize
        return (*(fit.canvas(False) if fit.shorter == fit.longer else (None, None)), 3)

    def build(self) -> Built:
        """The network, initialised."""
        return self.detector.build(len(self.classes), self.canvas)


PARTS = DetectionConfig.PARTS = {
    **zoo.PARTS,
    **LAYER_PARTS,
    **recipe.PARTS,
    "FasterRCNN": FasterRCNN,
    "DetectionConfig": DetectionConfig,
}

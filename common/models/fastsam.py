"""FastSAM with ultralytics: boxes of everything in a picture (papers.md 1.5).

Ultralytics is AGPL-3.0 and an extra of its own. Whoever can not use it takes `common.models.sam` in its place.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, PositiveInt

from common.models.loading import loading
from common.models.micro_batches import micro_batches, trial_size
from common.models.segments import boxes_inside
from common.models.torch_device import device_of, dtype_of
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings
from schemas.geometry import Box

# Ultralytics reads these once, while it is imported, and acts on them at once: it looks two hosts up to see whether it is
# online, which telemetry, downloads and pip need, and it writes a settings file into the home folder. Nobody reads that
# file again, so its folder lives only as long as the import. Without SAFE_LOAD its loader unpickles whatever a file asks for.
# It also changes how numpy prints numbers, which is undone here.
os.environ["YOLO_OFFLINE"] = "1"
os.environ["YOLO_AUTOINSTALL"] = "0"
os.environ["YOLO_VERBOSE"] = "0"
os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
with TemporaryDirectory(prefix="imgdiff-") as _folder, np.printoptions():
    os.environ["YOLO_CONFIG_DIR"] = _folder
    from ultralytics.models.fastsam import FastSAMPredictor
    from ultralytics.nn.autobackend import AutoBackend
    from ultralytics.nn.tasks import SegmentationModel, torch_safe_load
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.checks import check_yolov5u_filename

    # The dictionary's own method, as that of the settings writes their file.
    dict.update(SETTINGS, sync=False)

_STRIDE = 32
"""Pictures are padded to a multiple of this many pixels, the coarsest of the model's grids."""

Share = Annotated[float, Field(ge=0, le=1)]


class FastSamSegmenter:
    """Segments pictures with FastSAM, boxes by falling confidence: those of `FastSAM.predict` on each picture alone.

    The defaults are the published values (papers.md 1.5). The masks are made too, at the picture's own resolution, as a
    box without one is dropped; they are thrown away picture by picture.
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        *,
        file: str = "FastSAM-x.pt",
        image_size: Annotated[int, Field(ge=_STRIDE, multiple_of=_STRIDE)] = 1024,
        confidence: Share = 0.05,
        iou: Share = 0.5,
        swap_channels: bool = False,
        images_per_call: PositiveInt = 8,
    ) -> None:
        """`file`: the checkpoint within the weights. `image_size`: of the longer side, in pixels, for the network.
        `confidence`: boxes above it are kept. `iou`: of two boxes that overlap more, the less confident one is dropped.
        `swap_channels`: show the network red as blue and blue as red, as the authors' code does by handing RGB arrays to
        a library that takes them for BGR (papers.md 1.5).

        Raises ConfigurationError where the weights are missing, broken, of another architecture, or ask for more than
        the classes of a model when they are unpickled.
        """
        self.identity = weights.identity("Segmenter", compute.dtype, f"{images_per_call} per call")
        self._image_size = image_size
        self._swap_channels = swap_channels
        self._images_per_call = images_per_call
        device = device_of(compute)
        model = _load(weights, file)
        self._predictor = _Predictor(
            dtype_of(compute),
            {
                "task": "segment",
                "mode": "predict",
                "conf": confidence,
                "iou": iou,
                "imgsz": image_size,
                "retina_masks": True,
                "rect": True,
                "save": False,
                "verbose": False,
            },
        )
        with loading(weights):
            # Not by `setup_model`: that one sets the number of threads and the current device of the whole process.
            self._predictor.model = AutoBackend(model, device=device, fuse=True, verbose=False).eval()
        _decode_in_float32(self._predictor.model.model.model[-1])
        self._predictor.device = device

    def warm_up(self) -> None:
        """One full call of square pictures on a GPU."""
        count = trial_size(self._images_per_call, self._predictor.device)
        self.segment([Image.new("RGB", (self._image_size, self._image_size))] * count)

    def segment(self, images: Sequence[Image.Image]) -> Sequence[Sequence[Box]]:
        """For each picture its boxes. Pictures go through the network with others of their size, which need the same
        padding: so a picture's boxes do not depend on what shares its batch."""
        by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            by_size[image.size].append(index)
        found: dict[int, list[Box]] = {}
        for size, indices in by_size.items():
            for part in micro_batches(indices, self._images_per_call):
                results = self._predictor([self._pixels(images[index]) for index in part])
                for index, result in zip(part, results, strict=True):
                    found[index] = boxes_inside(result.boxes.xyxy.tolist(), size)
        return [found[index] for index in range(len(images))]

    def _pixels(self, image: Image.Image) -> Any:
        """Shape (height, width, 3), uint8, in the order blue, green, red that ultralytics expects of an array."""
        rgb = np.asarray(image)
        return rgb if self._swap_channels else np.ascontiguousarray(rgb[..., ::-1])


class _Predictor(FastSAMPredictor):
    """FastSAM's predictor, but for numbers of 16 bits, and for what follows the network.

    In 16 bits convolutions alone are computed so, not the arithmetic of corners: a corner at 1,000 pixels would be off
    by up to a quarter of a pixel in float16 and by two in bfloat16.
    """

    def __init__(self, dtype: torch.dtype, overrides: dict[str, Any]) -> None:
        super().__init__(overrides=overrides)
        self._dtype = dtype

    def inference(self, im: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(im.device.type, self._dtype, enabled=self._dtype is not torch.float32):
            return super().inference(im, *args, **kwargs)

    def postprocess(self, preds: Any, img: torch.Tensor, orig_imgs: list[Any]) -> list[Any]:
        """One picture after the other: all masks of a batch would take gigabytes, and the suppression, which has a time
        limit for all pictures of its call, gives no boxes for those that it does not come to."""
        boxes, prototypes = (each.float() for each in preds[0])
        results = []
        for index, pixels in enumerate(orig_imgs):
            one = slice(index, index + 1)
            (result,) = super().postprocess([(boxes[one], prototypes[one])], img[one], [pixels])
            result.masks = None
            results.append(result)
        return results


def _decode_in_float32(head: Any) -> None:
    """Have a model's last layer leave the autocast of its convolutions before it makes corners of what they say."""
    decode = head._inference

    def exact(said: dict[str, Any]) -> Any:
        with torch.autocast(said["boxes"].device.type, enabled=False):
            return decode(
                {
                    name: [each.float() for each in value] if isinstance(value, list) else value.float()
                    for name, value in said.items()
                }
            )

    head._inference = exact


def _load(weights: Weights, file: str) -> Any:
    path = weights.file(file)
    _check_name(weights, path)
    with loading(weights):
        try:
            checkpoint, _ = torch_safe_load(path, safe_only=True)
        except (TypeError, AttributeError) as error:
            # In place of its own advice to take another model. What a pickle asks for is the cause.
            if isinstance(error.__cause__, UnpicklingError):
                raise error.__cause__ from None
            raise ConfigurationError(
                f"weights of {weights.id}: {path} is empty, damaged, or no checkpoint of ultralytics"
            ) from error
        model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, SegmentationModel):
        raise ConfigurationError(
            f"weights of {weights.id}: {path} holds a {type(model).__name__}, expected a SegmentationModel of ultralytics"
        )
    return model.float()


def _check_name(weights: Weights, path: Path) -> None:
    """Ultralytics edits the names of files before it looks for them, and asks a server for what it then does not find."""
    looked_for = Path(check_yolov5u_filename(str(path).strip().replace("'", ""), verbose=False))
    if looked_for != path:
        raise ConfigurationError(
            f"weights of {weights.id}: {path}, ultralytics would look for {looked_for}: expected a path without quotes, "
            "and no name of a YOLOv3 or YOLOv5"
        )

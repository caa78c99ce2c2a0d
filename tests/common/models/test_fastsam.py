"""FastSAM in the hands of a worker: options, mixed batches, broken and malicious files, and what ultralytics would do
behind one's back."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.models import registry
from common.models.fastsam import FastSamSegmenter, _Predictor
from common.models.torch_device import dtype_of
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from schemas.geometry import Box
from tests.tiny import fastsam as tiny
from tests.tiny.pictures import patches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fastsam")
    tiny.save(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> FastSamSegmenter:
    return built(folder)


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of the weights to break."""
    shutil.copytree(folder, tmp_path / "own")
    return tmp_path / "own"


def built(folder: Path, compute: ComputeSettings | None = None, **options: Any) -> FastSamSegmenter:
    return FastSamSegmenter(
        Weights("owner/fastsam", "abc", folder),
        compute or ComputeSettings(),
        **{"image_size": tiny.IMAGE_SIZE, **options},
    )


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        built(folder, **options)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith("weights of owner/fastsam")
    return line


def close(found: Sequence[Box], expected: Sequence[Box]) -> bool:
    """Whether two lists of boxes are the same but for how convolutions round."""
    return len(found) == len(expected) and np.allclose(
        [(box.x0, box.y0, box.x1, box.y1) for box in found],
        [(box.x0, box.y0, box.x1, box.y1) for box in expected],
        atol=1e-2,
    )


def test_boxes_come_in_the_order_of_the_pictures_and_lie_inside_them(segmenter: FastSamSegmenter) -> None:
    pictures = [
        patches(seed, size) for seed, size in enumerate([(128, 96), (90, 200), (128, 96), (33, 500), (128, 96)])
    ]
    found = segmenter.segment(pictures)
    for picture, boxes in zip(pictures, found, strict=True):
        assert len(boxes) > 10
        assert {(box.width, box.height) for box in boxes} == {picture.size}
        (alone,) = segmenter.segment([picture])
        assert close(boxes, alone)
    assert not close(found[0], found[2])


def test_no_pictures_and_pictures_without_segments(segmenter: FastSamSegmenter, folder: Path) -> None:
    assert segmenter.segment([]) == []
    sure = built(folder, confidence=1.0)
    assert sure.segment([patches(0, (128, 96)), patches(1, (64, 64))]) == [[], []]


def test_the_same_call_gives_the_same_boxes(segmenter: FastSamSegmenter, folder: Path) -> None:
    pictures = [patches(seed, (128, 96)) for seed in range(3)]
    assert segmenter.segment(pictures) == segmenter.segment(pictures) == built(folder).segment(pictures)


def test_swapped_channels_show_red_as_blue(segmenter: FastSamSegmenter, folder: Path) -> None:
    picture = patches(0, (128, 96))
    blue = Image.merge("RGB", picture.split()[::-1])
    swapping = built(folder, swap_channels=True)
    assert swapping.segment([picture]) == segmenter.segment([blue])
    assert not close(swapping.segment([picture])[0], segmenter.segment([picture])[0])


def test_an_orientation_beside_the_pixels_turns_nothing(segmenter: FastSamSegmenter) -> None:
    turned = patches(0, (128, 96))
    turned.getexif()[0x0112] = 6
    assert segmenter.segment([turned]) == segmenter.segment([patches(0, (128, 96))])


def test_a_slow_machine_gives_all_pictures_their_boxes(
    segmenter: FastSamSegmenter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics' suppression has a time limit per call, and gives the pictures after it none."""
    from ultralytics import FastSAM

    pictures = [patches(seed, (128, 96)) for seed in range(3)]
    expected = segmenter.segment(pictures)
    monkeypatch.setattr("ultralytics.utils.nms.time", SimpleNamespace(time=count(step=1000).__next__))
    threads = torch.get_num_threads()
    theirs = FastSAM(folder / tiny.FILE).predict(
        pictures, conf=0.05, iou=0.5, imgsz=tiny.IMAGE_SIZE, device="cpu", verbose=False
    )
    torch.set_num_threads(threads)
    assert [len(result.boxes) > 0 for result in theirs] == [True, False, False]
    assert segmenter.segment(pictures) == expected


@pytest.mark.parametrize(("dtype", "least"), [("float16", 0.9), ("bfloat16", 0.55)])
def test_sixteen_bits_find_the_same_things(segmenter: FastSamSegmenter, folder: Path, dtype: Any, least: float) -> None:
    """Random weights magnify what 8 bits of a bfloat16 leave of them."""
    half = built(folder, ComputeSettings(dtype=dtype))
    assert half.identity.variant == f"{dtype}, 8 per call"
    pictures = [patches(seed, (128, 96)) for seed in range(2)]
    for exact, found, other in zip(
        segmenter.segment(pictures), half.segment(pictures), half.segment(pictures[::-1]), strict=True
    ):
        assert exact != found
        assert shared(exact, found) > least
        assert shared(exact, other) < 0.3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_corners_are_no_numbers_of_sixteen_bits(folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    seen: list[torch.Tensor] = []
    inference = _Predictor.inference

    def watched(predictor: _Predictor, *args: Any) -> Any:
        preds = inference(predictor, *args)
        seen.append(preds[0][0][:, :4])
        return preds

    monkeypatch.setattr(_Predictor, "inference", watched)
    built(folder, ComputeSettings(dtype=dtype)).segment([patches(0, (128, 96))])
    (corners,) = seen
    assert corners.dtype == torch.float32
    assert (corners != corners.to(dtype_of(ComputeSettings(dtype=dtype))).float()).float().mean() > 0.5


def shared(boxes: Sequence[Box], others: Sequence[Box]) -> float:
    """The share of boxes that are among the others, too, but for a few pixels."""
    return float(np.mean([max(box.iou(other) for other in others) > 0.9 for box in boxes]))


def test_who_it_is(segmenter: FastSamSegmenter) -> None:
    identity = segmenter.identity
    assert (identity.role, identity.id, identity.revision) == ("Segmenter", "owner/fastsam", "abc")
    assert identity.variant == "float32, 8 per call"


def from_settings(folder: Path, *flags: str) -> Any:
    models = "models.segmenter"
    settings = [
        f"{models}.adapter=fastsam",
        f"{models}.weights.id=owner/fastsam",
        f"{models}.weights.path={folder}",
        f"{models}.options.image_size={tiny.IMAGE_SIZE}",
        f"{models}.options.images_per_call=2",
        *flags,
    ]
    return registry.segmenter(load_layers({}, flags=settings).common())


def test_the_registry_builds_and_warms_it_up(segmenter: FastSamSegmenter, folder: Path) -> None:
    from_registry = from_settings(folder, "models.segmenter.options.swap_channels=true")
    picture = patches(0, (128, 96))
    assert from_registry.segment([picture]) == built(folder, swap_channels=True).segment([picture])


@pytest.mark.parametrize(
    "wrong", ["image_size=1000", "image_size=0", "confidence=1.5", "iou=-0.1", "images_per_call=0", "imgsz=1024"]
)
def test_options_out_of_range_are_refused(folder: Path, wrong: str) -> None:
    name, _, _ = wrong.partition("=")
    with pytest.raises(ConfigurationError, match=rf"^setting `models\.segmenter\.options`: .*`{name}`"):
        from_settings(folder, f"models.segmenter.options.{wrong}")


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`compute\.device`: found 'cuda:63'"):
        built(folder, ComputeSettings(device="cuda:63"))


def test_a_missing_file_is_refused_before_ultralytics_asks_a_server(folder: Path) -> None:
    assert refusal(folder, file="FastSAM-s.pt").endswith(f"{folder / 'FastSAM-s.pt'} is missing")


@pytest.mark.parametrize("name", ["it's.pt", "yolov5n.pt"])
def test_a_name_that_ultralytics_reads_as_another_is_refused(
    own: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / tiny.FILE).rename(own / name)
    monkeypatch.chdir(own)
    assert "ultralytics would look for" in refusal(Path(), file=name)


@pytest.mark.parametrize("left", [0, 100, 1_000_000])
def test_a_truncated_file_is_refused(own: Path, left: int) -> None:
    path = own / tiny.FILE
    assert path.stat().st_size > left
    os.truncate(path, left)
    line = refusal(own)
    assert line.endswith(f"{path} is empty, damaged, or no checkpoint of ultralytics")


class Malicious:
    """Unpickled without limits it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def as_archive(content: Any, path: Path) -> None:
    torch.save(content, path)


def as_older_archive(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_bare_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize(
    ("write", "hidden"), [(as_archive, False), (as_archive, True), (as_older_archive, True), (as_bare_pickle, False)]
)
def test_a_malicious_pickle_is_refused_and_does_nothing(own: Path, tmp_path: Path, write: Any, hidden: bool) -> None:
    """`hidden`: beside a model that is as it should be."""
    target, path = tmp_path / "target", own / tiny.FILE
    checkpoint = torch.load(path, weights_only=False) if hidden else {}
    write({**checkpoint, "date": Malicious(target)}, path)
    line = refusal(own)
    assert "refused" in line
    # Else it is refused for something before it, such as its version.
    assert "posix.mkdir" in line or write is not as_archive
    assert not target.exists()
    if write is as_bare_pickle:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists(), "the payload does not work, so its silence proves nothing"


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    for model in (
        DetectionModel("yolov8n.yaml", verbose=False),
        ClassificationModel("yolov8n-cls.yaml", verbose=False),
    ):
        torch.save({"model": model, "ema": None, "train_args": {}}, tmp_path / tiny.FILE)
        assert refusal(tmp_path).endswith(
            f"{tiny.FILE} holds a {type(model).__name__}, expected a SegmentationModel of ultralytics"
        )
    torch.save(model.state_dict(), tmp_path / tiny.FILE)
    assert "holds a NoneType" in refusal(tmp_path)
    torch.save([1, 2], tmp_path / tiny.FILE)
    assert "no checkpoint of ultralytics" in refusal(tmp_path)


_WATCHED = """
import json, os, sys

import numpy as np
import torch

seen = {"network": [], "written": [], "opened": []}

def watch(event, arguments):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        seen["network"].append(event)
        raise OSError("no network here")
    if event == "open":
        path, mode, flags = arguments
        seen["opened"].append(str(path))
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen["written"].append(str(path))

threads, printed = torch.get_num_threads(), str(np.array([0.123456789]))
sys.addaudithook(watch)
if sys.argv[1] == "plain":
    from ultralytics import FastSAM
else:
    from pathlib import Path
    from common.models.fastsam import FastSamSegmenter
    from common.models.weights import Weights
    from common.settings import ComputeSettings
    from tests.tiny.pictures import patches

    pictures = [patches(0, (128, 96)), patches(1, (64, 80))]
    segmenter = FastSamSegmenter(Weights("owner/fastsam", "main", Path(sys.argv[2])), ComputeSettings(), image_size=256)
    first = segmenter.segment(pictures)
    seen["opened"].clear()
    assert segmenter.segment(pictures) == first and len(first[0]) > 10
    assert (torch.get_num_threads(), str(np.array([0.123456789]))) == (threads, printed)
    from ultralytics.utils import ONLINE, SETTINGS
    from ultralytics.utils.events import events
    seen["telemetry"] = ONLINE or SETTINGS["sync"] or events.enabled
print(json.dumps(seen))
"""


def watched(how: str, folder: Path, tmp_path: Path) -> tuple[Any, set[str]]:
    """What a process did that used ultralytics `plain` or through our adapter, and the files it left behind."""
    places = {name: tmp_path / name for name in ("home", "temporary", "cwd")}
    for place in places.values():
        place.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_", "ULTRALYTICS_"))}
    environment |= {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "PYTHONPATH": os.getcwd(),
        "OMP_NUM_THREADS": "2",
    }
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, how, str(folder)],
        cwd=places["cwd"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    return json.loads(done.stdout.splitlines()[-1]), left


def test_nothing_is_asked_of_the_network_or_written_home(folder: Path, tmp_path: Path) -> None:
    seen, left = watched("adapter", folder, tmp_path)
    assert seen["network"] == []
    assert seen["telemetry"] is False
    assert left == set()
    assert seen["opened"] == [], "a call opens no file: pictures are decoded already, and nothing is stored"
    # The settings file of the import, whose folder is gone by now.
    assert [Path(path).name for path in seen["written"] if path != "/dev/null"] == ["settings.json"] * 2


@pytest.mark.long
def test_the_watch_sees_what_ultralytics_does_by_itself(folder: Path, tmp_path: Path) -> None:
    seen, left = watched("plain", folder, tmp_path)
    assert "socket.getaddrinfo" in seen["network"]
    assert left == {"home/.config/Ultralytics/settings.json"}

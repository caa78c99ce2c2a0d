"""What the models' work costs: each stage over the real adapters against the same work done the published way.

Both sides load the same checkpoints of random weights and work on the same samples, each in a process of its own. A first
pass is counted: forward passes, pictures through vision towers, decodes, files. Later passes, over samples that nobody has
seen, are timed. A sample is a caption in `edits`, and a pair with all its boxes behind it.

    python -m benchmarks.models --size tiny                  a few minutes on a CPU
    python -m benchmarks.models --size full --device cuda    the real architectures: 16 GB of disk, 48 GB on the GPU
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.scales import SCALES, Scale

FAMILIES: Mapping[str, Sequence[str]] = {
    "edits": ("editor",),
    "pairs": ("sdxl",),
    "boxes": ("clip", "fastsam", "blip"),
    "region-captions": ("clip", "blip", "llava"),
    "qa": ("llava",),
}
"""By stage: the checkpoints that it needs. In this order each is written once and then removed."""

STAGES = tuple(FAMILIES)
SIDES = ("streamed", "published")


@dataclass(frozen=True)
class Figures:
    """One side's figures for one stage; all but rate, memory and `networks` per sample.

    `storing_ms` is the part of a sample's time that encodes and stores the pictures that leave the stage. Workers do that
    in threads of their own.
    `networks` has calls, rows and, for language models, places by network. `peak_mb` is the process's largest resident
    set on a CPU; on a GPU what torch held at most, `loaded_mb` of it weights.
    """

    rate: float
    storing_ms: float
    calls: float
    encodes: float
    llava_encodes: float
    blip_encodes: float
    places: float
    decodes: float
    temporary_files: float
    stored_files: float
    peak_mb: float
    loaded_mb: float
    networks: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Bound:
    """A bound on the work of our side."""

    says: str
    stage: str
    asked: float
    found: float

    @property
    def holds(self) -> bool:
        return self.found == self.asked


Found = Mapping[str, Mapping[str, Figures]]
"""By stage and side."""


@click.command()
@click.option("--size", type=click.Choice(list(SCALES)), default="tiny", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, help="One of them; may be repeated.")
@click.option("--runs", default=3, show_default=True, help="Timed passes per side.")
@click.option("--folder", type=click.Path(path_type=Path), help="For the checkpoints, in place of a temporary one.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--child", hidden=True)
def main(
    *,
    size: str,
    device: str,
    stages: tuple[str, ...],
    runs: int,
    folder: Path | None,
    as_json: bool,
    child: str | None,
) -> None:
    """Compare the stages with the published way."""
    if child is not None:
        _be_child(**json.loads(child))
        return
    scale = SCALES[size]
    found = dict(_measured(scale, device, [s for s in STAGES if not stages or s in stages], runs, folder))
    bounds = _bounds(found)
    if as_json:
        click.echo(json.dumps(_as_json(scale, device, runs, found, bounds), indent=2))
    else:
        _print(found, bounds)
    if not all(bound.holds for bound in bounds):
        sys.exit(1)


def _measured(
    scale: Scale, device: str, stages: Sequence[str], runs: int, folder: Path | None
) -> Iterator[tuple[str, Mapping[str, Figures]]]:
    with _folder(folder) as home:
        for place, stage in enumerate(stages):
            for family in FAMILIES[stage]:
                if not (home / family).is_dir():
                    click.echo(f"{stage}: writing {family}", err=True)
                    _child(
                        {"does": "write", "family": family, "scale": scale.name, "folder": str(home), "device": device}
                    )
            sides = {}
            for side in SIDES:
                click.echo(f"{stage}: {side}", err=True)
                work = {"does": "measure", "stage": stage, "side": side, "scale": scale.name, "runs": runs}
                sides[side] = Figures(**_child({**work, "folder": str(home), "device": device}))
            yield stage, sides
            if folder is None:
                needed = {family for later in stages[place + 1 :] for family in FAMILIES[later]}
                for family in set(FAMILIES[stage]) - needed:
                    shutil.rmtree(home / family)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="imgdiff-bench-") as temporary:
        yield Path(temporary)


def _child(work: Mapping[str, Any]) -> Any:
    """What a process of its own answers: memory is a process's, and a GPU's comes back with its end."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        # One thread, for figures that compare; a GPU is not fed any slower by it.
        environ = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
        command = [sys.executable, "-m", "benchmarks.models", "--child", json.dumps({**work, "answer": str(answer)})]
        ended = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            raise click.ClickException(f"{dict(work)} failed:\n{ended.stdout.decode(errors='replace')[-4000:]}")
        return json.loads(answer.read_text())


def _be_child(does: str, scale: str, folder: str, device: str, answer: str, **work: Any) -> None:
    if does == "write":
        from benchmarks.checkpoints import write

        write(work["family"], SCALES[scale], Path(folder) / work["family"], device)
        result: Any = None
    else:
        with tempfile.TemporaryDirectory() as home:
            result = asdict(measure(SCALES[scale], device, Path(folder), Path(home), **work))
    Path(answer).write_text(json.dumps(result))


def measure(scale: Scale, device: str, folder: Path, home: Path, *, stage: str, side: str, runs: int) -> Figures:
    """One side of one stage, here and now. `folder` has the checkpoints, `home` is for pictures and results."""
    from benchmarks import published, streamed
    from benchmarks.material import Material
    from benchmarks.work import counted

    material = Material(home, scale.side)
    loader = {"streamed": streamed, "published": published}[side]
    run = loader.load(stage, folder, scale, scale.compute(device), material)
    memory = _Memory(device)
    samples = material.samples(0, scale.samples)
    with counted() as work:
        run(samples)
    seconds = []
    material.storing_s = 0.0
    for number in range(1, runs + 1):
        samples = material.samples(number * scale.samples, scale.samples)
        memory.settle()
        started = time.perf_counter()
        run(samples)
        memory.settle()
        seconds.append(time.perf_counter() - started)
    count = scale.samples
    outside = len(work.outside(material.results))
    return Figures(
        rate=count / statistics.median(seconds),
        storing_ms=material.storing_s / (count * runs) * 1e3,
        calls=work.calls / count,
        encodes=work.encodes / count,
        llava_encodes=work.llava_encodes / count,
        blip_encodes=work.of("blip_vision").rows / count,
        places=work.of("language").places / count,
        decodes=work.decodes / count,
        temporary_files=outside / count,
        stored_files=(len(work.written) - outside) / count,
        peak_mb=memory.peak_mb,
        loaded_mb=memory.loaded_mb,
        networks={name: asdict(network) for name, network in work.networks.items()},
    )


class _Memory:
    """What the models take, and the most that the work takes with them."""

    def __init__(self, device: str) -> None:
        import torch

        self._cuda = torch.cuda if device.startswith("cuda") else None
        self._device = device
        if self._cuda is not None:
            self._cuda.synchronize(device)
            self._cuda.reset_peak_memory_stats(device)
        self.loaded_mb = _resident_mb() if self._cuda is None else self._cuda.memory_allocated(device) / 2**20

    def settle(self) -> None:
        """Wait for the device."""
        if self._cuda is not None:
            self._cuda.synchronize(self._device)

    @property
    def peak_mb(self) -> float:
        if self._cuda is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return float(self._cuda.max_memory_allocated(self._device) / 2**20)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _bounds(found: Found) -> list[Bound]:
    """What our side has to keep to."""
    from benchmarks.material import BOXES

    asked = [(f"{stage}: temporary files", stage, "temporary_files", 0.0) for stage in STAGES]
    asked += [
        (f"{stage}: decodes of the two pictures", stage, "decodes", 2.0) for stage in ("boxes", "region-captions", "qa")
    ]
    asked += [
        ("boxes: BLIP vision encodes, two crops at each place", "boxes", "blip_encodes", 4.0 * BOXES),
        ("region-captions: LLaVA vision encodes", "region-captions", "llava_encodes", 2.0),
    ]
    return [
        Bound(says, stage, value, getattr(found[stage]["streamed"], figure))
        for says, stage, figure, value in asked
        if stage in found
    ]


_COLUMNS: Mapping[str, str] = {
    "rate": "samples/s",
    "storing_ms": "storing ms",
    "calls": "calls",
    "encodes": "encodes",
    "places": "LM places",
    "decodes": "decodes",
    "temporary_files": "temp. files",
    "stored_files": "stored",
    "peak_mb": "peak MB",
}


def _print(found: Found, bounds: Sequence[Bound]) -> None:
    click.echo(f"{'':17}{'':11}" + "".join(f"{title:>12}" for title in _COLUMNS.values()))
    for stage, sides in found.items():
        for side, figures in sides.items():
            row = "".join(f"{getattr(figures, name):12,.2f}" for name in _COLUMNS)
            click.echo(f"{stage:17}{side:11}{row}")
        row = "".join(f"{_shown(ratio):>12}" for ratio in _ratios(sides).values())
        click.echo(f"{'':17}{'ratio':11}{row}\n")
    click.echo(
        "All but samples/s and peak MB are per sample; the ratio is the published way's figure over ours, for the"
    )
    click.echo("rate ours over the published way's. `calls` are forward passes of all networks, `encodes` pictures")
    click.echo("through vision towers, `LM places` tokens read by language models, padding included.\n")
    for bound in bounds:
        click.echo(
            f"{'ok  ' if bound.holds else 'FAIL'} {bound.says}: {bound.found:g} per sample, asked {bound.asked:g}"
        )


def _ratios(sides: Mapping[str, Figures]) -> dict[str, float | None]:
    """By how much our side does better; None where it does nothing at all."""
    ours, theirs = sides["streamed"], sides["published"]
    ratios: dict[str, float | None] = {"rate": ours.rate / theirs.rate}
    for name in _COLUMNS:
        if name != "rate":
            own = getattr(ours, name)
            ratios[name] = getattr(theirs, name) / own if own else None
    return ratios


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _as_json(scale: Scale, device: str, runs: int, found: Found, bounds: Sequence[Bound]) -> dict[str, Any]:
    return {
        "scale": asdict(scale),
        "device": device,
        "runs": runs,
        "stages": {
            stage: {**{side: asdict(figures) for side, figures in sides.items()}, "ratio": _ratios(sides)}
            for stage, sides in found.items()
        },
        "bounds": [{**asdict(bound), "holds": bound.holds} for bound in bounds],
    }


if __name__ == "__main__":
    main()

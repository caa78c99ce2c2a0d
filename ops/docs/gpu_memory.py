"""`docs/gpu-memory.md`."""

from collections.abc import Iterator

from common.settings import Layers, load_layers, section_of
from ops.docs.markdown import code, page, table
from ops.docs.profiles import PUBLISHED
from ops.models.memory import JUDGE, ROLES_OF, rooms_of, weights_of
from ops.workers import spec_of

INTRODUCTION = """\
**Computed, not measured.** How much memory of its GPU each worker takes with the profiles as they are. Every worker is a
process that loads its own copy of its models, so all workers of one device have to fit into it together: BLIP is there
twice, and so is LLaVA.

Weights are the numbers of the published architectures, in the width in which they are loaded: that of `compute.dtype`, but
float32 for SDXL's decoder, CLIP's table of words and FastSAM. What is added is what settings set aside, at their defaults.
Activations, prompts and what CUDA takes per process come on top.
1 GiB is 2^30 bytes; `imgdiff models list` shows the sizes on the disk, in GB of 10^9 bytes."""

PAIRS = """\
**With several workers on one device start `pairs` last, or set its batch size.** At its start it chooses the largest batch,
of at most 16 pairs, that fits into 90 % of the memory that is free at that moment, and keeps that shape. What loads after it
takes the memory that the batch needs: then a batch fails, and `pairs` ends and has to choose again. `imgdiff up` starts all
workers at once. So run `imgdiff up --workers pairs=0` and, when the others are ready, `imgdiff worker pairs`; or set
`models.pair_generator.options.pairs_per_call`; or give it a device of its own, `imgdiff up --device pairs=cuda:1`.
That is not enough for `paper` on GPUs of 80 GB; three do:
`imgdiff up --device pairs=cuda:0 --device edits=cuda:1 --device qa=cuda:1 --device cuda:2`."""

LESS = """\
What takes less: `compute.quantization` of `8bit` or `4bit` for the language models, a smaller
`models.region_describer.options.kv_bytes` and `prefix_bytes`, a smaller `models.difference_describer.options.kv_bytes`, a
smaller `edits.batch_size`, or an endpoint in the place of a language model, which takes nothing here."""

_FITTED = "a batch that fits what is free, see below"
_UNBOUNDED = "the activations of its calls"


def gpu_memory_page() -> str:
    """A table for each published profile."""
    tables = [block for profile in PUBLISHED for block in (f"## {code(profile)}", _table(profile))]
    return page("GPU memory per worker", INTRODUCTION, *tables, "## To make it fit", PAIRS, LESS)


def _table(profile: str) -> str:
    layers = load_layers({}, profile=profile)
    return table(["Worker", "Models", "Weights", "Added while it runs"], _rows(layers))


def _rows(layers: Layers) -> Iterator[list[str]]:
    common = layers.common()
    weights = added = 0
    for worker, roles in ROLES_OF.items():
        stage = layers.section(section_of(worker), spec_of(worker).settings)
        own = sum(weights_of(role, common) for role in roles)
        rooms = [room for role in roles for room in rooms_of(role, common, stage)]
        told = [f"{_gib(room.bytes)} {room.what}" for room in rooms]
        weights, added = weights + own, added + sum(room.bytes for room in rooms)
        rest = _FITTED if worker == "pairs" else _UNBOUNDED
        yield [code(worker), ", ".join(map(code, roles)), _gib(own), "; ".join(told) or rest]
    yield ["all on one device", "", _gib(weights), f"{_gib(added)}, and the batch of {code('pairs')}"]
    judge = f"with {code('qa.check_naturalness')}, {code('qa')} also"
    yield [judge, code(JUDGE), _gib(weights_of(JUDGE, common)), "keys and values of a call (`images_per_call`)"]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

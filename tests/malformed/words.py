"""What people write: settings in files, variables and flags, conditions, times, and whole command lines."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import resources
from io import StringIO
from pathlib import Path
from random import Random

from common.runtime.errors import ConfigurationError
from common.settings import load_layers, section_of
from ops.cli.main import main
from ops.dead_letters.filters import parse_offsets, parse_time
from ops.dead_letters.where import parse_where
from ops.ingest.settings import IngestSettings
from ops.workers import WORKERS, spec_of
from schemas.topics import INGEST
from tests.malformed.areas import Area, Case, one_line
from tests.malformed.mutation import EXTREME_TEXTS, broken_bytes, broken_text

PROFILES = tuple(
    (resources.files("common.profiles") / f"{name}.toml").read_bytes() for name in ("sketch", "paper", "code", "recipe")
)
SETTINGS = b"""
prefix = "mine"
topics = { partitions = 4, replication_factor = 1 }
[kafka]
bootstrap_servers = "127.0.0.1:1"
security_protocol = "PLAINTEXT"
sasl_plain_password = "secret"
[blobs]
url = "blobs"
options = { key = "value" }
[boxes]
batch_size = 8
pair_similarity = { low = 0.9, high = 0.98, high_inclusive = true }
[models.text_encoder]
adapter = "sketch"
options = { text = "a\\u0020b" }
"""
VARIABLES: Mapping[str, str] = {
    "IMGDIFF_PREFIX": "mine",
    "IMGDIFF_BOXES__PAIR_SIMILARITY__LOW": "0.88",
    "IMGDIFF_RUNTIME__DRAIN_BUDGET_S": "30",
    "IMGDIFF_BLOBS__OPTIONS": '{"key": "value"}',
    "IMGDIFF_KAFKA__SSL_CAFILE": "ca.pem",
    "IMGDIFF_MODELS__SEGMENTER": '{"adapter": "sketch"}',
}
FLAGS = (
    "boxes.pair_similarity.low=0.88", "prefix=mine", "topics.partitions=4", 'blobs.options={ key = "value" }',
    "compute.device=cuda:1", "models.segmenter.adapter=sam", "http.port=9000", "kafka.sasl_plain_password=secret",
)  # fmt: skip
CONDITIONS = (
    "pair_similarity < 0.92", "not (object_match >= 0.35 and crop_similarity = 1) or overlap != .5e-3", "90m",
    "2026-11-21T15:04:05+01:00", "17-40", "7d", "-40",
)  # fmt: skip

AS_LONG_AS_GIVEN = 50_000
"""People are shown their own words again, however many."""

USAGE, OTHER, CONFIGURATION, DONE = 64, 1, 78, 0
COMMANDS: Sequence[Sequence[str]] = (
    ("topics", "create", "--set", "topics.partitions=4"),
    ("topics", "drift", "--json"),
    ("ingest", "captions.jsonl", "--format", "jsonl", "--limit", "5", "--source", "photos", "--id-field", "id"),
    ("ingest", "--watch", "folder", "--format", "text"),
    ("status", "--json", "--profile", "sketch"),
    ("dead-letters", "list", "--stage", "boxes", "--kind", "rejected", "--where", "pair_similarity < 0.92"),
    ("dead-letters", "list", "--since", "2h", "--until", "2026-11-21", "--offsets", "17-40", "--partition", "3"),
    ("dead-letters", "show", "pairs/3/17", "--save-images", "pictures"),
    ("dead-letters", "show", "--caption", "photos:0194"),
    ("dead-letters", "stats", "--stage", "edits", "--error-class", "ValueError", "--json"),
    ("dead-letters", "what-if", "--set", "boxes.pair_similarity.low=0.88"),
    ("dead-letters", "replay", "--stage", "boxes", "--would-pass", "--limit", "5", "--rate", "2.5", "--dry-run"),
    ("dead-letters", "replay", "--stage", "pairs", "--reason", "crash", "--max-attempts", "3", "--again"),
    ("dead-letters", "purge", "--stage", "boxes", "--until", "30d", "--yes"),
    ("models", "list", "--profile", "paper"),
    ("settings", "--set", "prefix=mine"),
    ("blobs", "gc", "--dry-run", "--older-than", "7d"),
    ("broker", "status", "--home", "home", "--json"),
    ("broker", "stop", "--home", "home"),
)
"""Command lines that are right, apart from that nobody listens where they look for Kafka."""

STARTING: Sequence[Sequence[str]] = (
    ("demo", "--captions", "captions.txt", "--limit", "5"),
    ("up", "--workers", "boxes=2", "--device", "boxes=cuda:1,cuda:2"),
    ("worker", "boxes", "--device", "cpu"),
    ("broker", "start", "--port", "0", "--home", "home"),
    ("models", "download", "--profile", "paper"),
)
"""Command lines that would start something: these are only ever run with a flag that no command has."""

SECTIONS: Mapping[str, type] = {section_of(worker): spec_of(worker).settings for worker in WORKERS} | {
    INGEST: IngestSettings
}


def settings_files(folder: Path, _: ExitStack) -> Case:
    """TOML files: settings, or ConfigurationError in a line."""
    path = folder / "settings.toml"

    def case(random: Random) -> None:
        path.write_bytes(broken_bytes(random, random.choice((SETTINGS, SETTINGS, *PROFILES)), (SETTINGS, *PROFILES)))
        _load({}, path, [], None)

    return case


def variables_and_flags(_: Path, __: ExitStack) -> Case:
    """The environment and `--set`: settings, or ConfigurationError in a line."""

    def case(random: Random) -> None:
        environ = {}
        for name, value in random.sample(list(VARIABLES.items()), 2):
            environ[broken_text(random, name) if random.random() < 0.3 else name] = broken_text(
                random, value, EXTREME_TEXTS
            )
        flags = [
            broken_text(random, random.choice(FLAGS), [*FLAGS, *EXTREME_TEXTS]) for _ in range(random.randrange(3))
        ]
        profile = random.choice((None, None, "paper", broken_text(random, "sketch", EXTREME_TEXTS)))
        _load(environ, None, flags, profile)

    return case


def conditions(_: Path, __: ExitStack) -> Case:
    """`--where`, times and offsets: what they mean, or ValueError in a line."""
    parsers: tuple[Callable[[str], object], ...] = (parse_where, parse_offsets, lambda text: parse_time(text, 1e9))

    def case(random: Random) -> None:
        text = broken_text(random, random.choice(CONDITIONS), [*CONDITIONS, *EXTREME_TEXTS])
        if random.random() < 0.2:
            text = random.choice(("not ", "(", "a<1 and ", "a<1)or(")) * random.choice((5, 40, 900)) + text
        for parse in parsers:
            with suppress(ValueError):
                parse(text)
        with suppress(ValueError):
            condition = parse_where(text)
            assert str(parse_where(str(condition))) == str(condition)
            assert condition.holds({"pair_similarity": 0.9}) in {True, False}

    return case


def command_lines(folder: Path, _: ExitStack) -> Case:
    """Whole command lines, run in this process: a documented exit code and, where it is not 0, one line that says why."""
    (folder / "captions.jsonl").write_text('{"id": 1, "caption": "A dog."}\n')
    (folder / "folder").mkdir()

    def case(random: Random) -> None:
        arguments = broken_arguments(random)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("IMGDIFF_")}
        environ["IMGDIFF_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
        if random.random() < 0.2:
            (folder / "bad.toml").write_bytes(broken_bytes(random, SETTINGS, PROFILES))
            environ["IMGDIFF_SETTINGS"] = "bad.toml"
        out, err = StringIO(), StringIO()
        with _at_home(folder, environ), redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
        judge(arguments, code, out.getvalue(), err.getvalue())

    return case


def broken_arguments(random: Random) -> list[str]:
    """A command line with a word changed, left out, doubled, or put in."""
    starting = random.random() < 0.2
    arguments = list(random.choice(STARTING if starting else COMMANDS))
    for _ in range(random.randint(1, 2)):
        at = random.randrange(1, len(arguments))
        match random.randrange(5):
            case 0 if len(arguments) > 2:
                del arguments[at]
            case 1:
                arguments.insert(at, arguments[random.randrange(len(arguments))])
            case 2:
                arguments.insert(at, random.choice(EXTREME_TEXTS).replace("\x00", ""))
            case 3:
                arguments[at] = random.choice(EXTREME_TEXTS).replace("\x00", "")
            case _:
                arguments[at] = broken_text(random, arguments[at]).replace("\x00", "")
    if starting:
        return [arguments[0], "--no-such-option", *arguments[1:]]
    return [word for word in arguments if word not in {"--watch"} or "-" not in arguments]


def judge(arguments: Sequence[str], code: int, out: str, err: str) -> None:
    """What a command may leave behind, whatever it was given."""
    assert code in {DONE, OTHER, USAGE, CONFIGURATION}, (arguments, code)
    assert "Traceback" not in out + err, (arguments, err)
    assert not [character for character in err if not character.isprintable() and character != "\n"], (arguments, err)
    if code in {USAGE, CONFIGURATION}:
        one_line(err, AS_LONG_AS_GIVEN)
        assert err.count("\n") == 1 or err.startswith("Usage: "), (arguments, err)


def _load(environ: Mapping[str, str], file: Path | None, flags: Sequence[str], profile: str | None) -> None:
    try:
        layers = load_layers(environ, file, flags, profile)
        layers.common()
        for section, kind in SECTIONS.items():
            layers.section(section, kind)
    except ConfigurationError as error:
        one_line(str(error), AS_LONG_AS_GIVEN)


@contextmanager
def _at_home(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """In a folder, with an environment."""
    folder_before, environ_before = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.chdir(folder_before)
        os.environ.clear()
        os.environ.update(environ_before)


AREAS = (
    Area("settings files", 800, settings_files),
    Area("variables and flags", 800, variables_and_flags),
    Area("conditions", 1_000, conditions),
    Area("command lines", 400, command_lines),
)

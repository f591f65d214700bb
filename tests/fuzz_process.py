"""Random command lines over all scripts, each in a forked process with a deadline.

`fuzz_process.py FOLDER COUNT SEED` prints a line of JSON for each that did not end as a front door should: in success,
or in the library's own words; it tells how many there were at the end.
"""

import json
import os
import random
import re
import resource
import runpy
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import posed_scenes
import torch

import gqn
from gqn.data import foreign, own_formats, survey  # noqa: F401  # imported once, not in every process
from gqn.evaluation import report  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 90  # seconds
TINY = [
    *(
        [
            "--hidden",
            "8",
            "--canvas",
            "8",
            "--representation",
            "pool",
            "--representation-channels",
            "8",
            "--generation-steps",
            "2",
        ]
    ),
    *(
        [
            "--device",
            "cpu",
            "--precision",
            "float32",
            "--eval-scenes",
            "2",
            "--samples",
            "1",
            "--batch",
            "2",
            "--queries",
            "1",
            "--steps",
            "1",
        ]
    ),
]
# What each script is called with where nothing is wrong, in a folder with a dataset, a run and another's conversion.
LINES = {
    "run-gqn.py": [["--data", "data/scenes", *TINY], ["--resume", "runs/run", "--steps", "2"], ["--dry-run"]],
    "scripts/generate-scenes.py": [["shepard_metzler_5_parts", "new", "--scenes", "2", "--seed", "0", "--size", "8"]],
    "scripts/tfrecord-converter.py": [["data", "scenes", "--batch", "2", "--workers", "1"]],
    "scripts/import-conversion.py": [["theirs", "imported"]],
    "scripts/import-scenes.py": [["photos", "from-photos", "--size", "16"]],
    "scripts/inspect-dataset.py": [["data/scenes"]],
    "scripts/contact-sheet.py": [["shepard_metzler_5_parts", "sheet.png", "--scenes", "1", "--size", "8"]],
    "scripts/visualise.py": [["graph.yaml", "graph.svg"], ["runs/run", "run.png", "--node", "vision"]],
    "scripts/extract.py": [["runs/run", "small"]],
    "scripts/evaluate.py": [["runs/graph", "data/scenes", "--limit", "1"]],
}
VALUES = (
    *(
        "-1",
        "0",
        "1",
        "2",
        "3",
        "0.5",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "x",
        "",
        "true",
        "None",
        "[]",
        "{",
        "é",
        "a b",
    ),
    *(
        "data",
        "data/scenes",
        "data/scenes/train",
        "data/scenes/torch",
        "runs",
        "runs/run",
        "runs/run/checkpoint.pt",
        ".",
        "..",
    ),
    *(
        "/dev/null",
        "/dev/null/x",
        "nowhere",
        "graph.yaml",
        "broken.yaml",
        "broken.pt",
        "broken.png",
        "picture.png",
        "99999999",
    ),
)
Line = tuple[str, list[str]]


def options_of(script: str) -> list[str]:
    """The options of a script, from its own parser's help."""
    arguments = ["shepard_metzler_5_parts", "--help"] if "generate" in script else ["--help"]
    _, told = run(script, arguments, Path("."))
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][\w-]+", told)) - {"--source", "--fetch", "--workers"})


def random_line(chance: random.Random, options: dict[str, list[str]]) -> Line:
    """A command line that is valid, nearly valid or nonsense."""
    script = chance.choice([*LINES])
    words = list(chance.choice(LINES[script]))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        kind, place = chance.random(), chance.randrange(len(words) + 1)
        if kind < 0.5 and options[script]:
            words += [chance.choice(options[script]), *([chance.choice(VALUES)] if chance.random() < 0.9 else [])]
        elif kind < 0.8 and place < len(words):
            words[place] = chance.choice(VALUES)
        elif kind < 0.9 and place < len(words):
            del words[place]
        else:
            words.insert(place, chance.choice(VALUES))
    return script, words


def run(script: str, words: list[str], folder: Path) -> tuple[int, str]:
    """The status and the words of a script, in a process of its own; a status of None where it had to be killed."""
    told = folder / "told.txt"
    child = os.fork()
    if not child:
        status = 70
        try:
            os.setsid()
            os.chdir(folder)
            with open("told.txt", "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**27, 2**27))
            sys.argv = [str(ROOT / script), *words]
            runpy.run_path(sys.argv[0], run_name="__main__")
            status = 0
        except SystemExit as leaving:
            if isinstance(leaving.code, str):
                print(leaving.code, file=sys.stderr)
            status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    began = time.monotonic()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - began > DEADLINE:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1, "hang"
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1]), told.read_text(errors="replace")


def prepare(folder: Path) -> None:
    """Make what the lines are about: a dataset, a run, a graph's file, another's conversion, and broken files."""
    os.chdir(folder)
    data = gqn.generate(
        "shepard_metzler_5_parts", "data", 4, 0, name="scenes", size=16, views=8, workers=1, progress=False
    )
    gqn.convert(data, 2, workers=1, progress=False)
    Path("graph.yaml").write_text(
        "senses: {vision: {encoder: tower, frame: [3, 16, 16], channels: 8}}\n"
        "tasks: {where: {head: vector, inputs: [vision], target: [3], data: objects.0.position}}\n"
    )
    Path("theirs/train").mkdir(parents=True)
    torch.save([(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 5))], "theirs/train/1.pt")
    frames, cameras = posed_scenes.drawn()
    posed_scenes.nerfstudio(Path("photos"), frames, posed_scenes.matrices(cameras))
    for name in ("broken.yaml", "broken.pt", "broken.png"):
        Path(name).write_bytes(os.urandom(300))
    for name, more in (("run", []), ("graph", ["--graph", "graph.yaml"])):
        status, told = run("run-gqn.py", ["--data", "data/scenes", *TINY, "--name", name, *more], Path("."))
        assert status == 0, told


def main(folder: str, count: str, seed: str) -> None:
    torch.set_num_threads(1)
    prepare(Path(folder))
    options = {script: options_of(script) for script in LINES}
    chance, statuses = random.Random(int(seed)), []
    for number in range(int(count)):
        script, words = random_line(chance, options)
        place = Path(f"../{Path(folder).name}-{number}")
        shutil.copytree(".", place)
        status, told = run(script, words, place)
        partial = [str(path) for path in place.rglob("*.partial")]
        if status not in (0, 1, 2) or "Traceback" in told or (status and not told.strip()) or partial:
            print(
                json.dumps({"line": [script, *words], "status": status, "left": partial, "told": told[-1500:]}),
                flush=True,
            )
        statuses.append(status)
        shutil.rmtree(place)
    print(json.dumps({"lines": len(statuses), "succeeded": statuses.count(0)}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Times the writing of states, and starting and going on with a run of PSPNet50.

    python bench_checkpoint.py [ROBUSTSEG [ROUNDS]]

In each round a run begins, is killed behind its third saved state, and goes on. Its crops are tiny, for the files' size
does not depend on them. Prints medians: seconds that last.safetensors and resume.safetensors take from the last step to
the name that they get; seconds from the process' start until the training begins, and until its first step is done.
"""
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MANIFEST = {
    "name": "tiny",
    "folder": "tiny",
    "layout": {"synthetic": {"height": 64, "width": 64, "seed": 1}},
    "classes": [{"name": name, "colour": [0, 0, 0]} for name in "abcdefgh"],
    "splits": {"train": {"count": 40}, "val": {"count": 1}},
    "citation": "none",
    "licence": "generated",
    "obtain": "nothing to obtain",
}
SPEC = {
    "name": "cost",
    "data": {"manifest": "tiny.yaml"},
    "training": {
        "method": "basic",
        "epochs": 1,
        "batch_size": 1,
        "augmentation": {"crop": 64},
        "checkpoint_every": 2,
        "validate_every": 0,
    },
    "evaluation": {"curves": [], "examples": 0},
}


def events(folder):
    """The run's whole lines so far, from its last start on."""
    log = folder / "out/events.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    starts = [index for index, event in enumerate(found) if event["kind"] == "training_started"]
    return len(starts), found[starts[-1] :] if starts else []


def run(robustseg, folder, resume, last, count):
    """Seconds until the training has begun and until its first step, and the events, up to `count` of the kind `last`."""
    starts = events(folder)[0]
    start, seen = time.perf_counter(), {}
    command = [robustseg, "run", "spec.yaml", "--out", "out"] + ["--resume"] * resume
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        now, (started, found) = time.perf_counter() - start, events(folder)
        kinds = [event["kind"] for event in found] if started > starts else []
        for kind in kinds:
            seen.setdefault(kind, now)
        if kinds.count(last) == count:
            process.kill()
            process.wait()
            return (seen["training_started"], seen["step"]), found
        if process.poll() is not None:
            sys.exit("the run has ended: " + " ".join(command))
        time.sleep(0.001)


def main(robustseg="target/release/robustseg", rounds="5"):
    robustseg = pathlib.Path(robustseg).resolve()
    writing, new, resumed = [], [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = pathlib.Path(folder)
        (folder / "tiny.yaml").write_text(json.dumps(MANIFEST))
        (folder / "spec.yaml").write_text(json.dumps(SPEC))
        for _ in range(int(rounds)):
            shutil.rmtree(folder / "out", ignore_errors=True)
            seconds, found = run(robustseg, folder, False, "checkpoint", 3)
            new.append(seconds)
            pairs = zip(found, found[1:])
            writing += [b["time_s"] - a["time_s"] for a, b in pairs if b["kind"] == "checkpoint"]
            resumed.append(run(robustseg, folder, True, "step", 1)[0])
        sizes = {file.name: file.stat().st_size for file in (folder / "out/checkpoints").iterdir()}
    print("bytes", sizes)
    print(f"writing a state: {statistics.median(writing):.2f} s, {min(writing):.2f} to {max(writing):.2f}")
    for name, seconds in [("new", new), ("resumed", resumed)]:
        begun, step = (statistics.median(times) for times in zip(*seconds))
        print(f"{name}: {begun:.2f} s until the training begins, {step:.2f} s until its first step is done")


main(*sys.argv[1:])

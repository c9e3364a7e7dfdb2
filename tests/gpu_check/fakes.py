"""Stand-ins for what a bundle holds and for the peer. What they do is in files of the folder that FAKES names."""
import json
import os
import signal
import subprocess
import sys
import time


def wish(name):
    """What the test wants of the program `name`."""
    try:
        with open(os.path.join(os.environ["FAKES"], name)) as file:
            return file.read().split()
    except OSError:
        return []


def obey(what):
    if what == "crash":
        print("about to crash", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # With a process of its own, as PyTorch's compiler has them.
        subprocess.Popen(["sleep", os.environ["FAKE_SLEEP"]])
        time.sleep(float(os.environ["FAKE_SLEEP"]))
    if what == "fail":
        sys.exit("failed as asked")


def value_of(option):
    return sys.argv[sys.argv.index(option) + 1]


def timings(seconds):
    methods = value_of("--methods").split(",")
    basic = {method: seconds * (1 + index / 4) for index, method in enumerate(methods)}
    found = {
        "device": "fake", "step_s": basic, "images_per_s": {method: 16 / value for method, value in basic.items()},
        "additional_time_percent": {method: 100 * (value / seconds - 1) for method, value in basic.items()},
        "peak_bytes": int(1e9 * seconds), "convolutions": [
            {"product": "output", "algorithm": "1", "folded_norm": "separate pass"},
            {"product": "output", "algorithm": "graph, 7", "instead_of": "1", "milliseconds": 0.5, "replaced_milliseconds": 2.0},
        ],
        "cuda_graphs": [
            {"pass": "training", "nodes": 1500, "refused": None}, {"pass": "gradient", "nodes": None, "refused": "it keeps memory"},
        ],
    }
    if "--evaluation" in sys.argv:
        found["evaluation_s"] = {"forward": seconds, "curves": seconds}
    with open(value_of("--json"), "w") as file:
        json.dump(found, file)


def robustseg():
    if "no_gpu" in wish("robustseg"):
        print("device cuda: NVIDIA's driver can use 0 GPUs of this machine", file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == "bench":
        left_out, works = os.environ.get("ROBUSTSEG_GPU_WITHOUT", ""), wish("ways")
        if "--precision" in sys.argv and works and left_out not in works:
            obey("crash")
        if "--json" in sys.argv:
            for what in wish("bench"):
                obey(what)
            timings(0.05)
    elif sys.argv[1] == "run":
        out = value_of("--out")
        method = os.path.basename(out)
        for what in wish(f"run_{method}"):
            obey(what)
        for path in ("checkpoints/last.safetensors", "evaluation.json", "timing.json", "report.html"):
            os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
            with open(os.path.join(out, path), "w") as file:
                points = [{"epsilon": 0.03, "miou": 0.25}]
                json.dump({"clean": {"miou": 0.5, "pixel_accuracy": 0.9}, "curves": [{"attack": "fgsm", "points": points}]}, file)


def tests(binary):
    if "--list" in sys.argv:
        print("adds: test\nmultiplies: test\n\n2 tests, 0 benchmarks")
        return
    test = value_of("--exact")
    blocking = "CUDA_LAUNCH_BLOCKING" in os.environ
    for what in wish(f"{binary}_{test}"):
        if what == "unless_blocking" and blocking:
            break
        obey(what)
    print("test result: ok. 1 passed; 0 failed")


def peer():
    print("compiling", flush=True)
    with open(os.path.join(os.environ["TORCHINDUCTOR_CACHE_DIR"], "graph"), "wb") as file:
        file.write(os.urandom(1000))
    for what in wish("peer"):
        obey(what)
    timings(0.1)


PROGRAMS = {"robustseg": robustseg, "peer": peer, "probe": lambda: print("begin 0\n" + json.dumps({"case": 0, "ms": 1.0}))}


def main():
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    PROGRAMS.get(name, lambda: tests(name))()

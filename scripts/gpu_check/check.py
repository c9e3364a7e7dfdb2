"""The call `check`: does it run."""
import json
import os
import shutil
import sys
import time

from tools import NO_WAYS, bundle, chosen, ours, pack, peer, run_tests, try_ways

SECONDS = 200
# Seconds reserved for packing at the end.
PACKING = 22

MACHINE = """
import json, platform, os, shutil, sys
found = {"python": sys.version.split()[0], "processors": os.cpu_count(), "kernel": platform.release()}
found["programs"] = {name: shutil.which(name) for name in ("nvcc", "ncu", "compute-sanitizer", "cuobjdump", "xz", "gcc")}
try:
    import torch
    found["torch"], found["cuda"], found["cudnn"] = torch.__version__, torch.version.cuda, torch.backends.cudnn.version()
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {name: getattr(properties, name) for name in ("name", "total_memory", "multi_processor_count", "major", "minor")}
except Exception as error:
    found["torch"] = repr(error)
print("\\n" + json.dumps(found))
"""


def machine(call):
    """What there is, for whoever reads the figures later."""
    call.run("nvidia-smi", ["nvidia-smi"], 10)
    part = call.run("machine", [sys.executable, "-c", MACHINE], 30)
    if part.succeeded:
        call.note("machine", json.loads(part.text.splitlines()[-1]))


def probe(call, options):
    """Which patterns cuDNN's graph interface and cuBLASLt have. A pattern that crashes is passed over."""
    wheels = [os.path.join(options.bring, name) for name in sorted(os.listdir(options.bring)) if name.startswith("cudnn_frontend")]
    paths = {"PYTHONPATH": os.pathsep.join([*wheels, *filter(None, [os.environ.get("PYTHONPATH")])])}
    lines, skip = [], 0
    for attempt in range(4):
        command = [options.python, options.probe, "--skip", str(skip), *(["--rehearse"] if options.rehearse else [])]
        part = call.run("probe" if attempt == 0 else f"probe, from {skip}", command, 45, paths)
        rows = [line for line in part.text.splitlines() if line.startswith('{"')]
        lines += [json.loads(row) for row in rows]
        begun = [int(line.split()[1]) for line in part.text.splitlines() if line.startswith("begin ")]
        call.note("probe", lines)
        if part.succeeded or not begun:
            return
        skip = begun[-1] + 1


def check(call, options):
    """Whether all that was tried worked; False too where there is no GPU."""
    bundle(call, options)
    robustseg = os.path.join(options.bring, "robustseg")
    smoke = [robustseg, "bench", "--device", options.device, "--layers", "1,1,1,1", "--width", "8", "--size", "33", "--batch", "2"]
    smoke += ["--steps", "1", "--warmup", "0", "--methods", "basic,fast_newton"]
    smoked = call.run("smoke", smoke, 45)
    if not smoked.succeeded:
        call.run("nvidia-smi", ["nvidia-smi"], 10)
        # A usage error: there is no such device.
        if smoked.status == 2:
            call.note("gpu", "not found; nothing else was tried")
            return False
        call.run("smoke, again", smoke, 30, {"CUDA_LAUNCH_BLOCKING": "1"})
    call.note("gpu", "found")
    worked = try_ways(call, options)
    # Runs in parallel with everything that follows, to fill the caches.
    both, evaluated = ["basic", "fast_newton"], ["--evaluation", "--curve-batch", "2" if options.rehearse else "8"]
    compiling = peer(call, options, "peer compiles", 472, both, steps=1, warmup=0, most=SECONDS, extra=evaluated)
    first = ours(call, options, "first figure", 472, both, steps=3, warmup=1, most=45).result()
    if first is None:
        predicted = {"extra": ["--convolutions", "predicted"], "environment": NO_WAYS}
        first = ours(call, options, "first figure, again", 472, ["basic"], steps=2, warmup=1, most=40, **predicted).result()
    if first:
        call.note("chosen", chosen(first))
        call.note("first_figure", {"seconds": round(call.elapsed(), 1), "step_s": first["step_s"], "device": first["device"]})
    machine(call)
    passed = run_tests(call, options, ["devices", "precision", "goldens"], options.test_seconds, 2 if options.rehearse else 4)
    probe(call, options)
    compiling.result(until=time.monotonic() + max(0.0, call.left() - (8 if options.rehearse else PACKING)))
    with open(os.path.join(options.caches, "inductor", "done"), "w") as file:
        file.write(str(compiling.part.status))
    packed = pack(call, "pack", options.caches, os.path.join(call.out, "caches.tar.xz"), 4, 60)
    if not packed.succeeded:
        # The graphs take long.
        shutil.rmtree(os.path.join(options.caches, "driver"), ignore_errors=True)
        pack(call, "pack without the driver's", options.caches, os.path.join(call.out, "caches.tar.xz"), 4, 60)
    return smoked.succeeded and worked and first is not None and passed

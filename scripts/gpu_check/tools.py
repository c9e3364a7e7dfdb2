"""What the calls share: the bundle, robustseg's and the peer's timings, the tests, and what comes back packed."""
import json
import os
import re
import sys
import tarfile

# The paper's network, images and classes.
BATCH = 16
SMALL = ["--layers", "1,1,1,1", "--width", "8"]
# What ROBUSTSEG_GPU_WITHOUT can leave out, that first which is the most likely to fail: CUDA graphs, norms folded into
# convolutions, and ways to compute convolutions.
WAYS = ["cuda_graphs", "folding", "graph", "cublaslt", "padding"]
NO_WAYS = {"ROBUSTSEG_GPU_WITHOUT": ",".join(WAYS)}
NO_GRAPHS, NO_FOLDING = ({"ROBUSTSEG_GPU_WITHOUT": way} for way in WAYS[:2])
OLDER_WAYS = {"ROBUSTSEG_GPU_WITHOUT": ",".join(WAYS[2:])}
# Maximum bytes of a returned file, and of the pieces of a larger one.
PIECE = 15 << 20


def environment(caches):
    """This process's, with CUDA's libraries as Python's packages hold them in front, and caches where they can be packed."""
    found = dict(os.environ)
    try:
        import nvidia

        packages = list(nvidia.__path__)[0]
        paths = [os.path.join(packages, "cu13", "lib"), os.path.join(packages, "cudnn", "lib")]
        found["LD_LIBRARY_PATH"] = ":".join([*paths, *filter(None, [found.get("LD_LIBRARY_PATH")])])
    except ImportError:
        pass
    found.update(RUST_BACKTRACE="0", PYTHONUNBUFFERED="1")
    # The driver's compiled PTX, and PyTorch's compiled graphs and kernels.
    found.update(CUDA_CACHE_PATH=os.path.join(caches, "driver"), CUDA_CACHE_MAXSIZE=str(1 << 30))
    found.update(
        TORCHINDUCTOR_CACHE_DIR=os.path.join(caches, "inductor"), TRITON_CACHE_DIR=os.path.join(caches, "inductor", "triton")
    )
    for folder in ("driver", "inductor"):
        os.makedirs(os.path.join(caches, folder), exist_ok=True)
    return found


def unpack(pieces, folder):
    """Unpacks an archive that may be in pieces. Nothing here needs a program beside Python."""
    with open(os.path.join(folder, ".joined"), "w+b") as joined:
        os.unlink(joined.name)
        for piece in pieces:
            with open(piece, "rb") as file:
                joined.write(file.read())
        joined.seek(0)
        with tarfile.open(fileobj=joined) as archive:
            archive.extractall(folder)


def bundle(call, options):
    """The folder of the binary and the tests, unpacked where they are packed."""
    if os.path.isfile(options.bring):
        folder = os.path.join(call.scratch.name, "bring")
        os.mkdir(folder)
        unpack([options.bring], folder)
        options.bring = folder
    if not os.path.exists(os.path.join(options.bring, "robustseg")):
        raise FileNotFoundError(f"no robustseg in {options.bring}; `scripts/cuda.sh build` makes the bundle and says how to bring it")


def take_caches(call, options):
    """Puts in place what an earlier call has brought back, unless it still lies here."""
    folder, name = os.path.split(options.brought_caches)
    pieces = sorted(os.path.join(folder, file) for file in os.listdir(folder or ".") if file.startswith(name)) if os.path.isdir(folder) else []
    here = os.path.exists(os.path.join(options.caches, "inductor", "done"))
    if pieces and not here:
        try:
            unpack(pieces, options.caches)
        except (OSError, tarfile.TarError, EOFError) as error:
            call.note("caches", f"not taken: {error}")
            return
    call.note("caches", "left by an earlier call" if here else f"brought, {len(pieces)} pieces" if pieces else "none")


PACK = """
import os, sys, tarfile
folder, path, piece, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with tarfile.open(path, "w:xz", preset=1) as archive:
    archive.add(folder, ".")
size = os.path.getsize(path)
if size > piece * most:
    sys.exit(f"{size} bytes are too many to come back")
out = sys.argv[5]
with open(path, "rb") as file:
    for index in range(0, max(1, -(-size // piece))):
        with open(f"{out}.{index}", "wb") as to:
            to.write(file.read(piece))
print(size, "bytes")
"""


def pack(call, name, folder, target, pieces, most):
    """Packs a folder into at most so many files `target.0`, `target.1` ... of what may come back."""
    scratch = os.path.join(call.scratch.name, name + ".tar.xz")
    command = [sys.executable, "-c", PACK, folder, scratch, str(PIECE), str(pieces), target]
    return call.run(name, command, most)


def read_json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def shape(size, steps, warmup, methods, options):
    """What both programs are given."""
    if options.rehearse:
        # The fifth step is the first that runs from a CUDA graph as a whole.
        size, steps, warmup = 33, min(steps, 4), min(warmup, 1)
    batch = 2 if options.rehearse else BATCH
    return [
        "--size", str(size), "--batch", str(batch), "--steps", str(steps), "--warmup", str(warmup), "--methods", ",".join(methods),
        *(SMALL if options.rehearse else []),
    ]


class Timing:
    """A timing under way or done; `result` reads what it has written so far."""

    def __init__(self, call, options, name, command, most, environment=None):
        self.call, self.name, self.path = call, name, os.path.join(call.scratch.name, name + ".json")
        self.part = call.start(name, [*command, "--json", self.path], most, environment)

    def result(self, until=None):
        self.call.wait(self.part, until)
        found = read_json(self.path)
        if found is not None:
            self.call.results.setdefault("timings", {})[self.name] = found
            self.call.save()
        return found


def try_ways(call, options):
    """Trains a tiny network in bf16 with CUDA graphs, from the fourth step on, and all ways to compute convolutions. If that fails, leaves out for the rest of the call the
    one without which it works, or all. Whether it works with something."""
    command = [os.path.join(options.bring, "robustseg"), "bench", "--device", options.device, *SMALL, "--size", "33", "--batch", "2"]
    command += ["--precision", "f32" if options.device == "cpu" else "bf16", "--methods", "basic,fast_newton", "--steps", "5", "--warmup", "1"]
    for without in ["", *WAYS, ",".join(WAYS)]:
        name = f"ways without {without}" if without else "ways"
        if call.run(name, command, 30, {"ROBUSTSEG_GPU_WITHOUT": without}).succeeded:
            call.note("left_out", without)
            if without:
                call.environment["ROBUSTSEG_GPU_WITHOUT"] = without
            return True
    call.note("left_out", "whatever is left out, it fails")
    return False


def chosen(timing):
    """How many convolutions of a timing each way computes, and with a folded norm, and the milliseconds of those that
    replaced another; the passes that CUDA graphs repeat, and why others are not repeated."""
    counts, folded, now, before = {}, {}, 0.0, 0.0
    for row in timing.get("convolutions") or []:
        way = str(row["algorithm"]).split(",")[0] if row.get("instead_of") else "cuDNN's older interface"
        counts[way] = counts.get(way, 0) + 1
        if row.get("folded_norm"):
            way = str(row["folded_norm"]).split(",")[0]
            folded[way] = folded.get(way, 0) + 1
        if row.get("milliseconds") and row.get("replaced_milliseconds"):
            now, before = now + row["milliseconds"], before + row["replaced_milliseconds"]
    passes = timing.get("cuda_graphs") or []
    return {
        "products": counts, "folded_norms": folded, "milliseconds": round(now, 3), "replaced_milliseconds": round(before, 3),
        "repeated": sum(row["nodes"] is not None for row in passes), "refused": [row["refused"] for row in passes if row["refused"]],
    }


def ours(call, options, name, size, methods, precision="bf16", steps=15, warmup=3, most=60, extra=(), environment=None):
    command = [os.path.join(options.bring, "robustseg"), "bench", "--device", options.device]
    # The CPU computes only in f32.
    command += ["--precision", "f32" if options.device == "cpu" else precision, *shape(size, steps, warmup, methods, options), *extra]
    return Timing(call, options, name, command, most, environment)


def peer(call, options, name, size, methods, precision="bf16", steps=15, warmup=3, most=150, compiled=True, extra=()):
    command = [options.python, options.peer, "--precision", {"f32": "fp32"}.get(precision, precision), "--channels-last"]
    command += ["--device", "cpu" if options.rehearse else "cuda", *shape(size, steps, warmup, methods, options), *extra]
    if compiled and not options.rehearse:
        command.append("--compile")
    return Timing(call, options, name, command, most)


def tests_of(call, options, binary):
    """The names of a test binary's tests."""
    part = call.run(f"list {binary}", [os.path.join(options.bring, binary), "--list"], 20)
    return re.findall(r"^(\S+): test$", part.text, re.MULTILINE) if part.succeeded else []


def run_tests(call, options, binaries, most, at_once):
    """Each test in a process of its own; what failed again, alone, with launches that wait. True if all passed, and on a GPU."""
    path = {name: os.path.join(options.bring, name) for name in binaries}
    goldens = {"ROBUSTSEG_GOLDENS": os.path.abspath(options.goldens)}

    def part(binary, test, label, environment):
        command = [path[binary], "--exact", test, "--test-threads", "2", "--nocapture"]
        return (f"{binary} {test}{label}", command, most, {**goldens, **environment})

    names = [(binary, test) for binary in binaries for test in tests_of(call, options, binary)]
    found = call.run_all([part(*name, "", {}) for name in names], at_once)
    failed = [name for name, done in zip(names, found) if not done.succeeded]
    again = call.run_all([part(*name, ", again", {"CUDA_LAUNCH_BLOCKING": "1"}) for name in failed], 1)
    here = sum("no GPU here" not in done.text for done in found)
    rows = {
        f"{binary} {test}": "passed" if done.succeeded else f"failed: {done.status}"
        for (binary, test), done in zip(names, found)
    }
    for (binary, test), done in zip(failed, again):
        rows[f"{binary} {test}"] += "; passed with launches that wait" if done.succeeded else f"; again: {done.status}"
    # The values that the tests print.
    said = {done.name: done.text[-4000:] for done in found if done.name.startswith("precision")}
    call.note("tests", {"results": rows, "passed": len(names) - len(failed), "failed": len(failed), "on_gpu": here, "printed": said})
    return bool(names) and not failed and (here == len(names) or options.device == "cpu")

"""What gpu_check.sh does."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--bring", default="target/cuda/bring.tar.xz")
parser.add_argument("--peer", default="../shared/peer")
parser.add_argument("--goldens", default="tests/goldens")
parser.add_argument("--out", default=os.environ.get("OUT", "target/gpu_check"))
parser.add_argument("--rehearse", action="store_true")
options = parser.parse_args()

# Seconds that everything may take; what would begin later is left out, and said to be.
LIMIT = 570
BEGIN = time.monotonic()
# The network, the images and the classes of the paper, and what each row must reach beside PyTorch.
SIZES = [
    ("voc", 472, 21, {"basic": 1.3, "fast_newton": 1.5}),
    ("cityscapes", 712, 19, {"fast_newton": 1.5}),
]
ADDED = {"fast_newton": 25, "bim": 75}
# Multiply-adds of a forward pass over a pixel: 118.6e9 at 472 x 472 with the linear pyramid. A step is three passes.
FLOPS = 2 * 118.6e9 / 472**2 * 3

CEILINGS = """
import json, time, torch
def best(work, rounds=10):
    times = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize(); start = time.perf_counter(); work(); torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[3:])[rounds // 2]
a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
x = torch.randn(1 << 30, device="cuda"); y = torch.empty_like(x)
print(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
    "bf16_flops": 2 * 8192**3 / best(lambda: a @ b), "copy_bytes_per_s": 8 * (1 << 30) / best(lambda: y.copy_(x))}))
"""


def left():
    return LIMIT - (time.monotonic() - BEGIN)


def environment():
    """CUDA's libraries as Python's packages hold them, in front of whatever there is."""
    found = dict(os.environ)
    try:
        import nvidia

        packages = list(nvidia.__path__)[0]
        paths = [os.path.join(packages, "cu13", "lib"), os.path.join(packages, "cudnn", "lib")]
        found["LD_LIBRARY_PATH"] = ":".join([*paths, found.get("LD_LIBRARY_PATH", "")])
    except ImportError:
        pass
    found["ROBUSTSEG_GOLDENS"] = os.path.abspath(options.goldens)
    found["RUST_BACKTRACE"] = "0"
    return found


def run(name, command, most=240):
    """The standard output of `command`, which also goes into a file, or None if it failed or there was no time."""
    most = min(most, left())
    if most < 15:
        print(f"{name}: left out, the time is up", flush=True)
        return None
    start = time.monotonic()
    path = os.path.join(options.out, name + ".log")
    with open(path, "w") as log:
        try:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment(), timeout=most).returncode
        except (subprocess.TimeoutExpired, OSError) as error:
            log.write(f"\n{error}\n")
            status = str(error)
    seconds = time.monotonic() - start
    text = open(path).read()
    print(f"{name}: {'done' if status == 0 else f'status {status}, see {path}'} in {seconds:.0f} s", flush=True)
    if status != 0:
        print("   ", "\n    ".join(text.splitlines()[-12:]), flush=True)
    return text if status == 0 else None


def tests(name, command=None):
    """Tests passed and failed; what the tests print is in their file."""
    path = os.path.join(options.bring, name)
    run(name, [*(command or []), path, "--test-threads", "2", "--nocapture"], 200)
    text = open(os.path.join(options.out, name + ".log")).read() if os.path.exists(os.path.join(options.out, name + ".log")) else ""
    counts = re.search(r"(\d+) passed; (\d+) failed", text)
    passed, failed = map(int, counts.groups()) if counts else (0, 1)
    return {"passed": passed, "failed": failed, "no_gpu": "no GPU here" in text}


def ours(name, size, methods, precision, steps):
    path = os.path.join(options.out, name + ".json")
    arguments = ["--methods", ",".join(methods), "--size", str(size), "--precision", precision, "--json", path]
    arguments += ["--batch", str(BATCH), "--steps", str(steps), "--warmup", "3", *SMALL]
    device = ["--device", "auto" if options.rehearse else "cuda"]
    done = run(name, [os.path.join(options.bring, "robustseg"), "bench", *device, *arguments])
    return json.load(open(path)) if done is not None else None


def peers(name, size, methods, precision, steps):
    arguments = ["--methods", ",".join(methods), "--size", str(size), "--batch", str(BATCH), "--steps", str(steps)]
    arguments += ["--warmup", "3", "--precision", {"f32": "fp32"}.get(precision, precision), "--channels-last", *SMALL]
    arguments += ["--device", "cpu"] if options.rehearse else ["--device", "cuda", "--compile"]
    text = run(name, [sys.executable, os.path.join(options.peer, "bench_torch.py"), *arguments], 260)
    found = re.findall(r"^\{.*\}$", text or "", re.MULTILINE) or re.findall(r"\{.*\}", text or "", re.DOTALL)
    return json.loads(found[-1]) if found else None


def median_of(results, key, method):
    values = [result[key][method] for result in results if result]
    return statistics.median(values) if values else None


def ratio(a, b):
    return a / b if a and b else None


def compare(name, size, targets, steps, repeats):
    """One size: ours, PyTorch, ours again, so that a drift of the machine shows as a spread of ours."""
    methods = ["basic", "fast_newton", "bim"]
    precision = "f32" if options.rehearse else "bf16"
    own = [ours(f"{name}_ours_1", size, methods, precision, steps)]
    peer = peers(f"{name}_peer", size, methods, precision, steps)
    for repeat in range(1, repeats):
        own.append(ours(f"{name}_ours_{repeat + 1}", size, methods, precision, steps))
    rows = []
    for method in methods:
        mine, other = median_of(own, "step_s", method), median_of([peer], "step_s", method)
        basic = median_of(own, "step_s", "basic")
        rows.append({
            "method": method, "ours_s": mine, "peer_s": other, "ratio": ratio(other, mine), "wanted": targets.get(method),
            "added_percent": 100 * (mine / basic - 1) if mine and basic else None,
            "added_wanted": ADDED.get(method),
        })
    peaks = [result["peak_bytes"] for result in own if result]
    return {
        "size": size, "rows": rows, "ours": own, "peer": peer,
        "peak_bytes": {"ours": max(peaks) if peaks else None, "peer": peer["peak_bytes"] if peer else None},
    }


def table(results):
    def number(value, form):
        return form.format(value) if value is not None else "-"

    lines = [f"{'size':<12} {'method':<12} {'ours s':>9} {'PyTorch s':>10} {'ratio':>7} {'wanted':>7} {'added %':>8} {'wanted':>7}"]
    for name, size in results["sizes"].items():
        for row in size["rows"]:
            lines.append(
                f"{name:<12} {row['method']:<12} {number(row['ours_s'], '{:.4f}'):>9} {number(row['peer_s'], '{:.4f}'):>10} "
                f"{number(row['ratio'], '{:.2f}'):>7} {number(row['wanted'], '{:.1f}'):>7} "
                f"{number(row['added_percent'], '{:.0f}'):>8} {number(row['added_wanted'], '{:d}'):>7}"
            )
        peaks = size["peak_bytes"]
        gigabytes = [number(peaks[who] and peaks[who] / 1e9, "{:.2f}") for who in ("ours", "peer")]
        lines.append(f"{name:<12} peak memory: ours {gigabytes[0]} GB, PyTorch {gigabytes[1]} GB")
    share = results.get("share_of_bf16_rate")
    lines.append(f"Basic step at 472, share of the bf16 rate measured: {number(share, '{:.0%}')} (wanted 50 %)")
    for name in ("devices", "goldens", "precision"):
        found = results["tests"][name]
        note = ", ON THE CPU: no GPU was found" if found["no_gpu"] else ""
        lines.append(f"tests {name}: {found['passed']} passed, {found['failed']} failed{note}")
    if results.get("sanitizer"):
        lines.append(f"compute-sanitizer: {results['sanitizer']}")
    return "\n".join(lines)


def sanitizer():
    """What compute-sanitizer says of the operations' tests, where it is and there is time."""
    if not shutil.which("compute-sanitizer") or left() < 60:
        return None
    run("sanitizer", ["compute-sanitizer", "--tool", "memcheck", os.path.join(options.bring, "devices"), "--test-threads", "1"], 90)
    text = open(os.path.join(options.out, "sanitizer.log")).read()
    summary = re.findall(r"ERROR SUMMARY: .*", text)
    return summary[-1] if summary else "no summary; see sanitizer.log"


os.makedirs(options.out, exist_ok=True)
if os.path.isfile(options.bring):
    unpacked = tempfile.mkdtemp()
    subprocess.run(["tar", "-xJf", options.bring, "-C", unpacked], check=True)
    options.bring = unpacked
for path in (os.path.join(options.bring, "robustseg"), os.path.join(options.peer, "bench_torch.py")):
    if not os.path.exists(path):
        sys.exit(f"gpu_check.py: {path} is missing; gpu_check.sh says what to bring")
BATCH, SMALL = (2, ["--layers", "1,1,1,1", "--width", "8"]) if options.rehearse else (16, [])
results = {"sizes": {}, "tests": {}}
if not options.rehearse:
    ceilings = run("ceilings", [sys.executable, "-c", CEILINGS], 90)
    results["ceilings"] = json.loads(ceilings.splitlines()[-1]) if ceilings else None
for name in ("devices", "goldens", "precision"):
    results["tests"][name] = tests(name)
for name, size, _, targets in SIZES:
    size = 65 if options.rehearse else size
    results["sizes"][name] = compare(name, size, targets, 2 if options.rehearse else 15, 2 if name == "voc" else 1)
if not options.rehearse:
    for precision in ("tf32", "f32"):
        results[f"voc_{precision}"] = ours(f"voc_{precision}", 472, ["basic"], precision, 5)
    basic = results["sizes"]["voc"]["rows"][0]["ours_s"]
    if results["ceilings"] and basic:
        results["share_of_bf16_rate"] = FLOPS * 472**2 * BATCH / basic / results["ceilings"]["bf16_flops"]
    results["sanitizer"] = sanitizer()
results["seconds"] = time.monotonic() - BEGIN
with open(os.path.join(options.out, "gpu_check.json"), "w") as file:
    json.dump(results, file, indent=2)
print(table(results))
sys.exit(1 if any(found["failed"] for found in results["tests"].values()) else 0)

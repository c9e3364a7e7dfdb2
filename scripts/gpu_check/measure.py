"""The call `measure`: how fast is it, beside PyTorch. The figures that matter come first."""
import json
import os
import re
import shutil
import statistics

from tools import BATCH, NO_FOLDING, NO_GRAPHS, NO_WAYS, OLDER_WAYS, bundle, chosen, ours, peer, take_caches

SECONDS = 420
# Operations of a step per pixel: two per multiply-add, three passes, 118.6e9 multiply-adds at 472 x 472.
FLOPS = 2 * 118.6e9 / 472**2 * 3

CEILINGS = """
import json, time, torch
def seconds(work, rounds=11):
    times = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize(); start = time.perf_counter(); work(); torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[3:])[rounds // 2]
a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
x = torch.randn(1 << 30, device="cuda"); y = torch.empty_like(x)
print("\\n" + json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
    "bf16_flops": 2 * 8192**3 / seconds(lambda: a @ b), "copy_bytes_per_s": 8 * (1 << 30) / seconds(lambda: y.copy_(x))}))
"""


def number(result, *keys):
    for key in keys:
        result = (result or {}).get(key)
    return result


def middle(results, *keys):
    values = [value for value in (number(result, *keys) for result in results) if value is not None]
    return statistics.median(values) if values else None


def divided(a, b):
    return a / b if a is not None and b else None


def figure(name, own, other, reached, wanted, at_most=False, or_below=None):
    """`or_below`: what also does, such as the peer's own additional time."""
    met = None
    if reached is not None:
        met = reached <= max(wanted, or_below or wanted) if at_most else reached >= wanted
    return {"figure": name, "ours": own, "peer": other, "reached": reached, "wanted": wanted, "at_most": at_most, "met": met}


def figures(found, ceilings):
    """The table that is to be reached, with what was."""
    rows = []
    own, other = [found.get("472 ours, 1"), found.get("472 ours, 2")], found.get("472 peer")
    for size, method, wanted in ((472, "basic", 1.3), (472, "fast_newton", 1.35), (712, "fast_newton", 1.35)):
        mine = own if size == 472 else [found.get("712 ours")]
        theirs = other if size == 472 else found.get("712 peer")
        speed, against = middle(mine, "images_per_s", method), number(theirs, "images_per_s", method)
        rows.append(figure(f"{size}x{size}, {method}, images/s", speed, against, divided(speed, against), wanted))
    added = middle(own, "additional_time_percent", "fast_newton"), number(other, "additional_time_percent", "fast_newton")
    rows.append(figure("additional time, fast_newton, %", *added, added[0], 31.2, True, added[1]))
    added = (
        number(found.get("bim ours"), "additional_time_percent", "bim"), number(found.get("bim peer"), "additional_time_percent", "bim"),
    )
    rows.append(figure("additional time, bim, %", *added, added[0], 98.2, True, added[1]))
    step = middle(own, "step_s", "basic")
    rate = FLOPS * 472**2 * BATCH / step if step else None
    share = divided(rate, number(ceilings, "bf16_flops"))
    rows.append(figure("share of the measured bf16 rate, basic", rate, number(ceilings, "bf16_flops"), share, 0.4))
    peaks = middle(own, "peak_bytes"), number(other, "peak_bytes")
    rows.append(figure("peak memory, bytes", *peaks, divided(*peaks), 0.7, True))
    curves = number(found.get("evaluation ours"), "evaluation_s", "curves"), number(found.get("evaluation peer"), "evaluation_s", "curves")
    speed = [divided(1.0, seconds) for seconds in curves]
    rows.append(figure("FGSM and BIM-10 curves, images/s", *speed, divided(*speed), 1.5))
    return rows


def table(rows):
    def text(value):
        return "-" if value is None else f"{value:.4g}"

    lines = [f"{'figure':<42} {'ours':>11} {'PyTorch':>11} {'reached':>9} {'wanted':>9}"]
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[row["met"]]
        bound = ("<= " if row["at_most"] else ">= ") + text(row["wanted"])
        lines.append(f"{row['figure']:<42} {text(row['ours']):>11} {text(row['peer']):>11} {text(row['reached']):>9} {bound:>9}  {verdict}")
    return "\n".join(lines)


def convolutions(call):
    """Every convolution that a timing had: its algorithm, arithmetic, workspace and time, in a file of their own."""
    found = {name: timing.pop("convolutions") for name, timing in call.results.get("timings", {}).items() if timing.get("convolutions")}
    if found:
        kept = call.__dict__.setdefault("convolutions", {})
        kept.update(found)
        path = os.path.join(call.out, "convolutions.json")
        with open(path + ".half", "w") as file:
            json.dump(kept, file, indent=1)
        os.replace(path + ".half", path)


def sanitizer(call, options):
    """What compute-sanitizer says of the operations."""
    program = options.sanitizer or shutil.which("compute-sanitizer")
    if not program:
        return call.note("sanitizer", "not here")
    command = [program, "--tool", "memcheck", os.path.join(options.bring, "devices"), "--test-threads", "1"]
    part = call.run("sanitizer", command, 90)
    summary = re.findall(r"ERROR SUMMARY: .*", part.text)
    call.note("sanitizer", summary[-1] if summary else f"no summary; {part.status}")


def measure(call, options):
    bundle(call, options)
    take_caches(call, options)
    found, ceilings = {}, None
    if not options.rehearse:
        part = call.run("ceilings", [options.python, "-c", CEILINGS], 40)
        ceilings = json.loads(part.text.splitlines()[-1]) if part.succeeded else None
        call.note("ceilings", ceilings)

    def keep(name, timing):
        found[name] = timing.result()
        if found[name]:
            call.results.setdefault("chosen", {})[name] = chosen(found[name])
        convolutions(call)
        call.note("figures", figures(found, ceilings))
        return timing.part

    def beside(name, *given, **more):
        """The peer, compiled; as it is, where compiling takes too long or fails."""
        part = keep(name, peer(call, options, name, *given, **more))
        if found[name] is None and not options.rehearse:
            more.update(compiled=False, most=60)
            call.note(f"{name}, compiled", str(part.status))
            keep(name, peer(call, options, f"{name}, not compiled", *given, **more))

    both = ["basic", "fast_newton"]
    keep("472 ours, 1", ours(call, options, "472 ours, 1", 472, both))
    if found["472 ours, 1"] is None:
        call.environment.update(NO_WAYS)
        call.note("left_out", NO_WAYS["ROBUSTSEG_GPU_WITHOUT"])
        keep("472 ours, 1", ours(call, options, "472 ours, 1, again", 472, both))
    beside("472 peer", 472, both, most=130)
    keep("472 ours, 2", ours(call, options, "472 ours, 2", 472, both, most=40))
    keep("712 ours", ours(call, options, "712 ours", 712, both, steps=7, warmup=2))
    # A part that delays the next ones gets no more time than they need.
    beside("712 peer", 712, both, steps=7, warmup=2, most=max(40, min(120, call.left() - 150)))
    keep("bim ours", ours(call, options, "bim ours", 472, ["basic", "bim"], steps=7, warmup=2, most=40))
    beside("bim peer", 472, ["basic", "bim"], steps=7, warmup=2, most=60)
    # What CUDA graphs and the other ways to compute convolutions are worth.
    keep("no graphs", ours(call, options, "no graphs", 472, both, steps=7, warmup=2, most=35, environment=NO_GRAPHS))
    keep("older ways", ours(call, options, "older ways", 472, ["basic"], steps=7, warmup=2, most=30, environment=OLDER_WAYS))
    for precision in ("tf32", "f32"):
        keep(precision, ours(call, options, precision, 472, ["basic"], precision, steps=5, warmup=2, most=30))
    curves = ["--evaluation", "--curve-batch", "2" if options.rehearse else "8"]
    keep("evaluation ours", ours(call, options, "evaluation ours", 472, ["basic"], steps=2, warmup=1, most=45, extra=curves))
    beside("evaluation peer", 472, ["basic"], steps=2, warmup=1, most=60, extra=curves)
    keep("not folded", ours(call, options, "not folded", 472, ["basic"], steps=2, warmup=1, most=35, extra=curves, environment=NO_FOLDING))
    sanitizer(call, options)
    print(table(call.results["figures"]))
    return all(found.get(name) for name in ("472 ours, 1", "472 peer"))

"""Times robustseg and the same network in PyTorch in turn, and prints the ratios.

    python bench_peer.py BINARY ROUNDS [--steps-only] [--compile] [--batch N] [--size N] [--layers L] [--width N]
                         [--methods M] [--steps N] [--warmup N]

Run by bench_peer.sh, with a Python that has torch. Every round runs each way to compute: this program in f32 and bf16,
PyTorch in f32 and bf16 (autocast), both channels first and channels last, and with --compile, which needs a C++ compiler,
compiled in bf16 too. Of the rounds the median counts; the fastest and the slowest are printed below. Row by row, this
program's f32 is compared with PyTorch's fastest f32, and its faster precision with PyTorch's fastest way of all.
--steps-only leaves out the evaluation, whose curves take minutes at full size.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = {"f32": ["--precision", "f32"], "bf16": ["--precision", "bf16"]}
PEER = {
    "f32": ["--precision", "fp32"],
    "f32 last": ["--precision", "fp32", "--channels-last"],
    "bf16": ["--precision", "bf16"],
    "bf16 last": ["--precision", "bf16", "--channels-last"],
}
COMPILED = {"bf16 compiled": ["--precision", "bf16", "--channels-last", "--compile"]}


def run(command):
    """What `command` printed, and the largest memory that it had, in bytes."""
    print("running", *command, file=sys.stderr)
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"bench_peer.py: {command[0]} ended with status {child.returncode}")
    return text, usage.ru_maxrss * 1024


def rows(result):
    """Seconds by row."""
    return {**result["step_s"], **(result.get("evaluation_s") or {})}


def ours(binary, arguments):
    """Seconds by row, and peak memory, of one round of this program."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        _, peak = run([binary, "bench", "--device", "cpu", "--json", path, *arguments])
        with open(path) as file:
            return rows(json.load(file)), peak


def peer(arguments):
    """Seconds by row, and peak memory, of one round of PyTorch."""
    text, peak = run([sys.executable, os.path.join(HERE, "peer", "bench_torch.py"), *arguments])
    return rows(json.loads(text)), peak


def table(seconds):
    """Lines of text from the median seconds of each row in each way, ours first."""
    lines = [f"{'seconds':12}" + "".join(f"{way:>20}" for way in seconds) + f"{'f32 ratio':>12}{'best ratio':>12}"]
    f32 = [way for way in seconds if way.startswith("PyTorch f32")]
    peers, own = [way for way in seconds if way.startswith("PyTorch")], ["ours f32", "ours bf16"]
    for row in seconds["ours f32"]:
        fastest = lambda ways: min(seconds[way][row] for way in ways)
        exact, best = fastest(f32) / seconds["ours f32"][row], fastest(peers) / fastest(own)
        lines.append(f"{row:12}" + "".join(f"{seconds[way][row]:20.3f}" for way in seconds) + f"{exact:12.2f}{best:12.2f}")
    return lines


def additional(seconds):
    """Lines of text: the additional time of each method over Basic, in percent, in each way."""
    methods = [row for row in seconds["ours f32"] if row not in ("basic", "forward", "curves")]
    if "basic" not in seconds["ours f32"]:
        return []
    percent = lambda times, row: 100 * (times[row] / times["basic"] - 1)
    return [
        f"{'+% ' + row:12}" + "".join(f"{percent(times, row):20.1f}" for times in seconds.values()) for row in methods
    ]


def spans(found):
    """Lines of text: the fastest and the slowest round of each row in each way."""
    lines = []
    for row in found["ours f32"][0][0]:
        all_rounds = [[times[row] for times, _ in rounds] for rounds in found.values()]
        cells = [f"{min(seconds):.3f} to {max(seconds):.3f}" for seconds in all_rounds]
        lines.append(f"{'  rounds':12}" + "".join(f"{cell:>20}" for cell in cells) + f"  {row}")
    return lines


def main():
    binary, rounds, *arguments = sys.argv[1:]
    flags = {flag: flag in arguments for flag in ("--steps-only", "--compile")}
    arguments = [argument for argument in arguments if argument not in flags]
    if not flags["--steps-only"]:
        arguments.append("--evaluation")
    ways = {f"ours {name}": (lambda own=own: ours(binary, [*arguments, *own])) for name, own in OURS.items()}
    others = {**PEER, **(COMPILED if flags["--compile"] else {})}
    ways.update({f"PyTorch {name}": (lambda other=other: peer([*arguments, *other])) for name, other in others.items()})
    found = {way: [] for way in ways}
    for _ in range(int(rounds)):
        for way, measure in ways.items():
            found[way].append(measure())
    median = lambda rounds, row: statistics.median(times[row] for times, _ in rounds)
    seconds = {way: {row: median(rounds, row) for row in rounds[0][0]} for way, rounds in found.items()}
    peaks = [statistics.median(peak for _, peak in rounds) / 1e9 for rounds in found.values()]
    memory = f"{'memory, GB':12}" + "".join(f"{peak:20.2f}" for peak in peaks)
    print("\n".join([*table(seconds), *spans(found), *additional(seconds), memory]))


if __name__ == "__main__":
    main()

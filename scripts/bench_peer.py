"""Times robustseg and the same network in PyTorch in turn, and prints the ratios.

    python bench_peer.py BINARY ROUNDS [--batch N] [--size N] [--layers L] [--width N] [--methods M] [--steps N] [--warmup N]

Run by bench_peer.sh, with a Python that has torch. In every round: this program, PyTorch channels first, PyTorch
channels last. Of the rounds the median counts, of PyTorch's two formats, row by row, the faster one.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


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


def ours(binary, arguments):
    """Seconds by row, and peak memory, of one round of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        _, peak = run([binary, "bench", "--device", "cpu", "--evaluation", "--json", path, *arguments])
        with open(path) as file:
            result = json.load(file)
    return {**result["step_s"], **result["evaluation_s"]}, peak


def peers(arguments):
    """Seconds by row, and peak memory, of one round of PyTorch."""
    script = os.path.join(HERE, "peer", "bench_torch.py")
    text, peak = run([sys.executable, script, "--evaluation", *arguments])
    result = json.loads(text)
    return {**result["step_s"], **result["evaluation_s"]}, peak


def medians(rounds):
    """Row by row, and of the peaks."""
    seconds = {row: statistics.median(times[row] for times, _ in rounds) for row in rounds[0][0]}
    return seconds, statistics.median(peak for _, peak in rounds)


def main():
    binary, rounds, *arguments = sys.argv[1:]
    ours_rounds, first_rounds, last_rounds = [], [], []
    for _ in range(int(rounds)):
        ours_rounds.append(ours(binary, arguments))
        first_rounds.append(peers(arguments))
        last_rounds.append(peers([*arguments, "--channels-last"]))
    own, own_peak = medians(ours_rounds)
    first, first_peak = medians(first_rounds)
    last, last_peak = medians(last_rounds)
    best = {row: min(first[row], last[row]) for row in own}
    steps = [row for row in own if row not in ("forward", "curves")]

    def added(times, row):
        return 100 * (times[row] / times["basic"] - 1) if "basic" in times and row in steps else float("nan")

    print(f"{'seconds':12} {'ours':>8} {'PyTorch':>8} {'ch. last':>8} {'PyTorch/ours':>12} {'ours +%':>8} {'PyTorch +%':>10}")
    for row in own:
        print(
            f"{row:12} {own[row]:8.3f} {first[row]:8.3f} {last[row]:8.3f} {best[row] / own[row]:12.2f}"
            f" {added(own, row):8.1f} {added(best, row):10.1f}"
        )
    print(f"peak memory, GB: ours {own_peak / 1e9:.2f}, PyTorch {first_peak / 1e9:.2f}, channels last {last_peak / 1e9:.2f}")


if __name__ == "__main__":
    main()

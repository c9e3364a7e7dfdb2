"""Prints how the step times in robustseg's JSON files compare with those in the peer's.

    python3 bench_table.py OURS.json... -- PEER.json...

Both have `step_s` and `additional_time_percent` by method; of several runs the median counts.
"""
import json
import statistics
import sys


def medians(paths):
    """Median seconds a step, by method, over the runs in `paths`."""
    runs = []
    for path in paths:
        with open(path) as file:
            runs.append(json.load(file)["step_s"])
    return {method: statistics.median(run[method] for run in runs) for method in runs[0]}


def main():
    split = sys.argv.index("--")
    ours, peer = medians(sys.argv[1:split]), medians(sys.argv[split + 1 :])
    print(f"{'method':12} {'ours s':>9} {'peer s':>9} {'ours/peer':>10} {'ours +%':>9} {'peer +%':>9}")
    for method, seconds in ours.items():
        extra = [100 * (times[method] / times["basic"] - 1) if "basic" in times else float("nan") for times in (ours, peer)]
        print(
            f"{method:12} {seconds:9.3f} {peer[method]:9.3f} {seconds / peer[method]:10.2f} {extra[0]:9.1f} {extra[1]:9.1f}"
        )


if __name__ == "__main__":
    main()

"""What gpu_check.sh does."""
import argparse
import os
import sys

import check
import measure
import study
from harness import Call, conduct
from tools import environment

CALLS = {"check": (check.check, check.SECONDS), "measure": (measure.measure, measure.SECONDS), "study": (study.study, study.SECONDS)}
SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("call", choices=CALLS)
    parser.add_argument("--bring", default="target/cuda/bring.tar.xz")
    parser.add_argument("--brought-caches", default="target/cuda/caches.tar.xz")
    parser.add_argument("--caches", default="/tmp/robustseg-caches")
    parser.add_argument("--data", default="target/cuda/camvid.tar")
    parser.add_argument("--goldens", default="tests/goldens")
    parser.add_argument("--out", default=os.environ.get("OUT") or "target/gpu_check")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--test-seconds", type=float, default=20)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--python", default=os.environ.get("ROBUSTSEG_PEER_PYTHON") or sys.executable)
    parser.add_argument("--peer", default=os.path.join(SCRIPTS, "peer", "bench_torch.py"))
    parser.add_argument("--probe", default=os.path.join(SCRIPTS, "gpu_check", "probe.py"))
    parser.add_argument("--sanitizer")
    options = parser.parse_args()
    work, seconds = CALLS[options.call]
    call = Call(options.call, options.out, options.seconds or seconds, environment(options.caches))
    status = conduct(call, lambda call: work(call, options))
    print(f"{call.path}: {call.results['state']} after {call.results['seconds']} s")
    for name in sorted(os.listdir(options.out)):
        print(f"  {os.path.getsize(os.path.join(options.out, name)):>10} {name}")
    return status


sys.exit(main())

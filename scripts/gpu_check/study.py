"""The call `study`: PSPNet50 on CamVid by the paper's five methods. Results come back, and no checkpoints."""
import os
import sys

from tools import bundle, pack, read_json, take_caches, unpack

SECONDS = 560
# The paper's main methods come first, because time may run out before the last.
METHODS = ["basic", "fastnewton", "bim", "fgsm", "random_fgsm"]
# Seconds for the remaining work after the trainings.
REPORT = 40
SETTINGS = [
    "precision=bf16", "convolutions=measured", "model.layers=[3,4,6,3]", "model.width=64", "training.epochs=60",
    "training.batch_size=16", "training.augmentation.crop=320", "training.validate_every=20", "training.validation_limit=40",
    "evaluation.batch_size=16", "evaluation.limit=101",
]
SMALL = [
    "training.epochs=1", "training.batch_size=4", "training.augmentation.crop=64", "training.validation_limit=2",
    "training.validate_every=1", "evaluation.limit=2", "evaluation.batch_size=2", "evaluation.examples=1", "evaluation.curves=[{fgsm: {epsilons: [0, 0.01]}}]",
]


def results_of(folder):
    """A run's scores: clean, and along its curves."""
    found = read_json(os.path.join(folder, "evaluation.json"))
    if found is None:
        return None
    curves = {
        curve["attack"]: {str(point["epsilon"]): point["miou"] for point in curve["points"]} for curve in found["curves"]
    }
    return {
        "miou": found["clean"]["miou"], "pixel_accuracy": found["clean"]["pixel_accuracy"], "images": found.get("images"),
        "curves": curves, "timing": read_json(os.path.join(folder, "timing.json")),
    }


PRUNE = """
import os, shutil, sys
for folder, folders, files in os.walk(sys.argv[1]):
    if "checkpoints" in folders:
        shutil.rmtree(os.path.join(folder, "checkpoints"))
        folders.remove("checkpoints")
"""


def table(methods):
    lines = [f"{'method':<12} {'mIoU':>7} {'FGSM at 0.03':>13} {'BIM at 0.03':>12} {'seconds':>8}"]
    for name, row in methods.items():
        scores = row.get("scores") or {}
        at = [(scores.get("curves", {}).get(attack) or {}).get("0.03") for attack in ("fgsm", "bim")]
        values = ["-" if value is None else f"{value:.4f}" for value in (scores.get("miou"), *at)]
        lines.append(f"{name:<12} {values[0]:>7} {values[1]:>13} {values[2]:>12} {row['seconds']:>8}")
    return "\n".join(lines)


def study(call, options):
    bundle(call, options)
    take_caches(call, options)
    data, runs = os.path.join(call.scratch.name, "data"), os.path.join(call.scratch.name, "runs")
    os.mkdir(data)
    os.mkdir(runs)
    unpack([options.data], data)
    settings = SETTINGS + (SMALL if options.rehearse else [])
    if options.device == "cpu":
        settings.append("precision=f32")
    if options.rehearse:
        settings += ["model.layers=[1,1,1,1]", "model.width=8"]
    given = [argument for setting in settings for argument in ("--set", setting)]
    robustseg = os.path.join(options.bring, "robustseg")
    call.note("settings", settings)
    call.results["methods"] = methods = {}
    for index, method in enumerate(METHODS):
        out = os.path.join(runs, method)
        # The remaining share, so that a hanging method does not take the time of the others.
        fair = (call.left() - REPORT) / max(1, len(METHODS) - index) * 1.8
        command = [robustseg, "run", f"experiments/camvid_{method}.yaml", "--device", options.device, "--out", out, *given]
        part = call.run(f"run {method}", command, max(30, min(fair, call.left() - REPORT)), {"ROBUSTSEG_DATA": data})
        methods[method] = {"status": part.status, "seconds": part.seconds, "scores": results_of(out)}
        call.save()
    done = [os.path.join(runs, method) for method in METHODS if methods[method]["scores"]]
    if len(done) > 1:
        call.run("compare", [robustseg, "compare", *done, "--out", os.path.join(runs, "comparison")], 20)
    call.run("leave checkpoints out", [sys.executable, "-c", PRUNE, runs], 10)
    pack(call, "pack", runs, os.path.join(call.out, "runs.tar.xz"), 3, 60)
    print(table(methods))
    return len(done) == len(METHODS)

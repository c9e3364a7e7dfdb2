#!/usr/bin/env python3
"""The study's records and tables (docs/study.md).

study.py collect RUNS RECORDS   copies the records of the finished runs in RUNS, a sweep's folder, to RECORDS
study.py restore RECORDS RUNS   makes runs of them again, without weights: a sweep then continues with the others, and
                                robustseg compare compares them
study.py tables RECORDS         prints the tables of the results
study.py figures RUNS FIGURES [PROGRAM]
                                draws the figures of the results from finished or restored runs; PROGRAM is robustseg,
                                or the path of its executable. Figures of a single run are copied from finished runs

RECORDS is docs/results/study, or docs/results/overfitting for the trainings that may overfit; RUNS are those of either.
A run's events and counts of images are compressed there by gzip. Paths of the machine are left out, and the specs name
the manifests of this repository. Python's standard library is enough.
"""

import gzip
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev

SETS = {"camvid": "CamVid", "ccp": "Clothing Co-Parsing"}
METHODS = {
    "basic": "Basic",
    "fgsm": "FGSM",
    "random_fgsm": "Random FGSM",
    "n_fgsm": "N-FGSM",
    "sora": "SORA",
    "fast_newton": "Fast Newton",
    "noisy_newton": "noisy Newton",
    "masked_newton": "masked Newton",
    "curved_newton": "curved Newton",
    "bim": "BIM",
    "segpgd_at": "SegPGD-AT",
    "fgsm_half": "FGSM, half",
    "fast_newton_half": "Fast Newton, half",
    "bim_half": "BIM, half",
    "fast_newton_clamp": "Fast Newton, clamped",
}
ATTACKS = {"fgsm": "FGSM", "bim": "BIM-10", "cospgd": "CosPGD", "tsallis_apgd": "TsallisPGD", "sea": "SEA"}
JUDGED = 4 / 255
TRAINED = 0.03


def runs_in(folder):
    return sorted(folder.glob("seed-*")) or sys.exit(f"study.py: {folder} has no run of the study, a folder named seed-*")


def collect(runs, records):
    if runs.resolve() == records.resolve():
        sys.exit(f"study.py: {runs} has the runs themselves; collect their records in another folder")
    for run in runs_in(runs):
        outcome = runs / "sweep" / "outcomes" / f"{run.name}.json"
        if not outcome.is_file() or json.loads(outcome.read_text())["status"] != 0:
            continue
        target = records / run.name
        target.mkdir(parents=True, exist_ok=True)
        for name in ["evaluation.json", "timing.json"]:
            (target / name).write_bytes((run / name).read_bytes())
        manifest = r"(manifest: ).*/(data-manifests/\w+\.yaml)"
        spec = re.sub(manifest, r"\1../../../../\2", (run / "spec.yaml").read_text())
        (target / "spec.yaml").write_text(spec)
        (target / "provenance.json").write_text(without_paths((run / "provenance.json").read_text()))
        for name in ["events.jsonl", "images.jsonl"]:
            # Without a time, so that equal records are equal files.
            packed = gzip.compress((run / name).read_bytes(), 9, mtime=0)
            (target / f"{name}.gz").write_bytes(packed)


def without_paths(text):
    """`text` with absolute paths shortened to what follows the checkout, or to their last part."""
    text = re.sub(r'/[^"\s]*/(data-manifests|experiments|runs)/', r"\1/", text)
    return re.sub(r'(?<=[\s"=])/[^"\s]*/([^/"\s]+)', r"\1", text)


def restore(records, runs):
    root = Path(__file__).resolve().parent.parent
    for kept in runs_in(records):
        run = runs / kept.name
        if run.exists():
            continue
        run.mkdir(parents=True)
        for file in kept.iterdir():
            if file.suffix == ".gz":
                (run / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
            else:
                (run / file.name).write_bytes(file.read_bytes())
        spec = (kept / "spec.yaml").read_text()
        (run / "spec.yaml").write_text(spec.replace("../../../../", f"{root}/experiments/../"))
        # A sweep takes a run with a report for finished.
        (run / "report.html").write_text("<!doctype html><title>Restored</title><p>The report of this run was not kept.\n")


def lines(path):
    """The records in `path`, which gzip may have compressed."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return [json.loads(line) for line in file]


def load(records):
    """The runs with their evaluations, by training and seed. The training is what follows the seed in a run's name."""
    found = {}
    for run in runs_in(records):
        _, seed, training = run.name.split("-", 2)
        found.setdefault(training, {})[int(seed)] = (run, json.loads((run / "evaluation.json").read_text()))
    return found


def are_of_the_study(trainings, folder):
    """Whether `folder` has the trainings of the study's two sets, not those that may overfit."""
    if all(training.partition("-")[0] in SETS for training in trainings):
        return True
    if all(re.fullmatch(r"basic|fgsm_0\.\d+(_[a-z]+)?", training) for training in trainings):
        return False
    sys.exit(f"study.py: {folder} has runs of another sweep, or of both")


def by_set(trainings):
    """The study's trainings by set and method."""
    found = {}
    for training, runs in trainings.items():
        data, method = training.split("-", 1)
        found.setdefault(data, {})[method] = runs
    return found


def readings(runs):
    """The monitor's readings in each run, by the order of the seeds."""
    events = [lines(run / "events.jsonl.gz") for _, (run, _) in sorted(runs.items())]
    return [[event for event in of_run if event["kind"] == "monitor"] for of_run in events]


def found_scores(evaluation, attack, epsilon):
    if attack == "clean":
        return evaluation["clean"]
    curves = [curve["points"] for curve in evaluation["curves"] if curve["attack"] == attack]
    for point in evaluation["worst_case"] if attack == "worst" else sum(curves, []):
        if abs(point["epsilon"] - epsilon) < 1e-9:
            return point
    sys.exit(f"study.py: an evaluation has no score under {attack} at {epsilon}; the records are of other runs")


def score(evaluation, attack, epsilon=JUDGED):
    return found_scores(evaluation, attack, epsilon)["miou"]


def scores(runs, attack, epsilon=JUDGED):
    return [score(evaluation, attack, epsilon) for _, (_, evaluation) in sorted(runs.items())]


def error(values):
    """The standard error of the mean, infinite for one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def cell(values):
    spread = f" ± {100 * error(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def over_images(runs, attack, epsilon=JUDGED):
    """The 95 % interval over images, with the mean of each end over the seeds."""
    ends = zip(*(found_scores(evaluation, attack, epsilon)["miou_interval"] for _, evaluation in runs.values()))
    return " to ".join(f"{100 * mean(end):.1f}" for end in ends)


def table(title, head, rows):
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def all_scores(data, methods):
    columns = [
        ("clean", "clean", 0),
        ("FGSM, 0.03", "fgsm", TRAINED),
        ("BIM-10, 0.03", "bim", TRAINED),
        ("BIM-10", "bim", JUDGED),
        ("CosPGD", "cospgd", JUDGED),
        ("TsallisPGD", "tsallis_apgd", JUDGED),
        ("SEA", "sea", JUDGED),
        ("worst case", "worst", JUDGED),
    ]
    rows = []
    for method, name in METHODS.items():
        if method in methods:
            runs = methods[method]
            row = [name] + [cell(scores(runs, attack, epsilon)) for _, attack, epsilon in columns]
            rows.append(row + [over_images(runs, "worst")])
    seeds = max(len(runs) for runs in methods.values())
    title = (
        f"Mean IoU in percent, {SETS[data]}, means ± standard errors over up to {seeds} seeds, at 4/255 where no "
        "epsilon is given. The last column is the worst case's 95 % interval over images:"
    )
    table(title, ["trained by"] + [name for name, _, _ in columns] + ["over images"], rows)


# The statements of each question: of each pair, whether the first is more robust. Without an attack and an epsilon, in
# the worst case at 4/255.
STATEMENTS = {
    1: [
        ("fgsm", "basic", "bim", TRAINED),
        ("fgsm_half", "basic", "bim", TRAINED),
        ("bim", "fgsm", "bim", TRAINED),
        ("bim_half", "fgsm_half", "bim", TRAINED),
        ("bim", "fgsm"),
        ("bim_half", "fgsm_half"),
    ],
    2: [
        ("random_fgsm", "fgsm", "bim", TRAINED),
        ("random_fgsm", "fgsm"),
        ("n_fgsm", "fgsm"),
    ],
    3: [
        ("fast_newton", "bim", "bim", TRAINED),
        ("fast_newton_half", "bim_half", "bim", TRAINED),
        ("fast_newton", "bim"),
        ("fast_newton_half", "bim_half"),
        ("fast_newton", "fgsm"),
        ("fast_newton_half", "fgsm_half"),
        ("fast_newton", "random_fgsm"),
    ],
    4: [
        ("fgsm", "fgsm_half"),
        ("fast_newton", "fast_newton_half"),
        ("bim", "bim_half"),
    ],
    5: [("fast_newton_clamp", "fast_newton")],
    7: [
        ("noisy_newton", "fast_newton"),
        ("masked_newton", "noisy_newton"),
        ("curved_newton", "masked_newton"),
        ("masked_newton", "fast_newton"),
        ("masked_newton", "random_fgsm"),
        ("masked_newton", "n_fgsm"),
        ("masked_newton", "sora"),
        ("masked_newton", "bim"),
        ("masked_newton", "segpgd_at"),
        ("n_fgsm", "bim"),
        ("sora", "bim"),
        ("segpgd_at", "bim"),
    ],
}


def verdicts(found, question):
    head = ["difference"]
    for data in found:
        head += [f"{SETS[data]}, clean", f"{SETS[data]}, attacked"]
    rows = []
    for first, second, *under in STATEMENTS[question]:
        name = f"{METHODS[first]} - {METHODS[second]}"
        if under:
            name += f", {ATTACKS[under[0]]} at {under[1]}"
        row, signs = [name], {"clean": [], "attacked": []}
        for methods in found.values():
            for images, attack in [("clean", ["clean"]), ("attacked", under or ["worst"])]:
                text, sign = difference(methods, first, second, attack)
                row.append(text)
                signs[images].append(sign)
        rows.append(row + [verdict(of_sets) for of_sets in signs.values()])
    title = (
        f"Question {question}. Differences of mean IoU in points ± standard errors, in the worst case at 4/255 where no "
        "attack is given. Those beyond two errors are bold, and decide if both sets agree whether the first is better:"
    )
    table(title, head + ["better clean", "more robust"], rows)


def verdict(signs):
    """Whether the first of two methods is better on both sets, by the signs of the differences."""
    return {1: "confirmed", -1: "refuted"}.get(sum(signs) / len(SETS), "undecided here")


def difference(methods, first, second, attack):
    """The difference in words, and its sign if it is beyond two standard errors, else 0."""
    if first not in methods or second not in methods:
        return "", 0
    one, other = (scores(methods[method], *attack) for method in (first, second))
    apart, spread = mean(one) - mean(other), math.hypot(error(one), error(other))
    if math.isinf(spread):
        return f"{100 * apart:+.1f}", 0
    text = f"{100 * apart:+.1f} ± {100 * spread:.1f}"
    return (f"**{text}**", math.copysign(1, apart)) if abs(apart) > 2 * spread else (text, 0)


def learnt_classes(found, least=0.05):
    """How many classes each method's networks find, clean and attacked."""
    rows = []
    for method, name in METHODS.items():
        row = [name]
        for methods in found.values():
            for attack, epsilon in [("clean", 0), ("worst", JUDGED)]:
                found_classes = [
                    sum(iou is not None and iou > least for iou in found_scores(evaluation, attack, epsilon)["iou"])
                    for _, evaluation in methods.get(method, {}).values()
                ]
                row.append(f"{mean(found_classes):.1f}" if found_classes else "")
        rows.append(row)
    head = ["trained by"] + [f"{SETS[data]}, {images}" for data in found for images in ("clean", "attacked")]
    table("Classes with an IoU above 5 %, means over seeds, clean and in the worst case at 4/255:", head, rows)


def curves(found, methods):
    """Mean IoU along the paper's two curves."""
    columns = [(attack, epsilon) for attack in ("fgsm", "bim") for epsilon in (0.01, 0.02, 0.03, 0.04)]
    rows = []
    for data, runs in found.items():
        for method in methods:
            if method in runs:
                values = [cell(scores(runs[method], attack, epsilon)) for attack, epsilon in columns]
                rows.append([f"{SETS[data]}, {METHODS[method]}", *values])
    title = "Question 1. Mean IoU in percent along the curves, means ± standard errors:"
    table(title, ["trained by"] + [f"{ATTACKS[attack]}, {epsilon}" for attack, epsilon in columns], rows)


def under_each_attack(found, pairs):
    """The difference of two methods under one attack after the other."""
    columns = [("fgsm", 0.01), ("fgsm", TRAINED), ("bim", 0.01), ("bim", TRAINED)]
    columns += [(attack, JUDGED) for attack in ("bim", "cospgd", "tsallis_apgd", "sea", "worst")]
    rows = []
    for data, methods in found.items():
        for first, second in pairs:
            values = [difference(methods, first, second, under)[0] for under in columns]
            rows.append([f"{SETS[data]}, {METHODS[first]} - {METHODS[second]}", *values])
    head = [
        ATTACKS.get(attack, "worst case") + (", 4/255" if epsilon == JUDGED else f", {epsilon}")
        for attack, epsilon in columns
    ]
    title = "Question 3. Differences of mean IoU in points ± standard errors, those beyond two errors bold:"
    table(title, ["difference"] + head, rows)


def tau(one, other):
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    signs = [(one[i] - one[j]) * (other[i] - other[j]) for i, j in pairs]
    return sum((sign > 0) - (sign < 0) for sign in signs) / len(pairs)


def ranking(found):
    rows = []
    for data, methods in found.items():
        worst = [mean(scores(runs, "worst")) for runs in methods.values()]
        row = [SETS[data]]
        for attack in ["clean", "bim", "cospgd", "tsallis_apgd", "sea"]:
            row.append(f"{tau([mean(scores(runs, attack)) for runs in methods.values()], worst):.2f}")
        rows.append(row)
    head = ["Kendall's tau with the worst case", "clean", "BIM-10", "CosPGD", "TsallisPGD", "SEA"]
    table("Question 6. Agreement on the order of the methods, all at 4/255:", head, rows)


def strongest(found):
    """How many networks each attack harms most, by mean IoU at 4/255. FGSM has no point there."""
    rows = []
    attacks = ["bim", "cospgd", "tsallis_apgd", "sea"]
    for data, methods in found.items():
        runs = [evaluation for runs in methods.values() for _, evaluation in runs.values()]
        winners = [min(attacks, key=lambda attack: score(evaluation, attack)) for evaluation in runs]
        above = [
            mean(100 * (score(evaluation, attack) - score(evaluation, "worst")) for evaluation in runs) for attack in attacks
        ]
        row = [SETS[data], str(len(runs))]
        row += [f"{winners.count(attack)}, {gap:.2f}" for attack, gap in zip(attacks, above)]
        rows.append(row)
    head = ["set", "networks"] + [ATTACKS[attack] for attack in attacks]
    title = (
        "Question 6. Networks that each attack alone harms most at 4/255, and how many points it is above the worst case "
        "on average:"
    )
    table(title, head, rows)


def costs(found):
    """What crafting takes next to the update. A median over runs, some of which shared their processor for a while."""
    rows = []
    for method, name in METHODS.items():
        row = [name]
        for methods in found.values():
            ratios = []
            for run, _ in methods.get(method, {}).values():
                seconds = json.loads((run / "timing.json").read_text())["training"]["seconds"]
                ratios.append(seconds["attack"] / (seconds["forward"] + seconds["backward"]))
            row.append(f"{100 * median(ratios):.0f} %" if ratios else "")
        rows.append(row)
    title = "Question 3. Seconds of crafting, in percent of the forward and the backward pass of the update, medians over seeds:"
    table(title, ["trained by", *(SETS[data] for data in found)], rows)


def step_sizes(found, parts=5):
    """Fast Newton's epsilons over the training."""
    for method in ["fast_newton", "fast_newton_half"]:
        rows = []
        for data, methods in found.items():
            seeds = [lines(run / "events.jsonl.gz") for run, _ in methods.get(method, {}).values()]
            if not seeds:
                continue
            by_part = [[] for _ in range(parts)]
            for events in seeds:
                steps = [event for event in events if event["kind"] == "step"]
                for event in steps:
                    by_part[event["step"] * parts // len(steps)] += event.get("epsilons", [])
            for index, epsilons in enumerate(by_part):
                epsilons.sort()
                negative = sum(epsilon < 0 for epsilon in epsilons) / len(epsilons)
                quantiles = [epsilons[int(share * (len(epsilons) - 1))] for share in (0.05, 0.5, 0.95, 1)]
                rows.append(
                    [f"{SETS[data]}, part {index + 1} of {parts}", f"{100 * negative:.0f} %"]
                    + [f"{quantile:.3f}" for quantile in quantiles]
                )
        if rows:
            head = ["training", "negative", "5 %", "median", "95 %", "largest"]
            table(f"Question 5. Epsilons of {METHODS[method]}, all seeds:", head, rows)


def signs(found):
    """Signs of catastrophic overfitting."""
    rows = []
    for data, methods in found.items():
        for method, name in METHODS.items():
            of_runs = readings(methods.get(method, {}))
            flagged = sum(any(reading["overfitting"] for reading in of_run) for of_run in of_runs)
            seen = sum(any(reading["sign"] for reading in of_run) for of_run in of_runs)
            if seen:
                rows.append([f"{SETS[data]}, {name}", str(len(of_runs)), str(seen), str(flagged)])
    head = ["trained by", "trainings", "with a sign", "flagged"]
    if rows:
        table("Question 1. Signs of catastrophic overfitting, of all trainings that showed one:", head, rows)
    else:
        print("\nQuestion 1. No training showed a sign of catastrophic overfitting.")


def tables(records):
    trainings = load(records)
    if are_of_the_study(trainings, records):
        study_tables(by_set(trainings))
    else:
        overfitting_table(trainings)


def study_tables(found):
    for data, methods in found.items():
        all_scores(data, methods)
    learnt_classes(found)
    curves(found, ["basic", "fgsm", "fgsm_half", "bim", "bim_half"])
    verdicts(found, 1)
    signs(found)
    verdicts(found, 2)
    verdicts(found, 3)
    under_each_attack(found, [("fast_newton", "bim"), ("fast_newton_half", "bim_half")])
    costs(found)
    verdicts(found, 4)
    step_sizes(found)
    verdicts(found, 5)
    ranking(found)
    strongest(found)
    verdicts(found, 7)


def overfitting_table(trainings):
    """Signs of catastrophic overfitting, and mean IoU at the epsilon of each training."""
    rows = []
    for training in sorted(trainings, key=lambda training: (len(training.split("_")), training)):
        runs, (method, *settings) = trainings[training], training.split("_")
        # Training on clean images has no epsilon, and is judged at each.
        for epsilon in settings[:1] or ["0.03", "0.06", "0.1"]:
            points = [("clean", 0), ("fgsm", float(epsilon)), ("bim", float(epsilon))]
            name = ", ".join([METHODS[method], epsilon, *settings[1:]])
            rows.append([name, *monitored(runs), *(cell(scores(runs, *point)) for point in points)])
    head = ["trained by", "flagged", "at step", "readings with distortion", "with gap", "clean", "FGSM", "BIM-10"]
    title = (
        "Trainings that the monitor flagged, its readings with each sign, and mean IoU in percent on 20 validation "
        "images, means ± standard errors over seeds:"
    )
    table(title, head, rows)


def monitored(runs):
    """How many of the runs the monitor flagged, at which steps, and how many of its readings had each sign."""
    of_runs = readings(runs)
    signs = [reading["sign"] for of_run in of_runs for reading in of_run]
    if not signs:
        return ["-"] * 4
    flagged = [next((reading["step"] for reading in of_run if reading["overfitting"]), None) for of_run in of_runs]
    steps = [str(step) for step in flagged if step is not None]
    of_signs = [f"{signs.count(sign)} of {len(signs)}" for sign in ("distortion", "gap")]
    return [f"{len(steps)} of {len(runs)}", ", ".join(steps) or "-", *of_signs]


# The methods of each figure, or None for all of them, and the charts of their comparison.
FIGURES = {
    "overfitting": (["basic", "fgsm", "fgsm_half", "bim"], ["fgsm", "bim"]),
    "random_step": (["basic", "fgsm", "random_fgsm", "n_fgsm"], ["clean_and_attacked"]),
    "newton_and_bim": (["basic", "fast_newton", "fast_newton_half", "bim", "bim_half"], ["bim"]),
    "share_attacked": (
        ["fgsm", "fgsm_half", "fast_newton", "fast_newton_half", "bim", "bim_half"],
        ["clean_and_attacked"],
    ),
    "all": (None, ["bim", "worst_case", "clean_and_attacked"]),
}


def compare(runs, charts, program):
    """The `charts` of a comparison of `runs`, by name."""
    compared = [run for run in runs if (run / "report.html").exists()]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "compare", *compared, "--out", f"{folder}/out"], check=True, stdout=subprocess.DEVNULL)
        return {chart: Path(folder, "out", "figures", f"{chart}.svg").read_bytes() for chart in charts}


def figures(runs, target, program):
    trainings = [run.name.split("-", 2)[2] for run in runs_in(runs)]
    if not shutil.which(program):
        sys.exit(f"study.py: there is no program {program}; build it by cargo build --release, and name its path at the end")
    draw = study_figures if are_of_the_study(trainings, runs) else overfitting_figures
    target.mkdir(parents=True, exist_ok=True)
    draw(runs, target, program)


def study_figures(runs, target, program):
    for data in SETS:
        for figure, (methods, charts) in FIGURES.items():
            found = sorted(run for method in methods or METHODS for run in runs.glob(f"seed-*-{data}-{method}"))
            for chart, svg in compare(found, charts, program).items():
                (target / f"{figure}_{chart}_{data}.svg").write_bytes(svg)
        keep(runs / f"seed-0-{data}-fast_newton", "epsilons", target / f"epsilons_{data}.svg")


def overfitting_figures(runs, target, program):
    for chart, svg in compare(runs_in(runs), ["fgsm", "bim"], program).items():
        (target / f"epsilons_of_training_{chart}.svg").write_bytes(svg)
    keep(runs / "seed-0-fgsm_0.1", "monitor_loss", target / "loss_along_step.svg")


def keep(run, figure, target):
    """Copies a figure of `run`, unless it was restored without figures."""
    figure = run / "figures" / f"{figure}.svg"
    if figure.exists():
        target.write_bytes(figure.read_bytes())


def main(arguments):
    match arguments:
        case ["collect", runs, records]:
            collect(Path(runs), Path(records))
        case ["restore", records, runs]:
            restore(Path(records), Path(runs))
        case ["tables", records]:
            tables(Path(records))
        case ["figures", runs, target, *program]:
            figures(Path(runs), Path(target), *program or ["robustseg"])
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    # `study.py tables RECORDS | head` ends quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))

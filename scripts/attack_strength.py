#!/usr/bin/env python3
"""Compares the attacks of evaluations under experiments/attack_strength.yaml, image by image.

attack_strength.py RUN...   prints the tables of folders with images.jsonl, or images.jsonl.gz, and evaluation.json

An attack's distance to the set is how much of an image it leaves right beyond the worst case of the recommended set
(experiments/attacks_2026.yaml at its passes), in percent of the labelled pixels: the mean over images, with the standard
error of the mean. A negative distance is an attack that the set misses. Python's standard library is enough.
"""

import json
import sys
from pathlib import Path
from statistics import mean

from study import error, lines, table

SET = ["CosPGD, 300", "TsallisAPGD, 100", "SEA with cross-entropy, 400"]
NAMES = {
    "bim": "BIM",
    "segpgd": "SegPGD",
    "cospgd": "CosPGD",
    "tsallis_pgd": "TsallisPGD",
    "padam": "PAdam",
    "apgd": "APGD",
    "tsallis_apgd": "TsallisAPGD",
    "sea": "SEA",
}
SMALLEST = {"dag": "DAG", "alma_prox": "ALMA prox"}


def names_of(line):
    """The attack and its backward passes for an image: for a candidate of SEA also that of SEA without cross-entropy."""
    attack, parameters = line["attack"], line["parameters"]
    if attack not in NAMES:
        return []
    if attack != "sea":
        return [f"{NAMES[attack]}, {parameters['steps']}"]
    steps = parameters["steps"]
    weights = "dataset" if parameters["dataset_weights"] else "image"
    three = [f"SEA, {3 * steps}, weights of the {weights}"] if line["candidate"] != "cross_entropy" else []
    return three + ([f"SEA with cross-entropy, {4 * steps}"] if parameters["cross_entropy"] else [])


def right(confusion):
    """The share of labelled pixels that are right."""
    total = sum(count for _, _, count in confusion)
    return sum(count for label, predicted, count in confusion if label == predicted) / total


def miou(confusions):
    """The mean IoU over the classes that occur in labels or predictions."""
    overlap, union = {}, {}
    for label, predicted, count in (entry for confusion in confusions for entry in confusion):
        if label == predicted:
            overlap[label] = overlap.get(label, 0) + count
        for index in {label, predicted}:
            union[index] = union.get(index, 0) + count
    return mean(overlap.get(index, 0) / union[index] for index in union)


def read(run):
    """For each attack its worst candidate of each image, the smallest perturbations, and the clean images."""
    attacks, clean = {}, {}
    packed = run / "images.jsonl.gz"
    for line in lines(packed if packed.is_file() else run / "images.jsonl"):
        if line["attack"] is None:
            clean[line["id"]] = line["confusion"]
        for name in names_of(line):
            images = attacks.setdefault(name, {})
            best = images.get(line["id"])
            if best is None or right(line["confusion"]) < right(best):
                images[line["id"]] = line["confusion"]
    curves = json.loads((run / "evaluation.json").read_text())["curves"]
    found = [(curve["attack"], curve["points"][0]) for curve in curves]
    smallest = {SMALLEST[attack]: point["smallest"] for attack, point in found if attack in SMALLEST}
    return attacks, smallest, clean


def worst(attacks, names):
    images = attacks[names[0]]
    return {image: min((attacks[name][image] for name in names), key=right) for image in images}


def distances(attacks, name):
    of_set = worst(attacks, SET)
    return [100 * (right(attacks[name][image]) - right(of_set[image])) for image in of_set]


def pair(values):
    return f"{mean(values):.2f} ± {error(values):.2f}"


def main(runs):
    if not runs:
        print(__doc__, file=sys.stderr)
        return 2
    found = {run.name: read(run) for run in map(Path, runs)}
    names = list(next(iter(found.values()))[0])
    rows = [["none"] + [f"{100 * miou(clean.values()):.1f}" for _, _, clean in found.values()]]
    for name in names:
        cells = [
            f"{100 * miou(attacks[name].values()):.1f}, {pair(distances(attacks, name))}"
            for attacks, _, _ in found.values()
        ]
        rows.append([name] + cells)
    rows.append(["the set"] + [f"{100 * miou(worst(attacks, SET).values()):.1f}" for attacks, _, _ in found.values()])
    table("Mean IoU in percent, and the distance to the set:", ["attack, passes", *found], rows)
    rows = []
    for attack in SMALLEST.values():
        cells = []
        for _, smallest, _ in found.values():
            of_attack = smallest[attack]
            size = "none" if of_attack.get("median") is None else f"{of_attack['median']:.4f}"
            cells.append(f"{size}, {100 * of_attack['succeeded']:.0f} %")
        rows.append([attack] + cells)
    title = "Median of the largest changes that get 99 % of an image wrong, and the share of images where the attack does:"
    table(title, ["attack", *found], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

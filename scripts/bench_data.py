"""Times the loader beside torchvision.transforms.v2 and albumentations, in turn, and prints the ratios.

    python bench_data.py BINARIES DATA FOLDER ROUNDS

BINARIES holds `examples/throughput`; DATA the folders `voc_sample` and `camvid`; FOLDER is where
pictures of 1024x2048 are made from CamVid's. Only this process's cores are used: limit them with taskset.
"""
import json
import pathlib
import random
import statistics
import subprocess
import sys

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
LARGE = 12  # pictures of 1024x2048
PEERS = ["torchvision", "albumentations"]
# case, crop, whether samples come from packs, samples per round of ours and of the peers, the ratios to reach
CASES = [
    ("VOC JPEG", 472, False, (384, 96), (4, 1.5)),
    ("1024x2048 PNG", 712, False, (96, 32), (6, 3)),
    ("1024x2048 PNG", 712, True, (384, 32), (20, 10)),
]


def voc_pairs(data, folder):
    root = data / "voc_sample"
    ids = (root / "ImageSets/Segmentation/trainaug.txt").read_text().split()
    pairs = [f"{root}/JPEGImages/{id}.jpg {root}/SegmentationClassAug/{id}.png" for id in ids]
    (folder / "voc.txt").write_text("\n".join(pairs))
    return HERE.parent / "data-manifests/voc_sample.yaml", root, "trainaug", folder / "voc.txt"


def large_pairs(data, folder):
    """Street scenes as large as Cityscapes', with the grain of a camera: as PNG they take as many bytes, too."""
    noise = np.random.default_rng(0)
    names = [line.split() for line in (data / "camvid/train.txt").read_text().splitlines()]
    names = names[:: len(names) // LARGE][:LARGE]
    for index, (image, label) in enumerate(names):
        picture = Image.open(data / "camvid" / image).convert("RGB")
        picture = np.asarray(picture.resize((2048, 1024), Image.Resampling.LANCZOS), dtype=np.float32)
        # A camera's grain is nearly the same in all channels.
        grain = noise.normal(0, 1.1, (1024, 2048, 1)) + noise.normal(0, 0.4, picture.shape)
        Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
        label = Image.open(data / "camvid" / label)
        label.resize((2048, 1024), Image.Resampling.NEAREST).save(folder / f"{index}_label.png")
    size = sum((folder / f"{index}.png").stat().st_size for index in range(LARGE)) / LARGE / 2**20
    print(f"pictures of 1024x2048: {size:.2f} MiB each", file=sys.stderr)
    pairs = [(f"{index}.png", f"{index}_label.png") for index in range(LARGE)]
    (folder / "list.txt").write_text("".join(f"{image} {label}\n" for image, label in pairs))
    (folder / "large.txt").write_text("\n".join(f"{folder}/{image} {folder}/{label}" for image, label in pairs))
    camvid = (HERE.parent / "data-manifests/camvid.yaml").read_text()
    head, rest = camvid.split("splits:\n")
    _, tail = rest.split("citation:")
    (folder / "large.yaml").write_text(
        f"{head}splits:\n  train: {{file: list.txt, count: {LARGE}}}\ncitation:{tail}"
    )
    return folder / "large.yaml", folder, "train", folder / "large.txt"


def rate(command):
    output = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output.splitlines()[-1])["images_per_s"]


def main():
    binaries, data, folder = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    rounds = int(sys.argv[4])
    sources = {"VOC JPEG": voc_pairs(data, folder), "1024x2048 PNG": large_pairs(data, folder)}
    print("| pipeline | ours | " + " | ".join(PEERS) + " | ratios | to reach |\n|---|---|---|---|---|---|")
    for case, crop, cached, (ours, theirs), goals in CASES:
        manifest, root, split, pairs = sources[case]
        rates = {name: [] for name in ["ours", *PEERS]}
        for number in range(rounds):
            print(f"{case}, round {number + 1} of {rounds}", file=sys.stderr)
            command = [binaries / "examples/throughput", manifest, root, split, crop, ours]
            command += [folder / "cache"] if cached else []
            rates["ours"].append(rate(command))
            for peer in PEERS:
                command = [sys.executable, HERE / "bench_data_peer.py", peer, pairs, crop, theirs]
                rates[peer].append(rate(command))
        # Per round, so that other load on the machine affects both alike.
        ratios = [statistics.median(a / b for a, b in zip(rates["ours"], rates[peer])) for peer in PEERS]
        cells = [f"{statistics.median(rates[name]):.1f}" for name in rates]
        cells.append(" / ".join(f"{ratio:.2f}" for ratio in ratios))
        cells.append(" / ".join(f"{goal}" for goal in goals))
        case += ", ours from the packed cache" if cached else ""
        print(f"| {case}, crop {crop} | " + " | ".join(cells) + " |", flush=True)


main()

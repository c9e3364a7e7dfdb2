"""Images a second of torchvision.transforms.v2 or albumentations on a DataLoader with two workers, as JSON.

    python bench_data_peer.py torchvision|albumentations PAIRS CROP SAMPLES

PAIRS lists an image and a label file a line. Each sample is decoded, mirrored, resized by 0.5 to 2, rotated by up to 10
degrees, blurred, cropped at random and made f32 in [0, 1]: the paper's augmentation in its order, every second sample
mirrored, every second blurred. A first batch is not counted.
"""
import json
import random
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

FILL = [124, 116, 104]
IGNORE = 255
WORKERS = 2
BATCH = 4


def torchvision_pipeline(crop):
    import torchvision
    from PIL import Image
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as F

    fill = {tv_tensors.Image: FILL, tv_tensors.Mask: IGNORE}

    class RandomScale(v2.Transform):
        def make_params(self, flat_inputs):
            height, width = v2.query_size(flat_inputs)
            scale = float(torch.empty(1).uniform_(0.5, 2))
            return {"size": [round(height * scale), round(width * scale)]}

        def transform(self, inpt, params):
            return self._call_kernel(F.resize, inpt, params["size"], antialias=True)

    transform = v2.Compose([
        v2.RandomHorizontalFlip(0.5),
        RandomScale(),
        v2.RandomRotation(10, interpolation=v2.InterpolationMode.BILINEAR, fill=fill),
        v2.RandomApply([v2.GaussianBlur(9, (0.1, 1.5))], 0.5),
        v2.RandomCrop(crop, pad_if_needed=True, fill=fill),
        v2.ToDtype(torch.float32, scale=True),
        v2.ToPureTensor(),
    ])

    def load(image, label):
        image = tv_tensors.Image(torchvision.io.decode_image(image, torchvision.io.ImageReadMode.RGB))
        label = tv_tensors.Mask(torch.from_numpy(np.array(Image.open(label))))
        return transform(image, label)

    return load


def albumentations_pipeline(crop):
    import albumentations as A
    import cv2
    from PIL import Image
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(0)
    transform = A.Compose([
        A.HorizontalFlip(p=0.5),
        A.RandomScale(scale_limit=(-0.5, 1.0), p=1),
        A.Rotate(limit=10, border_mode=cv2.BORDER_CONSTANT, fill=FILL, fill_mask=IGNORE, p=1),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 1.5), p=0.5),
        A.PadIfNeeded(crop, crop, border_mode=cv2.BORDER_CONSTANT, fill=FILL, fill_mask=IGNORE),
        A.RandomCrop(crop, crop),
        A.ToFloat(255),
        ToTensorV2(),
    ])

    def load(image, label):
        image = cv2.cvtColor(cv2.imread(image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        # OpenCV returns a palette's colours, not its indices.
        palette = label_is_palette(label)
        label = np.array(Image.open(label)) if palette else cv2.imread(label, cv2.IMREAD_UNCHANGED)
        changed = transform(image=image, mask=label)
        return changed["image"], changed["mask"]

    return load


def label_is_palette(path):
    with open(path, "rb") as file:
        return file.read(26)[25] == 3


class Pairs(Dataset):
    def __init__(self, pairs, samples, load):
        self.pairs, self.samples, self.load = pairs, samples, load

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return self.load(*self.pairs[index % len(self.pairs)])


def start_worker(index):
    torch.set_num_threads(1)
    random.seed(index)
    np.random.seed(index)


def main():
    name, pairs, crop, samples = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pipeline = {"torchvision": torchvision_pipeline, "albumentations": albumentations_pipeline}[name]
    with open(pairs) as lines:
        pairs = [line.split() for line in lines]
    data = Pairs(pairs, samples + BATCH, pipeline(crop))
    loader = iter(DataLoader(data, BATCH, shuffle=True, num_workers=WORKERS, worker_init_fn=start_worker))
    next(loader)
    start, images, total = time.perf_counter(), 0, 0.0
    for image, label in loader:
        assert image.shape[1:] == (3, crop, crop) and label.shape[1:] == (crop, crop)
        assert image.dtype == torch.float32
        images += len(image)
        total += float(image.flatten()[::4096].sum())
    rate = images / (time.perf_counter() - start)
    print(json.dumps({"images": images, "images_per_s": rate, "checksum": total}))


main()

"""Makes the golden case beside this file with the published tool: pip install cityscapesScripts==2.3.0

A few synthetic scenes of polygons, drawn by the tool as ids and as training ids, predictions with errors in each class,
and what the tool's own evaluation makes of them: the confusion matrix and the classes' IoU.
"""

import json
import os
import tempfile

import numpy as np
from PIL import Image

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluation
from cityscapesscripts.helpers.labels import id2label, labels, trainId2label
from cityscapesscripts.preparation.json2labelImg import json2labelImg

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = [(61, 40), (48, 33), (35, 52)]  # width, height

random = np.random.default_rng(2016)
# Of every kind: evaluated classes, ignored ones, and the licence plate, whose id is -1. `train` occurs nowhere.
names = [label.name for label in labels if label.name != "train"]


def scene(width, height):
    """Triangles of all labels over one another, as an annotation."""
    objects = []
    for name in list(random.permutation(names)) + ["license plate"]:
        centre = random.uniform(0, [width, height])
        corners = centre + random.uniform(-0.3, 0.3, (3, 2)) * [width, height]
        polygon = np.clip(corners, 0, [width - 1, height - 1]).round().astype(int).tolist()
        objects.append({"label": str(name), "polygon": polygon})
    return {"imgWidth": width, "imgHeight": height, "objects": objects}


def predict(ids):
    """Training classes: mostly right where there is one, anything elsewhere; `train` never."""
    classes = np.array([label.trainId for label in sorted(labels, key=lambda l: l.id) if label.id >= 0])[ids]
    wrong = random.integers(0, 16, ids.shape)
    keep = (random.random(ids.shape) < 0.7) & (classes < 19) & (classes >= 0)
    return np.where(keep, classes, wrong).astype(np.uint8)


def save(array, *place):
    path = os.path.join(HERE, "data", *place)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(array).save(path, optimize=True)
    return path


pairs = []
temporary = tempfile.TemporaryDirectory()
for number, (width, height) in enumerate(SIZES):
    frame = f"ulm_{number:06}_000019"
    annotation = os.path.join(temporary.name, "polygons.json")
    with open(annotation, "w") as file:
        json.dump(scene(width, height), file)
    save(np.full((height, width, 3), 40 * number, np.uint8), "leftImg8bit/val/ulm", f"{frame}_leftImg8bit.png")
    drawn = os.path.join(temporary.name, "drawn.png")
    for kind, name in [("ids", "labelIds"), ("trainIds", "labelTrainIds")]:
        json2labelImg(annotation, drawn, kind)
        truth = save(np.array(Image.open(drawn)), "gtFine/val/ulm", f"{frame}_gtFine_{name}.png")
        if kind == "ids":
            ids = truth
    prediction = predict(np.array(Image.open(ids)))
    save(prediction, "predictions", f"{frame}.png")
    as_ids = np.array([trainId2label[n].id for n in range(19)], np.uint8)[prediction]
    path = os.path.join(temporary.name, f"{frame}.png")
    Image.fromarray(as_ids).save(path)
    pairs.append((path, ids))

args = evaluation.args
args.evalInstLevelScore, args.evalPixelAccuracy, args.quiet, args.JSONOutput = False, False, True, False
matrix = evaluation.generateMatrix(args)
for prediction, truth in pairs:
    evaluation.evaluatePair(prediction, truth, matrix, {}, {}, args)
classes = [trainId2label[n].id for n in range(19)]
iou = [evaluation.getIouScoreForLabel(id, matrix, args) for id in classes]
golden = {
    "classes": [id2label[id].name for id in classes],
    "confusion": [[int(matrix[truth, prediction]) for prediction in classes] for truth in classes],
    "iou": [None if np.isnan(value) else value for value in iou],
    "mean_iou": float(np.nanmean(iou)),
}
with open(os.path.join(HERE, "golden.json"), "w") as file:
    file.write("{" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "}\n")

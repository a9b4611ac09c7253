"""Hand a classifier to other programs: an ONNX file that holds the preprocessing and the class names, too.

    python export.py runs/classifier/classifier.pt flower.onnx  # seconds
    python export.py runs/photos/classifier.pt mine.onnx        # then in any program, without ours:

    session = onnxruntime.InferenceSession("flower.onnx")
    logits, = session.run(None, {"photos": photos})  # from uint8 (B, 3, H, W): RGB, upright, of any size
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])

The names are those of predict.py --views 1, which also sees a photo's largest centred square.
"""

import argparse
import importlib.util
import json
from pathlib import Path

import torch
from torch import nn

import evaluate
from flowers.resizing import Preprocess
from support import errors, files


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = errors.Parser(__doc__)
    parser.add_argument("classifier", type=Path, help="checkpoint, a classifier.pt")
    parser.add_argument("out", type=Path, help="file to write, whose name ends in .onnx")
    args = parser.parse_args(argv)
    if args.out.suffix != ".onnx":  # a checkpoint, maybe, in the wrong place
        parser.error(f"{args.out}: the name of the file to write has to end in .onnx")
    return args


def main(args: argparse.Namespace) -> int:
    if lacking := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise errors.UserError(f"export.py needs more packages: pip install {' '.join(lacking)}")
    if not args.out.parent.is_dir():
        raise errors.UserError(f"cannot write {args.out}: there is no folder {args.out.parent}", 1)
    network, content = evaluate.load_classifier(args.classifier, torch.device("cpu"))
    model = nn.Sequential(Preprocess(), network).eval()
    program = torch.onnx.export(model, (torch.zeros(2, 3, 130, 170, dtype=torch.uint8),), verbose=False,
                                dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
                                input_names=["photos"], output_names=["logits"])
    program.model.metadata_props["classes"] = json.dumps([*map(errors.legible, content["classes"])])
    with files.atomic(args.out) as temporary:
        program.save(temporary)
    print(f"wrote {args.out}: photos to logits of {len(content['classes'])} classes, whose names it holds")
    return 0


if __name__ == "__main__":
    errors.run(main, parse_args)

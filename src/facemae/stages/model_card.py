"""README.md of an exported model: what it is, how to load it, what to know of its format, what it was made from."""

import json
from pathlib import Path

from facemae.nn.backbones import Backbone, name_of
from facemae.nn.embedder import Embedder
from facemae.nn.mae import FaceMAE
from facemae.spec.manifest import FILE, hash_path, read_manifest

LIBRARY = {"transformers": "transformers", "transformers5": "transformers", "timm": "timm", "onnx": "onnx"}

LOADING = {
    "facebook": 'torch.load("mae.pth", weights_only=True)["model"]',
    "transformers": 'transformers.ViTMAEForPreTraining.from_pretrained("PATH")',
    "transformers5": 'transformers.ViTMAEForPreTraining.from_pretrained("PATH")',
    "timm": 'timm.create_model("local-dir:PATH", pretrained=True)',
    "insightface": 'backbone.load_state_dict(torch.load("backbone.pth", weights_only=True))',
    "onnx": 'onnxruntime.InferenceSession("recogniser.onnx").run(None, {"data": images})[0]',
}

NOTES = {
    "facebook": "The names and shapes are those of facebookresearch/mae's `models_mae.py`.",
    "transformers": "The names are those of transformers 4.x, which 5.x reads as well.",
    "transformers5": "The names are those of transformers 5.x; 4.x needs format=transformers.",
    "timm": "This is the encoder alone: timm takes whatever holds a mask token for DINOv2, and has no decoder for it.",
    "insightface": "A bare state dict in float32, as arcface_torch writes `backbone.pth`.",
    "onnx": 'Images go in as "data", float32, batch x 3 x size x size, normalised as said above; the batch is free.',
    "safetensors": "facemae opens this folder as it is.",
}

CARD = """---
library_name: {library}
pipeline_tag: image-feature-extraction
tags:
- facemae
- {tag}
---

# {title}

{what}

```
{loading}
```

{note}

## Where it comes from

{origin}

Before you publish it, name a licence that the photos and weights it was made from allow: the public weights of
facebookresearch/mae are CC BY-NC 4.0, InsightFace's are for non-commercial research only.
"""


def model_card(source: Path, trained: FaceMAE | Embedder, form: str) -> str:
    """The card of ``trained``, which was read from ``source``, in a format of `export`; it holds no path."""
    is_mae = isinstance(trained, FaceMAE)
    own = "facemae pretrain FACES OUT --init PATH" if is_mae else "facemae verify PATH FACES --pairs pairs.txt"
    return CARD.format(
        library=LIBRARY.get(form, "facemae" if form == "safetensors" else "pytorch"),
        tag="masked-autoencoder" if is_mae else "face-recognition",
        title="Masked autoencoder of faces" if is_mae else "Face recogniser",
        what=_of_mae(trained) if isinstance(trained, FaceMAE) else _of_recogniser(trained),
        loading=LOADING.get(form, own),
        note=NOTES[form],
        origin=_origin(source),
    )


def _of_mae(model: FaceMAE) -> str:
    size = model.size
    return (
        f"A ViT of width {size.width}, {size.depth} blocks and {size.heads} heads, with a decoder of width "
        f"{size.decoder_width}, {size.decoder_depth} blocks and {size.decoder_heads} heads, for images of "
        f"{size.image_size} pixels in patches of {size.patch_size}. Pixels are RGB, with ImageNet's mean and deviation "
        "taken out; LayerNorm has eps 1e-6. A model trained by facemae saw every visible cell enlarged by itself, so "
        "that no hidden pixel reaches the others: cut the photo first, and then enlarge."
    )


def _of_recogniser(embedder: Embedder) -> str:
    body, normalize = embedder.body, embedder.normalize
    name = name_of(body) if isinstance(body, Backbone) else None
    stated = {
        "insightface": "pixels are RGB from -1 to 1",
        "imagenet": "pixels are RGB with ImageNet's mean and deviation taken out",
        "pixels": "pixels are RGB from 0 to 255",
    }
    seen = stated.get(str(normalize), f"pixels are RGB in 0 … 1, then mean and deviation {normalize} are taken out")
    return (
        f"InsightFace's architecture, `{name or 'with blocks of its own'}` in facemae's words, first width "
        f"{getattr(body, 'width', '?')}: {embedder.input_size} x {embedder.input_size} pixels to {embedder.embedding} "
        f"numbers, to be compared by their cosine; {seen}. arcface_torch calls `iresnet50` `r50`; its `mbf` is `mbf2` "
        "here since 2022-03-28, and was `mbf` before."
    )


def _origin(source: Path) -> str:
    if not (source / FILE).is_file():
        return f"Converted from other weights, sha256 `{hash_path(source)}`."
    manifest = read_manifest(source)
    parents = "".join(f"\n- {name}: `{digest}`" for name, digest in sorted(manifest.parents.items()))
    settings = json.dumps(manifest.spec, indent=1, sort_keys=True)
    return (
        f"Made by `facemae {manifest.stage}` {manifest.facemae}, digest `{manifest.digest}`, from{parents}\n\n"
        f"with these settings:\n\n```json\n{settings}\n```"
    )

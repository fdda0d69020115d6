"""Tensors in, tensors out: the masked autoencoder, its losses, and networks that turn faces into vectors."""

from facemae.nn.backbones import BACKBONES, build_backbone, own_width
from facemae.nn.embedder import NORMALISATIONS, Embedder, embed_views, load_embedder, prepare, save_recogniser
from facemae.nn.iresnet import IResNet
from facemae.nn.irm import Terms, match
from facemae.nn.keymaps import check_state, load_mae, load_state, save_mae
from facemae.nn.mae import SIZES, FaceMAE, Size, build_mae, infer_size, pixel_loss
from facemae.nn.mae_files import open_mae
from facemae.nn.margin import MarginHead, adaface, arcface, cosface
from facemae.nn.mobilefacenet import MobileFaceNet
from facemae.nn.onnx_graph import OnnxGraph, load_graph
from facemae.nn.openvino import compiled
from facemae.nn.patches import enlarge_cells, gather_patches, masked_positions, paste_patches, patchify, unpatchify
from facemae.nn.vit import Attention, Block, Mlp
from facemae.nn.vit_face import VitFace
from facemae.nn.vitmae_names import from_transformers, to_transformers

__all__ = [
    "BACKBONES",
    "NORMALISATIONS",
    "SIZES",
    "Attention",
    "Block",
    "Embedder",
    "FaceMAE",
    "IResNet",
    "MarginHead",
    "Mlp",
    "MobileFaceNet",
    "OnnxGraph",
    "Size",
    "Terms",
    "VitFace",
    "adaface",
    "arcface",
    "build_backbone",
    "build_mae",
    "check_state",
    "compiled",
    "cosface",
    "embed_views",
    "enlarge_cells",
    "from_transformers",
    "gather_patches",
    "infer_size",
    "load_embedder",
    "load_graph",
    "load_mae",
    "load_state",
    "masked_positions",
    "match",
    "open_mae",
    "own_width",
    "paste_patches",
    "patchify",
    "pixel_loss",
    "prepare",
    "save_mae",
    "save_recogniser",
    "to_transformers",
    "unpatchify",
]

"""OpenVINO as another engine for frozen networks on the CPU; an optional extra."""

import sys
import tempfile
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.nn.onnx_export import write_graph

ModuleT = TypeVar("ModuleT", bound=nn.Module)

HINTS = {"fp32": "f32", "bf16": "bf16"}


def compiled(module: ModuleT, *, precision: str, device: torch.device) -> ModuleT:
    """``module`` itself, whose calls OpenVINO answers from now on, in ``precision``: fp32 or bf16 throughout.

    For inference with fixed weights: a graph is made at the first call with inputs of one shape, on as many threads as
    torch has then. Float32 results differ from torch's by rounding only. Layers that torch's autocast leaves in
    float32 run in bf16 too.

    Raises:
        RecipeError: OpenVINO is not installed, ``device`` is not the CPU, or this CPU does not multiply bf16.
    """
    if device.type != "cpu":
        raise RecipeError("engine openvino", got=f"device {device.type}", needed="--device cpu")
    module.forward = _Graphs(module, precision)
    return module


def load_openvino() -> Any:
    """The package, kept from reporting to its maker that it was imported, as it does by default.

    Raises:
        RecipeError: it is not installed.
    """
    # It reports through this package, and does without where it is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module("openvino")
    except ModuleNotFoundError:
        remedy = "pip install facemae[openvino], or set engine=torch"
        raise RecipeError("engine openvino is not installed", remedy=remedy) from None


def openvino_core() -> Any:
    """OpenVINO's core, the same one all the time; raises as `load_openvino`."""
    return _lasting_core(load_openvino())


@lru_cache(maxsize=1)
def _lasting_core(openvino: Any) -> Any:
    # Never let go of: with the last core its plug-in is unloaded, and then the next process that is started from this
    # one brings both down.
    return openvino.Core()


class _Graphs:
    """A module's forward pass, compiled once for every shape of its inputs."""

    def __init__(self, module: nn.Module, precision: str) -> None:
        self._core, self._precision = openvino_core(), precision
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise RecipeError("engine openvino", got="bf16 on a CPU without it", needed="precision=fp32")
        self._module, self._forward = module, module.forward
        self._requests: dict[tuple[torch.Size, ...], Any] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._requests:
            self._requests[shapes] = self._compile(inputs)
        answers = self._requests[shapes].infer([x.contiguous().numpy() for x in inputs], share_inputs=True)
        # A copy: the next call overwrites the answer where it lies.
        return torch.from_numpy(np.array(answers[0]))

    def _compile(self, inputs: tuple[Tensor, ...]) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[self._precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            # Pinned threads of several processes would all be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "network.onnx"  # a file, for in memory a graph is limited to 2 GB
            self._export(inputs, path)
            return self._core.compile_model(self._core.read_model(path), "CPU", settings).create_infer_request()

    def _export(self, inputs: tuple[Tensor, ...], path: Path) -> None:
        answering, self._module.forward = self._module.forward, self._forward
        try:
            write_graph(self._module, inputs, path)
        finally:
            self._module.forward = answering

"""The classifier as one ONNX graph: token ids in, last hidden state and logits of every head out."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbone.adapters import read_adapter
from backbone.architecture import find_family, linear_sizes, read_shape
from backbone.config import BaseConfig
from backbone.load import first_blocks, load_options, quiet_libraries
from classifier.predict import Classifier
from engines.onnx_file import STATE_OUTPUT
from tickets.errors import InputError, WorkError
from tickets.plain_reason import plain_reason

MAX_PARAMETERS = 1.6e9  # Qwen2-1.5B with its embedding: beyond it a graph passes the 2 GiB of one ONNX file at int8
_OPSET = 23  # the first with Attention, RotaryEmbedding and RMSNormalization as single operators
_LARGE = 1.8e9  # bytes; a graph file ends at 2 GiB, larger weights lie beside it


class _Graph(nn.Module):
    """What is exported: merged backbone, then heads at the last token."""

    def __init__(self, backbone: Any, heads: dict[str, nn.Linear]) -> None:
        super().__init__()
        self.backbone = backbone
        self.names = list(heads)
        self.heads = nn.ModuleList(heads.values())

    def forward(self, input_ids: Tensor, last: Tensor) -> tuple[Tensor, ...]:
        """Return state (batch, hidden) and logits (batch, classes) by head from right-padded ids (batch, seq).

        `last` (batch,) are the positions of the last tokens. No mask: causal attention never looks at later padding.
        """
        # one row of positions per ticket: onnxruntime's RotaryEmbedding does not broadcast a single one
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0).expand_as(input_ids)
        hidden = self.backbone(input_ids=input_ids, position_ids=positions, use_cache=False).last_hidden_state
        index = last.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
        state = hidden.gather(1, index).squeeze(1)
        return (state, *(head(state) for head in self.heads))


def export_onnx(base: Path, layers: int | None, adapter: Path, classifier: Classifier, out: Path) -> None:
    """Write the fp32 graph of a classifier run, into a folder that is made.

    Its states come from the first `layers` blocks of the base; None: from all.

    Raises:
        InputError: the base is larger than 1.5B.
        WorkError: the exporter failed.
    """
    quiet_libraries()
    options = load_options(BaseConfig(precision="fp32", compute="fp32"), torch.device("cpu"))
    decoder = find_family(base).transformers_class("Model")
    backbone = decoder.from_pretrained(base, **first_blocks(base, layers), **options).eval()
    with torch.no_grad():
        for name, change in read_adapter(adapter).items():
            weight = backbone.get_submodule(name.removeprefix("model.")).weight
            weight.copy_(change.merged(weight))
    graph = _Graph(backbone, {name: _linear(*head) for name, head in classifier.heads.items()}).eval()
    example = (torch.zeros((2, 8), dtype=torch.long), torch.tensor([7, 3]))
    shapes = {
        "input_ids": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},
        "last": {0: torch.export.Dim.DYNAMIC},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    large = sum(p.numel() for p in backbone.parameters()) * 4 > _LARGE
    try:
        with _quiet():
            torch.onnx.export(
                graph,
                example,
                out,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["input_ids", "last"],
                output_names=[STATE_OUTPUT, *(f"logits_{name}" for name in graph.names)],
                opset_version=_OPSET,
                external_data=large,
                verbose=False,
            )
    except Exception as error:
        raise WorkError(f"{out}: torch.onnx.export failed ({plain_reason(error)}); leave --onnx out") from None


def quantize_onnx(source: Path, out: Path, base: Path) -> None:
    """Write a copy with int8 weights; activations are quantised at run time, per batch (so rows affect each other).

    Weights keep to seven bits: with eight, products overflow 16-bit sums on CPUs without VNNI, and labels would depend
    on the machine. The feed-forward output of the first block stays in fp32: single tokens have huge activations there
    (Sun et al. 2024), which leave the others few steps of an int8 scale.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.parent.mkdir(parents=True, exist_ok=True)
    bare = source.with_name(f"{source.name}.bare")  # beside the weights, which stay where they are
    model = onnx.load(source, load_external_data=False)
    inner = read_shape(base)["intermediate_size"]
    narrowing = {weight.name for weight in model.graph.initializer if weight.dims and weight.dims[0] == inner}
    outputs = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in narrowing]
    if not outputs:
        raise WorkError(
            f"{source}: found no feed-forward products in the graph, expected MatMul nodes; update onnxscript"
        )
    del model.graph.value_info[:]  # shapes of the exporter that the quantiser would contradict
    onnx.save(model, bare)
    del model
    try:
        with _quiet():
            quantize_dynamic(
                bare,
                out,
                op_types_to_quantize=["MatMul", "Gemm", "Gather"],  # of Attention it would make an invalid node
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=outputs[:1],
                use_external_data_format=source.with_name(f"{source.name}.data").exists(),
            )
    finally:
        bare.unlink()


def check_size(base: Path, layers: int | None) -> None:
    """Raise InputError where a base, or its first `layers` blocks, are too large for an ONNX classifier."""
    shape = read_shape(base)
    layer = sum(rows * columns for rows, columns in linear_sizes(shape).values())
    parameters = (layers or shape["num_hidden_layers"]) * layer + shape["vocab_size"] * shape["hidden_size"]
    if parameters > MAX_PARAMETERS:
        raise InputError(
            f"--onnx: {base} has about {parameters / 1e9:.1f} billion parameters, expected at most 1.5B; leave --onnx "
            "out: the llama engine labels with bases of any size"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter and the quantiser say about their own internals, which nobody here can remedy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _linear(weight: Any, bias: Any) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
    return layer

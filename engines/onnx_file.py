"""The structure of an ONNX graph, checked before a native library loads it.

What onnxruntime does not forgive is looked at here: other inputs and outputs than ours, weights whose bytes are not as
many as their shape needs, and weights in files elsewhere.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backbone.checked import keep, recall
from engines.refusals import not_exported

STATE_OUTPUT = "state"
_LOGITS = "logits_"
_SCALES = "DynamicQuantizeLinear"  # one scale for a whole tensor: all tickets of a call, padding included
_CHECKS = 2  # raised when `check_graph` looks at more
_INPUTS = {"input_ids": 2, "last": 1}  # their dimensions
_MOST_DIMENSIONS, _MOST_NODES = 8, 1_000_000


@dataclass(frozen=True)
class Graph:
    """What the file says: the length of the states, whether activations are scaled over the whole batch, and the number
    of classes by head."""

    hidden_size: int
    scales_over_batch: bool
    classes: Mapping[str, int]


def check_graph_once(path: Path, digest: str) -> Graph:
    """Return what `check_graph` returns, from the user's cache where content of this digest was checked before.

    Importing `onnx` and reading the graph takes a tenth of a second, which is much of a start.

    Raises:
        InputError: as `check_graph`.
    """
    name = f"{digest}-{_CHECKS}"
    with suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError):
        record = recall("graphs", name)
        classes = {str(head): int(count) for head, count in record["classes"].items()}
        return Graph(int(record["hidden_size"]), bool(record["scales_over_batch"]), classes)
    graph = check_graph(path)
    keep("graphs", name, asdict(graph))
    return graph


def check_graph(path: Path) -> Graph:
    """Return what a graph of ours says of itself.

    Raises:
        InputError: not a graph, or another than `duet export` writes.
    """
    import onnx  # a fifth of a second

    try:
        model = onnx.load_model(path, load_external_data=False)
        _check_form(model.graph, model.functions, onnx)
        for tensor in _weights(model.graph):
            _check_weight(path, tensor, onnx)
        width = int(model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value)
        classes = {
            value.name.removeprefix(_LOGITS): int(value.type.tensor_type.shape.dim[-1].dim_value)
            for value in model.graph.output[1:]
        }
        return Graph(width, any(node.op_type == _SCALES for node in model.graph.node), classes)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise not_exported(path, "graph", error) from None
    except Exception as error:  # protobuf's DecodeError is not to be had by a stable name
        raise not_exported(path, "graph", error) from None


def _check_form(graph: Any, functions: Any, onnx: Any) -> None:
    inputs = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    kinds = {value.type.tensor_type.elem_type for value in graph.input}
    if inputs != _INPUTS or kinds != {onnx.TensorProto.INT64}:
        raise ValueError(f"inputs {sorted(inputs)}, expected {sorted(_INPUTS)} of whole numbers")
    if not graph.output or graph.output[0].name != STATE_OUTPUT:  # logits may follow, which we compute ourselves
        raise ValueError(f"outputs {[value.name for value in graph.output][:5]}, expected {STATE_OUTPUT!r} first")
    state = graph.output[0].type.tensor_type
    if state.elem_type != onnx.TensorProto.FLOAT or len(state.shape.dim) != 2 or state.shape.dim[-1].dim_value < 1:
        raise ValueError(f"{STATE_OUTPUT!r} is no matrix of numbers with a fixed width")
    if not 0 < len(graph.node) <= _MOST_NODES:
        raise ValueError(f"{len(graph.node)} nodes")
    inner = next((node.op_type for node in graph.node if any(map(_holds_graph, node.attribute))), None)
    if inner or functions:  # which may run for ever, and whose weights nobody looks at
        raise ValueError(f"a graph inside of it ({inner or functions[0].name}), expected none")


def _holds_graph(attribute: Any) -> bool:
    """Return whether an attribute is the body of a loop or the branch of a condition."""
    return attribute.HasField("g") or len(attribute.graphs) > 0


def _weights(graph: Any) -> list[Any]:
    return [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]


def _check_weight(path: Path, tensor: Any, onnx: Any) -> None:
    """Refuse a weight whose data are not as many as its shape needs, or that lies elsewhere."""
    size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if len(tensor.dims) > _MOST_DIMENSIONS or any(length < 0 for length in tensor.dims):
        raise ValueError(f"weight {tensor.name!r} of shape {list(tensor.dims)[:9]}")
    expected_bytes = math.prod(tensor.dims) * size
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        facts = {entry.key: entry.value for entry in tensor.external_data}
        name, start = facts["location"], int(facts.get("offset", 0))
        file = path.parent / name
        if Path(name).name != name or not name.startswith(f"{path.name}."):
            raise ValueError(f"weight {tensor.name!r} lies in {name[:100]!r}, expected a file beside the graph")
        if (
            start < 0
            or int(facts.get("length", expected_bytes)) != expected_bytes
            or start + expected_bytes > file.stat().st_size
        ):
            raise ValueError(f"weight {tensor.name!r} goes past the end of {name}")
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != expected_bytes:
        raise ValueError(f"weight {tensor.name!r} has {len(tensor.raw_data):,} bytes, expected {expected_bytes:,}")

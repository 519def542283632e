"""Operators of other domains, written out as the standard operators they stand for.

Those are the fusions of onnxruntime's optimiser, and what scikit-learn exports put in front.

Each entry gives the body of an ONNX function in its text form; the onnx library inlines it. Only
what is exactly the same is here: quantised and approximate operators are not.
"""

from collections.abc import Callable, Mapping

import onnx
from onnx import helper, inliner, parser

from edge_sdk.authoring.graph import OPSET
from edge_sdk.errors import Unsupported

RUNTIME_DOMAIN = "com.microsoft"
LEARN_DOMAIN = "ai.onnx.ml"
_EXACT_DOMAIN = "edge_sdk.exact"

Body = Callable[["_Call"], str]
"""From one call to the text of its function's body."""


class _Call:
    """One node as a body sees it."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def has(self, index: int) -> bool:
        """Whether that input is there."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def asks(self, index: int) -> bool:
        """Whether that output is used."""
        return index < len(self.node.output) and bool(self.node.output[index])

    def number(self, name: str, default: float) -> float:
        """A number in an attribute."""
        return float(self._attributes.get(name, default))

    def text(self, name: str) -> str:
        """Text in an attribute."""
        return bytes(self._attributes.get(name, b"")).decode("utf-8", "replace")

    def numbers(self, name: str) -> list[float]:
        """A list in an attribute."""
        return [float(v) for v in self._attributes.get(name, ())]

    def rest(self, *known: str) -> str:
        """The other attributes, written out for a standard operator."""
        parts = []
        for name, value in sorted(self._attributes.items()):
            if name in known:
                continue
            if isinstance(value, bytes):
                parts.append(f'{name}: string = "{value.decode("utf-8", "replace")}"')
            elif isinstance(value, list):
                parts.append(f"{name}: ints = [{', '.join(str(int(v)) for v in value)}]")
            else:
                parts.append(f"{name}: int = {int(value)}")
        return f"<{', '.join(parts)}>" if parts else ""


def without_fusions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every known fusion written out; others stay as they are.

    Raises:
        Unsupported: a fusion is used in a way that has no exact form.
    """
    found = [node for node in proto.graph.node if _is_fusion(node)]
    if not found:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for number, node in enumerate(filter(_is_fusion, copy.graph.node)):
        call = _Call(node)
        name = f"{node.op_type}_{number}"
        body = BODIES[node.op_type](call)
        inputs = [f"x{i}" for i in range(len(node.input))]
        outputs = [f"y{i}" for i in range(len(node.output))]
        copy.functions.append(
            parser.parse_function(
                f'<domain: "{_EXACT_DOMAIN}", opset_import: ["" : {OPSET}]>\n'
                f"{name} ({', '.join(inputs)}) => ({', '.join(outputs)}) {{ {body} }}"
            )
        )
        node.op_type, node.domain = name, _EXACT_DOMAIN
        del node.attribute[:]
    copy.opset_import.append(helper.make_opsetid(_EXACT_DOMAIN, 1))
    return inliner.inline_local_functions(copy)


def _is_fusion(node: onnx.NodeProto) -> bool:
    if node.domain == LEARN_DOMAIN:
        return node.op_type == "Scaler"
    return node.domain == RUNTIME_DOMAIN and node.op_type in BODIES


def _constant(name: str, value: float) -> str:
    return f"{name} = Constant <value_float: float = {value!r}> () "


def _matmul(call: _Call) -> str:
    """As alpha A' B' over the last two axes."""
    if call.number("transBatchA", 0) or call.number("transBatchB", 0):
        raise Unsupported(f"node {call.node.name!r} (FusedMatMul): transposed batch axes")
    text = ""
    names = ["x0", "x1"]
    for index, flag in enumerate(("transA", "transB")):
        if call.number(flag, 0):
            text += _swapped(names[index], f"t{index}")
            names[index] = f"t{index}"
    alpha = call.number("alpha", 1.0)
    text += f"p = MatMul ({', '.join(names)}) "
    return text + f"{_constant('a', alpha)} y0 = Mul (p, a)"


def _swapped(name: str, made: str) -> str:
    """The last two axes exchanged, whatever their number: seen as a stack of matrices."""
    n = made
    return (
        f"{n}zero = Constant <value_ints: ints = [0]> () "
        f"{n}two = Constant <value_ints: ints = [-2]> () "
        f"{n}one = Constant <value_ints: ints = [-1]> () "
        f"{n}end = Constant <value_ints: ints = [9]> () "
        f"{n}shape = Shape ({name}) "
        f"{n}rows = Slice ({n}shape, {n}two, {n}one) "
        f"{n}columns = Slice ({n}shape, {n}one, {n}end) "
        f"{n}before = Slice ({n}shape, {n}zero, {n}two) "
        f"{n}stack = Concat <axis: int = 0> ({n}one, {n}rows, {n}columns) "
        f"{n}flat = Reshape ({name}, {n}stack) "
        f"{n}turned = Transpose <perm: ints = [0, 2, 1]> ({n}flat) "
        f"{n}whole = Concat <axis: int = 0> ({n}before, {n}columns, {n}rows) "
        f"{made} = Reshape ({n}turned, {n}whole) "
    )


def _gemm(call: _Call) -> str:
    """Gemm and an activation."""
    own = ("alpha", "beta", "transA", "transB")
    given = (
        f"alpha: float = {call.number('alpha', 1.0)!r}, beta: float = {call.number('beta', 1)!r}"
    )
    flags = ", ".join(f"{n}: int = {int(call.number(n, 0))}" for n in own[2:])
    inputs = "x0, x1, x2" if call.has(2) else "x0, x1"
    numbers = [call.number("activation_alpha", 0), call.number("activation_beta", 0)]
    return f"p = Gemm <{given}, {flags}> ({inputs}) {_activated('p', call, numbers)}"


def _conv(call: _Call) -> str:
    """Conv, an addition and an activation."""
    inputs = "x0, x1, x2" if call.has(2) else "x0, x1"
    text = f"c = Conv {call.rest('activation', 'activation_params')} ({inputs}) "
    text += "p = Add (c, x3) " if call.has(3) else "p = Identity (c) "
    return text + _activated("p", call, call.numbers("activation_params"))


def _activated(name: str, call: _Call, numbers: list[float]) -> str:
    """The activation that a fusion ends with."""
    kind = call.text("activation")
    first, second = [*numbers, 0.0, 0.0][:2]
    if kind in ("", "Relu", "Sigmoid", "Tanh"):
        return f"y0 = {kind or 'Identity'} ({name})"
    if kind == "LeakyRelu":
        return f"y0 = LeakyRelu <alpha: float = {first!r}> ({name})"
    if kind == "HardSigmoid":
        return f"y0 = HardSigmoid <alpha: float = {first!r}, beta: float = {second!r}> ({name})"
    if kind == "Clip":
        low, high = _constant("low", first), _constant("high", second)
        return f"{low} {high} y0 = Clip ({name}, low, high)"
    raise Unsupported(f"node {call.node.name!r} ({call.node.op_type}): activation {kind!r}")


def _gelu(*, exact: bool) -> Body:
    """Gelu of the input, with a bias where there is one."""
    how = "none" if exact else "tanh"

    def body(call: _Call) -> str:
        total = "s = Add (x0, x1)" if call.has(1) else "s = Identity (x0)"
        return f'{total} y0 = Gelu <approximate: string = "{how}"> (s)'

    return body


def _quick_gelu(call: _Call) -> str:
    """As x sigmoid(alpha x)."""
    alpha = _constant("a", call.number("alpha", 1.702))
    return f"{alpha} s = Mul (x0, a) g = Sigmoid (s) y0 = Mul (x0, g)"


def _skip_layer_norm(call: _Call) -> str:
    """LayerNormalization of a sum: input, skip, gamma, beta, bias."""
    text = "t = Add (x0, x1) " + ("s = Add (t, x4) " if call.has(4) else "s = Identity (t) ")
    inputs = "s, x2, x3" if call.has(3) else "s, x2"
    outputs = "y0, y1, y2" if call.asks(1) or call.asks(2) else "y0"
    epsilon = call.number("epsilon", 1e-12)
    text += (
        f"{outputs} = LayerNormalization <axis: int = -1, epsilon: float = {epsilon!r}> ({inputs}) "
    )
    return text + _unused(call, outputs.count("y"))


def _skip_rms_norm(call: _Call) -> str:
    """Root-mean-square normalisation of a sum: input, skip, gamma, bias."""
    text = "t = Add (x0, x1) " + ("s = Add (t, x3) " if call.has(3) else "s = Identity (t) ")
    text += f"{_constant('e', call.number('epsilon', 1e-12))} "
    text += "last = Constant <value_ints: ints = [-1]> () "
    text += "q = Mul (s, s) m = ReduceMean (q, last) v = Add (m, e) d = Sqrt (v) n = Div (s, d) "
    return text + "y0 = Mul (n, x2) " + _unused(call, 1)


def _unused(call: _Call, made: int) -> str:
    """Outputs that are listed: the sum as the fourth, and seats for those left out."""
    text = ""
    for index in range(made, len(call.node.output)):
        text += f"y{index} = Identity (s) "
        if call.asks(index) and index != 3:
            raise Unsupported(f"node {call.node.name!r} ({call.node.op_type}): output {index}")
    return text


def _scaler(call: _Call) -> str:
    """As (x - offset) scale, for each feature."""
    lists = {
        name: call.numbers(name) or [default] for name, default in (("offset", 0.0), ("scale", 1.0))
    }
    text = "".join(
        f"{name} = Constant <value_floats: floats = [{', '.join(map(repr, values))}]> () "
        for name, values in lists.items()
    )
    return f"{text} d = Sub (x0, offset) y0 = Mul (d, scale)"


BODIES: Mapping[str, Body] = {
    "FusedMatMul": _matmul,
    "TransposeMatMul": _matmul,
    "FusedGemm": _gemm,
    "FusedConv": _conv,
    "Gelu": _gelu(exact=True),
    "BiasGelu": _gelu(exact=True),
    "FastGelu": _gelu(exact=False),
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_rms_norm,
    "Scaler": _scaler,
}
"""By operator name: fusions in `RUNTIME_DOMAIN`, and one operator in `LEARN_DOMAIN`."""

"""Registers: numbers of machine code. Python's operators on them write LLVM's instructions.

A generated function is a plain Python function of arrays (`Compiled.source` shows it). It is called once, with an
`Array` for each of them, and what it computes on the way is written down as a function of machine code (`written`).
Numba would need some seconds to analyse the functions of a plan.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

_BUILDERS: list[Any] = []  # the last one writes the present function
INT = ir.IntType(64)


class Kind:
    """A kind of numbers; called with a number it converts it.

    Args:
        type: LLVM's type in a register.
        rank: of two kinds in one operation the one with the higher rank is that of the result.
    """

    def __init__(self, type: Any, rank: int) -> None:
        self.type, self.rank = type, rank
        self.is_float = isinstance(type, ir.FloatType | ir.DoubleType)
        self.memory = ir.IntType(8) if type == ir.IntType(1) else type

    def __call__(self, number: Any) -> "Register":
        if not isinstance(number, Register):
            return Register(ir.Constant(self.type, float(number) if self.is_float else int(number)), self)
        if number.kind is self:
            return number
        return Register(self._converted(number.kind, number.value), self)

    def _converted(self, kind: "Kind", value: Any) -> Any:
        b = _BUILDERS[-1]
        if kind.is_float and self.is_float:
            return (b.fpext if self.rank > kind.rank else b.fptrunc)(value, self.type)
        if kind.is_float:
            return b.fptosi(value, self.type)
        if self.is_float:
            return (b.uitofp if kind is boolean else b.sitofp)(value, self.type)
        if self.rank < kind.rank:
            return b.trunc(value, self.type)
        return (b.zext if kind is boolean else b.sext)(value, self.type)


boolean, int8, int32, int64 = (Kind(ir.IntType(bits), rank) for rank, bits in enumerate((1, 8, 32, 64)))
float32, float64 = Kind(ir.FloatType(), 4), Kind(ir.DoubleType(), 5)


class Register:
    """A number that is computed when the machine code runs."""

    __slots__ = ("kind", "value")

    def __init__(self, value: Any, kind: Kind) -> None:
        self.value, self.kind = value, kind

    def _with(self, other: Any, floats: str, integers: str = "", is_reversed: bool = False) -> "Register":
        """The result of an instruction of two numbers, by its names for floats and for whole numbers."""
        kind = common(self, other)
        pair = [kind(self).value, kind(other).value]
        first, second = reversed(pair) if is_reversed else pair
        if kind.is_float:
            return Register(getattr(_BUILDERS[-1], floats)(first, second), kind)
        flags = ("nsw",) if integers in ("add", "sub", "mul") else ()
        return Register(getattr(_BUILDERS[-1], integers)(first, second, flags=flags), kind)

    def _compared(self, sign: str, other: Any) -> "Register":
        kind = common(self, other)
        pair, b = (kind(self).value, kind(other).value), _BUILDERS[-1]
        if not kind.is_float:
            compare = b.icmp_unsigned if kind is boolean else b.icmp_signed
        else:
            compare = b.fcmp_unordered if sign == "!=" else b.fcmp_ordered
        return Register(compare(sign, *pair), boolean)

    def __add__(self, other: Any) -> "Register":
        return self._with(other, "fadd", "add")

    def __sub__(self, other: Any) -> "Register":
        return self._with(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> "Register":
        return self._with(other, "fsub", "sub", is_reversed=True)

    def __mul__(self, other: Any) -> "Register":
        return self._with(other, "fmul", "mul")

    def __truediv__(self, other: Any) -> "Register":
        return self._with(other, "fdiv")

    def __rtruediv__(self, other: Any) -> "Register":
        return self._with(other, "fdiv", is_reversed=True)

    def __and__(self, other: Any) -> "Register":
        return self._with(other, "", "and_")

    def __or__(self, other: Any) -> "Register":
        return self._with(other, "", "or_")

    __radd__, __rmul__, __rand__, __ror__ = __add__, __mul__, __and__, __or__

    def __lshift__(self, other: int) -> "Register":
        return self._with(other, "", "shl")

    def __rshift__(self, other: int) -> "Register":
        return self._with(other, "", "ashr")

    def __invert__(self) -> "Register":
        return Register(_BUILDERS[-1].not_(self.value), self.kind)

    def __neg__(self) -> "Register":
        return Register(_BUILDERS[-1].fneg(self.value), self.kind)

    def __abs__(self) -> "Register":
        return called("llvm.fabs", self)

    def __lt__(self, other: Any) -> "Register":
        return self._compared("<", other)

    def __le__(self, other: Any) -> "Register":
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> "Register":
        return self._compared(">", other)

    def __ge__(self, other: Any) -> "Register":
        return self._compared(">=", other)

    def __eq__(self, other: Any) -> "Register":  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: Any) -> "Register":  # type: ignore[override]
        return self._compared("!=", other)

    __hash__ = None  # type: ignore[assignment]


def common(*numbers: Any) -> Kind:
    """The kind of the result of numbers: that with the highest rank among those of registers."""
    return max((x.kind for x in numbers if isinstance(x, Register)), key=lambda kind: kind.rank)


class Array:
    """An array of machine code, whose numbers lie in a row."""

    def __init__(self, pointer: Any, kind: Kind) -> None:
        self.pointer, self.kind = pointer, kind

    def _at(self, index: Any) -> Any:
        return _BUILDERS[-1].gep(self.pointer, [int64(index).value], inbounds=True)

    def __getitem__(self, index: Any) -> Register:
        b = _BUILDERS[-1]
        value = b.load(self._at(index))
        return Register(b.trunc(value, self.kind.type) if self.kind is boolean else value, self.kind)

    def since(self, index: Any) -> "Array":
        """The array from an index on."""
        return Array(self._at(index), self.kind)

    def __setitem__(self, index: Any, number: Any) -> None:
        b, value = _BUILDERS[-1], self.kind(number).value
        b.store(b.zext(value, self.kind.memory) if self.kind is boolean else value, self._at(index))


def array(address: Any, kind: Kind) -> Array:
    """The array at an address."""
    return Array(_BUILDERS[-1].inttoptr(int64(address).value, kind.memory.as_pointer()), kind)


def variable(number: Register) -> Array:
    """An array of one number, for what changes in a loop, or is passed by its address."""
    b = _BUILDERS[-1]
    with b.goto_entry_block():
        place = Array(b.alloca(number.kind.type), number.kind)
    place[0] = number
    return place


def indices(end: Register | int, begin: Register | int = 0) -> Iterator[Register]:
    """`range(begin, end)`, as a loop of machine code: what is done with the one number that it yields is its body."""
    b, first, last = _BUILDERS[-1], int64(begin).value, int64(end).value
    before, head, inside, after = b.block, *(b.append_basic_block() for _ in range(3))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(INT)
    index.add_incoming(first, before)
    b.cbranch(b.icmp_signed("<", index, last), inside, after)
    b.position_at_end(inside)
    yield Register(index, int64)
    index.add_incoming(b.add(index, INT(1), flags=("nsw",)), b.block)
    b.branch(head)
    b.position_at_end(after)


@contextmanager
def when(condition: Any) -> Iterator[None]:
    """`if condition`, in machine code: what is done in this context is its body."""
    with _BUILDERS[-1].if_then(boolean(condition).value):
        yield


def end_here() -> None:
    """`return`, in machine code."""
    _BUILDERS[-1].ret_void()


def where(condition: Any, first: Any, second: Any) -> Register:
    """`first if condition else second`."""
    kind = common(first, second)
    return Register(_BUILDERS[-1].select(boolean(condition).value, kind(first).value, kind(second).value), kind)


def called(name: str, *numbers: Register) -> Register:
    """A function of the C library, by its name for doubles, or one of LLVM's own."""
    b, kind = _BUILDERS[-1], numbers[0].kind
    values = [kind(number).value for number in numbers]
    if name.startswith("llvm."):
        return Register(b.call(b.module.declare_intrinsic(name, [kind.type]), values), kind)
    name += "f" * (kind is float32)
    if (function := b.module.globals.get(name)) is None:
        function = ir.Function(b.module, ir.FunctionType(kind.type, [kind.type] * len(values)), name)
    return Register(b.call(function, values), kind)


def bits(number: Register) -> Register:
    """A whole number's bits as a float of the same size."""
    kind = float32 if number.kind is int32 else float64
    return Register(_BUILDERS[-1].bitcast(number.value, kind.type), kind)


def copy(source: Register, target: Register, n: Register) -> None:
    """Copy n bytes from one address to another."""
    b, byte = _BUILDERS[-1], ir.IntType(8).as_pointer()
    places = [b.inttoptr(address.value, byte) for address in (target, source)]
    function = b.module.declare_intrinsic("llvm.memcpy", [byte, byte, INT])
    b.call(function, [*places, n.value, boolean(False).value])


def call_at(address: Any, *arguments: Register | Array) -> None:
    """Call the function without a result at an address; of an array it gets the address."""
    b = _BUILDERS[-1]
    values = [x.value if isinstance(x, Register) else x.pointer for x in arguments]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    b.call(b.inttoptr(int64(address).value, kind.as_pointer()), values)


def written(module: Any, function: Callable[..., None]) -> Any:
    """A Python function of arrays, whose kinds are its annotations, as a function of a module of LLVM's."""
    kinds = kinds_of(function)
    form = ir.FunctionType(ir.VoidType(), [kind.memory.as_pointer() for kind in kinds])
    made = ir.Function(module, form, function.__name__)
    _BUILDERS.append(ir.IRBuilder(made.append_basic_block()))
    try:
        function(*map(Array, made.args, kinds))
        _BUILDERS[-1].ret_void()
    finally:
        _BUILDERS.pop()
    return made


def kinds_of(function: Callable[..., None]) -> list[Kind]:
    """The kinds of a function's arrays: its annotations."""
    return [kind for name, kind in function.__annotations__.items() if name != "return"]


def loop(function: Callable[..., None]) -> Callable[..., None]:
    """A function of arrays as one that is called with their addresses.

    The arrays do not overlap, so that LLVM need not check it.
    """
    kinds = kinds_of(function)

    def run(*addresses: Register) -> None:
        b = _BUILDERS[-1]
        if (made := b.module.globals.get(function.__name__)) is None:
            made = written(b.module, function)
            made.linkage = "internal"
            made.attributes.add("noinline")
            for argument in made.args:
                argument.add_attribute("noalias")
        b.call(made, [array(address, kind).pointer for address, kind in zip(addresses, kinds, strict=True)])

    return run

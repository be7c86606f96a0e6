"""LLVM: from its language to object code, and from object code to addresses of functions in memory."""

from functools import cache
from typing import Any

_ENGINES: list[Any] = []  # they own the memory of the code


def object_code(text: str) -> bytes:
    """The object code of a module in LLVM's language. LLVM computes its loops of single numbers with vectors."""
    import llvmlite.binding as llvm

    prepare()
    processor, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)
    module = llvm.parse_assembly(text)
    module.verify()
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def addresses_in(code: bytes, symbols: list[str]) -> list[int]:
    """The addresses of functions in object code, which stays in memory.

    Raises:
        ValueError: if the code lacks one of the functions.
    """
    import llvmlite.binding as llvm

    prepare()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    addresses = [int(engine.get_function_address(symbol)) for symbol in symbols]
    if 0 in addresses:
        raise ValueError(f"the code has no function {symbols[addresses.index(0)]}")
    return addresses


@cache
def prepare() -> None:
    """Make LLVM ready."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()

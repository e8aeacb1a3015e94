"""Which names a file of weights may hold.

No name is ever looked up, so none can do harm here. But a name out of Python's own library that
does more than hold values is no accident: whoever loads such a file the usual way runs it. It is
refused, so that nobody keeps it. Classes of trainers and their libraries are passed over.
"""

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from model.importing.errors import ImportRefusedError

HARMLESS: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        {
            *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
            *("object", "range", "set", "slice", "str", "tuple", "type"),
            *("Ellipsis", "NotImplemented"),
        }
    ),
    "collections": frozenset({"OrderedDict", "defaultdict", "deque", "Counter", "ChainMap"}),
    "argparse": frozenset({"Namespace"}),
    "copyreg": frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"}),
    "_codecs": frozenset({"encode"}),
    "types": frozenset({"SimpleNamespace"}),
    "uuid": frozenset({"UUID"}),
    "functools": frozenset({"partial"}),
    "pathlib": frozenset(
        f"{pure}{kind}Path" for pure in ("", "Pure") for kind in ("", "Posix", "Windows")
    ),
    "datetime": frozenset({"datetime", "date", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "random": frozenset({"Random"}),
}
"""What merely holds values, by module."""
RUNS_CODE = (
    *("torch.load", "torch.hub", "torch.storage._load_from_bytes", "torch.serialization.load"),
    *("torch.package", "torch.jit", "numpy.testing", "numpy.f2py", "numpy.load"),
    *("pip", "setuptools", "pkg_resources", "joblib", "dill", "cloudpickle"),
)
"""What runs code or loads other files, out of the libraries that are mostly installed."""


def check_name(module: str, name: str) -> None:
    """Refuse a name that is there to run something.

    Raises:
        ImportRefusedError: it is.
    """
    given = f"{module}.{name}"
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    if module.partition(".")[0] in sys.stdlib_module_names:
        is_bad = name not in HARMLESS.get(module, ())
    else:
        is_bad = any(f"{module}.{name}.".startswith(f"{each}.") for each in RUNS_CODE)
    inner = name.split(".")[:-1]
    if is_bad or any(part in sys.stdlib_module_names for part in inner):
        raise ImportRefusedError(
            f"it names {given:.200}, which no weights need: loaded the usual way, it could run "
            "code on the machine. Nothing of it was run here; do not trust this file"
        )

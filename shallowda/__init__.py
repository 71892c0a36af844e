"""Classical domain adaptation in the scikit-learn API.

Rows of a labelled source domain and of an unlabelled target domain go in together; a classifier for the target comes
out. See the README for a five-line example and `shallowda.domains` for how rows are marked.
"""

import importlib as _importlib
import os as _os
import pkgutil as _pkgutil
import re as _re
import threading as _threading

if not _os.path.isdir(_os.path.join(__path__[0], "kernels")):  # a source tree: kernels/ stands beside this package
    __path__.append(_os.path.dirname(__path__[0]))

# The stub is the list of exports, and a name is imported when it is first asked for: `import shallowda` costs the same
# however many methods there are. (Read as data of the package, the stub is found in a zip archive too.)
_STUB = (_pkgutil.get_data(__name__, "__init__.pyi") or b"").decode("utf-8")

#: Module that defines each public name; public modules stand under the name of this package.
EXPORTS = {name: module for module, name in _re.findall(r"^from (\S+) import (\w+) as", _STUB, _re.MULTILINE)}

_first_import = _threading.RLock()  # the first import may fork
if hasattr(_os, "register_at_fork"):  # a child must not inherit a lock that a thread of its parent holds
    _os.register_at_fork(
        before=_first_import.acquire, after_in_parent=_first_import.release, after_in_child=_first_import.release
    )

__all__ = sorted(name for name, module in EXPORTS.items() if module != __name__)


def __getattr__(name: str) -> object:
    """An export, or a public module of this package, imported now."""
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = EXPORTS[name]
    if module != f"{__name__}._version":
        # Modules of scikit-learn import each other in circles, in which two threads would wait for each other. The
        # largest is that of linear_model, svm and metrics.
        with _first_import:
            _importlib.import_module("sklearn.linear_model")
    if module == __name__:
        return _importlib.import_module(f"{module}.{name}")
    value = getattr(_importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})

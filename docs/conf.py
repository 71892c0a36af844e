"""Sphinx configuration. Nothing is fetched, at build time or by the reader: fonts, scripts and formulas are local.

Pages under generated/ are written anew by each build: one page for each public module, from its ``__all__``, and copies
of the notebooks, which have to lie below this folder.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import shutil
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import shallowda  # noqa: E402

project = "shallowda"
author = "The shallowda developers"
copyright = f"{author}, BSD-3-Clause"
version = release = shallowda.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_static_path = ["_static"]

# -- pages ----------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are shown with their stored outputs
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# -- reference ------------------------------------------------------------------------------------------------------

default_role = "autolink"  # `JDA` in a docstring is a link where there is something of that name
autodoc_typehints = "none"  # numpydoc says it better
autodoc_member_order = "bysource"
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(sklearn|numpy)\b.*")]  # other projects: their inventories are not at hand offline
nitpick_ignore = [
    ("py:obj", "shallowda.kernels"),  # a namespace without a docstring of its own
    ("py:obj", "coef0"),  # a parameter that is an attribute as well, without a page of its own
]

# Public modules whose names get a page each; those of the kernels layer share a page per module.
MODULES = [
    "shallowda",
    "shallowda.core.catalogue",
    "shallowda.core.contract",
    "shallowda.domains",
    "shallowda.pipeline",
    "shallowda.model_selection",
    "shallowda.metrics",
    "shallowda.diagnosis",
    "shallowda.datasets",
    "shallowda.features",
    "shallowda.bench",
    "shallowda.drift",
]

# -- theme ----------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "shallowda"
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "shallowda"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"quickstart": []}  # it has no sisters


def setup(app):
    """Write the generated pages, before Sphinx looks for pages; render formulas; leave out what scikit-learn adds."""
    generated = Path(app.srcdir) / "generated"
    shutil.rmtree(generated, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", generated / "notebooks", ignore=shutil.ignore_patterns(".*"))
    write_reference(generated / "api")
    app.config.autosummary_generate = [str(page) for page in (generated / "api").glob("*.rst")]  # those just written
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.config.html_math_renderer = "mathml"
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", resolve_elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_reference(folder):
    """A page for each public module."""
    folder.mkdir(parents=True)
    for name in filter(is_there, MODULES):
        module = importlib.import_module(name)
        names = sorted((n for n in public_names(module) if not n.startswith("_")), key=str.lower)
        listing = "\n".join(f"   {n}" for n in names)
        (folder / f"{name}.rst").write_text(
            f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n   :no-members:\n\n.. currentmodule:: {name}\n\n"
            f".. autosummary::\n   :toctree:\n   :nosignatures:\n\n{listing}\n",
            encoding="utf-8",
        )
    importlib.import_module("shallowda.kernels.arrays")  # binds shallowda.kernels
    for module in pkgutil.iter_modules(shallowda.kernels.__path__, "shallowda.kernels."):
        if not module.name.rpartition(".")[2].startswith("_"):
            title = module.name.removeprefix("shallowda.")
            (folder / f"{module.name}.rst").write_text(
                f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module.name}\n   :members:\n",
                encoding="utf-8",
            )


def is_there(name):
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def public_names(module):
    """Names in ``__all__``, but those that the package itself already shows."""
    shown = set() if module is shallowda else set(shallowda.__all__)
    return [name for name in module.__all__ if name not in shown]


def inline_math(self, node):
    """A formula within a line, as MathML, which browsers draw themselves."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(self, node):
    """A formula of its own, as MathML; wide ones scroll."""
    self.body.append(f'<div class="math-block">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def skip_foreign(app, what, name, member, skip, options):
    """Leave out members that come from scikit-learn's base classes: they are documented there."""
    module = getattr(inspect.unwrap(member), "__module__", None) or "" if callable(member) else ""
    return True if what == "class" and module.startswith("sklearn.") else None


def resolve_elsewhere(app, env, node, contnode):
    """Link a name that one other module documents: a submodule speaks of what the package exports."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    found = [name for name in domain.objects if name.endswith(f".{target}")]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)

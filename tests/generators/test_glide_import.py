"""Checkpoints of OpenAI's form, held to networks that are written by hand under their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dermray import cli
from dermray.generators.base import Request
from dermray.generators.glide import Glide, GlideConfig
from dermray.generators.glide_import import import_glide, read_stage
from dermray.generators.glide_models import PUBLISHED, STAGES, Stage
from dermray.generators.glide_tokenizer import read_tokenizer
from tests.generators.glide_files import TINY, WORDS, reference, write_checkpoints, write_tokenizer
from tests.generators.glide_reference import bilinear


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, tokenizer, and `imported` out of them."""
    directory = tmp_path_factory.mktemp("glide")
    tokenizer = write_tokenizer(directory / "tokenizer")
    import_glide(write_checkpoints(directory), tokenizer, directory / "imported", TINY)
    return directory


@pytest.mark.parametrize("name", STAGES)
def test_converted_weights_predict_what_the_published_network_predicts(name: str, published: Path) -> None:
    ours, theirs = read_stage(published / f"{name}.pt", name, TINY[name]), reference(name)
    ours.unet.eval()
    torch.manual_seed(0)
    side, padding = TINY[name].side, len(WORDS) - 1
    noisy, t = torch.randn(3, 3, side, side), torch.tensor([999, 500, 0])
    tokens = torch.randint(0, padding, (3, 128))
    tokens[0, 7:], tokens[1] = padding, padding  # a text, no text, a text that fills all
    low = torch.rand(3, 3, 8, 8) * 2 - 1 if name == "upsampler" else None
    shown = noisy if low is None else torch.cat([noisy, bilinear(low, side)], 1)
    with torch.no_grad():
        expected = theirs(shown, t, tokens, tokens != padding)
        states = ours.text(tokens)
        noise, variance = ours.denoise(noisy, t, states, low)
    torch.testing.assert_close(states, theirs.read(tokens, tokens != padding), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat([noise, variance], 1), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01, "a network that says nothing shows nothing"


def test_published_sizes_have_the_published_parameter_counts() -> None:
    counts = {}
    for name in STAGES:
        with torch.device("meta"):
            counts[name] = sum(p.numel() for p in Stage.build(PUBLISHED[name], 50256).parameters())
    assert counts == {"base": 385_030_726, "upsampler": 398_361_286}  # as OpenAI's notebook prints them


def test_a_directory_of_them_is_a_base_and_draws(published: Path) -> None:
    config = GlideConfig(base=str(published / "imported"), image_size=32, base_size=16, upsampler_steps=(2, 2))
    Glide.check_start(config)
    made = Glide.from_captions(config, ["words of captions do not matter"])
    assert not Glide.makes_words(config)
    assert made.tokenizer("Red").input_ids == [WORDS.index("r"), WORDS.index("ed")]
    drawn = made.sample([Request("a red nevus", 3)], 3.0, 3)
    assert drawn.shape == (1, 3, 32, 32) and drawn.float().std() > 1
    again = Glide.load(published / "imported")
    for ours, theirs in zip(made.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    fingerprint = Glide.encoded_by(config)
    assert fingerprint and len(fingerprint["base"]) == 12


def test_the_tokenizer_merges_bytes_in_lower_case(published: Path) -> None:
    words = read_tokenizer(published / "tokenizer", len(WORDS), 128)
    number = WORDS.index
    assert words("NEVUS Red").input_ids == [number("nevus"), number("\u0120red")]
    assert words("").input_ids == [] and words.pad_token_id == len(WORDS) - 1
    accented = words("\u00e9").input_ids  # two bytes, C3 A9
    assert accented == [number("\u00c3"), number("\u00a9")] and words.decode(accented) == "\u00e9"
    long = words("nevus" * 200, truncation=True, max_length=128).input_ids
    assert len(long) == 128


def edited(change: Any) -> Any:
    """A checkpoint of the base, after `change` of its tensors."""

    def write(file: Path) -> None:
        state: dict[str, Tensor] = dict(reference("base").state_dict())
        change(state)
        torch.save(state, file)

    return write


def cut(file: Path) -> None:
    torch.save(reference("base").state_dict(), file)
    file.write_bytes(file.read_bytes()[:-5000])


def narrower(state: dict[str, Tensor]) -> None:
    for key, tensor in state.items():
        state[key] = tensor[: len(tensor) // 2] if key.startswith("middle_block.1.qkv") else tensor


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: None, "no such file; OpenAI's is https://openaipublic.*/base.pt"),
        (cut, "cut or damaged, [0-9,]+ bytes, and its end is missing; copy it again"),
        (lambda file: file.write_bytes(b""), "empty; copy it again"),
        (lambda file: torch.save(torch.nn.ReLU(), file), r"other things than .* state_dict\(\) alone$"),
        (lambda file: file.write_text("<html>404</html>"), "a web page, not the file that its link leads to"),
        (lambda file: torch.save([1, 2], file), "expected tensors by name"),
        (lambda file: torch.save({"a": torch.zeros(1)}, file), "no GLIDE, it has no convolution input_blocks"),
        (lambda file: torch.save(reference("upsampler").state_dict(), file),
         r"this is the upsampler of GLIDE \(its first layer takes 6 channels\), expected the base \(3\)"),
        (edited(lambda s: s.update({"input_blocks.0.0.weight": torch.zeros(16, 7, 3, 3)})), "the inpainting base"),
        (edited(lambda s: s.pop("out.2.bias")), "1 tensors of GLIDE's are missing, for example unet.conv_out.bias"),
        (edited(lambda s: s.update(extra=torch.zeros(1))), "1 tensors are none of GLIDE's, for example extra"),
        (edited(narrower), r"other sizes, unet.mid_block.attentions.0.to_q.weight has shape \(24, 48\), expected \(48"),
        (edited(lambda s: s["out.2.bias"].fill_(float("nan"))), "out.2.bias holds values that are no numbers"),
    ],
)  # fmt: skip
def test_another_file_is_told_from_the_one_that_is_expected(write: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "given.pt"
    write(file)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_stage(file, "base", TINY["base"])
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_the_base_is_no_upsampler(tmp_path: Path) -> None:
    torch.save(reference("base").state_dict(), tmp_path / "given.pt")
    message = r"this is the base of GLIDE .* takes 3 channels\), expected the upsampler \(6"
    with pytest.raises(ValueError, match=message):
        read_stage(tmp_path / "given.pt", "upsampler", TINY["upsampler"])


def test_tokenizer_files_are_missing_damaged_or_others(published: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"neither encoder.json nor encoder.json.gz; they lie in github.com/openai"
    ):
        read_tokenizer(tmp_path, 50257, 128)
    with pytest.raises(ValueError, match=r"264 tokens, <\|endoftext\|> is number 263; expected 50257"):
        read_tokenizer(published / "tokenizer", 50257, 128)
    directory = write_tokenizer(tmp_path / "tokenizer")
    zipped = directory / "vocab.bpe.gz"
    whole = zipped.read_bytes()
    zipped.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="vocab.bpe.gz: damaged"):
        read_tokenizer(directory, len(WORDS), 128)
    zipped.write_bytes(whole)
    (directory / "encoder.json").write_text('{"a": 0}')
    with pytest.raises(ValueError, match=r"encoder.json and vocab.bpe do not go together"):
        read_tokenizer(directory, len(WORDS), 128)


def test_a_base_that_is_none_is_told_before_anything_starts(published: Path, tmp_path: Path) -> None:
    absent = GlideConfig(base=str(tmp_path / "absent"))
    for ask in (Glide.encoded_by, Glide.check_start):
        with pytest.raises(
            FileNotFoundError, match="no such directory.*GLIDE starts from OpenAI's weights: `dermray import"
        ):
            ask(absent)
    (tmp_path / "config.json").write_text("{junk")
    with pytest.raises(ValueError, match="config.json: damaged, no JSON .*; copy it again"):
        Glide.check_start(GlideConfig(base=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"family": "dermdit"}')
    with pytest.raises(ValueError, match="expected a glide checkpoint, found dermdit"):
        Glide.check_start(GlideConfig(base=str(tmp_path)))
    (tmp_path / "config.json").write_bytes((published / "imported" / "config.json").read_bytes())
    with pytest.raises(ValueError, match="lacks base/unet/config.json, .*tokenizer/tokenizer.json; copy it whole"):
        Glide.check_start(GlideConfig(base=str(tmp_path)))


def test_the_command_says_where_files_are_and_leaves_what_exists(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--{name}={published / name}.pt" for name in STAGES]
    command = ["import", "glide", *given, f"--tokenizer={tmp_path}", f"--output={tmp_path / 'made'}"]
    with pytest.raises(SystemExit):
        cli.main(command)
    assert "neither encoder.json nor encoder.json.gz; they lie in github.com/openai" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    with pytest.raises(SystemExit):
        cli.main([*command[:-1], f"--output={published}"])
    assert f"{published}: exists; choose another directory" in capsys.readouterr().err

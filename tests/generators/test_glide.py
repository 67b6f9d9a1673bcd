"""GLIDE in miniature: what is trained and what is not, the cascade, and what public fine-tuning code leaves out."""

from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from dermray.config import load, preset, validate
from dermray.generators.base import Request
from dermray.generators.glide import Glide, GlideConfig, reduce
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.run import TrainConfig, run
from tests.generators.conftest import CAPTIONS, shaken

IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
REQUESTS = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
CONFIG = GlideConfig(image_size=32, caption_dropout=0.0, dropout=0.0, upsampler_steps=(2, 2))


def built(**changes: object) -> Glide:
    torch.manual_seed(0)
    return shaken(Glide.from_captions(CONFIG.model_copy(update=changes), CAPTIONS), 0.02)


def loss_of(model: Glide, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return model(model.collate(model.encode(IMAGES, CAPTIONS)))


def test_every_weight_learns_variances_too() -> None:
    model = built().train()
    for seed in range(3):
        loss_of(model, seed).backward()
    for unet in (model.unet, model.upsampler_unet):
        gradient = unet.conv_out.weight.grad.flatten(1).abs().amax(1)
        assert len(gradient) == 6 and (gradient > 0).all()
    silent = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


def test_without_their_loss_variances_do_not_learn() -> None:
    model = built(variance_loss=False).train()
    loss_of(model).backward()
    gradient = model.unet.conv_out.weight.grad.flatten(1).abs().amax(1)
    assert (gradient[:3] > 0).all() and (gradient[3:] == 0).all()


def test_stages_learn_apart_or_together() -> None:
    together, apart = built(), {}
    for name in ("upsampler", "base"):
        model = built(stages=name)
        model.load_state_dict(together.state_dict())
        apart[name] = loss_of(model)
        apart[name].backward()
        learns = {n for n, p in model.named_parameters() if p.grad is not None}
        assert learns == {n for n, _ in model.named_parameters() if n.startswith("upsampler_") == (name == "upsampler")}
        assert [len(group) for group in model.clipped_apart()] == [len(learns)]
    assert [len(group) for group in together.clipped_apart()] == [len(s.parameters()) for s in together.stages.values()]
    loss = loss_of(together)
    assert together.seen is not None  # of the base; the upsampler draws its noise first, as it does alone
    torch.testing.assert_close(loss - together.seen[1].mean(), apart["upsampler"])


def test_dropout_is_in_residual_blocks_alone() -> None:
    model = built(dropout=0.3)
    shares = {name.rpartition(".")[2]: p.p for name, p in model.named_modules() if isinstance(p, torch.nn.Dropout)}
    assert shares == {"dropout": 0.3, "1": 0.0}  # the other one is attention's
    losses = [loss_of(model.train(mode)).item() for mode in (True, False)]
    assert losses[0] != losses[1]


def test_plain_diffusers_reads_networks_and_schedules(tmp_path: Path) -> None:
    model = built()
    model.save(tmp_path)
    ours = model.sample(REQUESTS, 3.0, 4)
    assert ours.shape == (2, 3, 32, 32) and torch.equal(Glide.load(tmp_path).sample(REQUESTS, 3.0, 4), ours)
    for name, schedule in (("base", "squaredcos_cap_v2"), ("upsampler", "linear")):
        unet = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / name / "unet")
        assert all(map(torch.equal, unet.parameters(), model.stages[name].unet.parameters()))
        scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / name / "scheduler")
        assert scheduler.config.beta_schedule == schedule and scheduler.config.variance_type == "learned_range"


def test_a_checkpoint_is_a_base_for_the_other_stage(tmp_path: Path) -> None:
    first = built(stages="base")
    first.save(tmp_path)
    config = CONFIG.model_copy(update={"base": str(tmp_path), "stages": "upsampler"})
    Glide.check_start(config)
    second = Glide.from_captions(config, [])
    assert torch.equal(second.sample(REQUESTS, 3.0, 2), first.sample(REQUESTS, 3.0, 2))
    assert not any(p.requires_grad for p in second.unet.parameters())


def test_the_cascade_guides_the_base_alone_and_rounds_its_pixels() -> None:
    model, seen = built(), dict[str, list[tuple[Tensor, ...]]](base=[], upsampler=[])
    for name, stage in model.stages.items():
        stage.unet.register_forward_pre_hook(lambda unet, given, name=name: seen[name].append(given))
    model.sample(REQUESTS, 3.0, 5)
    assert [int(given[1][0]) for given in seen["base"]] == [999, 749, 500, 250, 0]
    assert [int(given[1][0]) for given in seen["upsampler"]] == [997, 500, 499, 0]
    noisy, _, states = seen["base"][0]
    assert noisy.shape == (4, 3, 8, 8) and torch.equal(noisy[:2], noisy[2:]), "with caption and without"
    assert torch.equal(states[2], states[3]) and not torch.equal(states[0], states[1])
    shown = seen["upsampler"][0][0]
    assert shown.shape == (2, 6, 32, 32), "no guidance"
    corner = (shown[:, 3:, 0, 0] + 1) * 127.5  # bilinear without align_corners: a corner is its nearest pixel
    torch.testing.assert_close(corner, corner.round(), rtol=0, atol=1e-3)
    model.sample(REQUESTS, 1.0, 1)
    assert len(seen["base"][-1][0]) == 2, "guidance of 1 needs nothing beside the caption"


def test_a_request_draws_the_same_whatever_is_drawn_beside_it() -> None:
    model = built()
    together, alone = model.sample(REQUESTS, 3.0, 4), model.sample(REQUESTS[1:], 3.0, 4)
    assert (alone[0].int() - together[1].int()).abs().max() <= 1
    drawn = [model.sample([Request(caption, 7)], 3.0, 3) for caption in CAPTIONS]
    assert not torch.equal(*drawn), "captions matter"


def test_dropped_captions_do_not_matter() -> None:
    model = built(caption_dropout=0.999999).eval()
    losses = []
    for captions in (CAPTIONS, CAPTIONS[::-1]):
        torch.manual_seed(0)
        losses.append(model(model.collate(model.encode(IMAGES, captions))).item())
    assert losses[0] == losses[1]


def test_reduced_images_are_means_of_squares() -> None:
    images = torch.rand(1, 3, 32, 32)
    for size in (8, 16):
        low, square = reduce(images, size), 32 // size
        torch.testing.assert_close(low[0, 0, 0, 1], images[0, 0, :square, square : 2 * square].mean())
    assert built(base_size=16).sample(REQUESTS[:1], 1.0, 2).shape == (1, 3, 32, 32)


def test_the_paper_preset_is_the_papers_and_refuses_without_weights(tmp_path: Path) -> None:
    config = load(TrainConfig, preset("train/glide_paper"), [f"output={tmp_path}/out", f"model.base={tmp_path}/none"])
    given, loop = validate(GlideConfig, config.model), config.loop
    assert (given.image_size, given.low_size, given.caption_dropout, given.dropout) == (256, 128, 0.0, 0.1)
    assert (loop.batch_size, loop.learning_rate, loop.weight_decay, loop.precision) == (4, 1e-5, 0.0, "fp32")
    assert loop.epochs == 60
    with pytest.raises(FileNotFoundError, match="GLIDE starts from OpenAI's weights: `dermray import glide"):
        run(config)
    drawn = load(SynthesisConfig, preset("generate/glide_paper"))
    assert (drawn.sampling_steps, drawn.guidance_scale, sum(given.upsampler_steps)) == (100, 3.0, 27)

"""Adversarial fitting: the opponent learns, and the generators are asked for what was published."""

from dataclasses import replace

import pytest
import torch

import xcloudfree as xcf
from tests.builders import QUICK, fields
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.models.pix2pix import PatchDiscriminator
from xcloudfree.train.adversary import GAMES, Round
from xcloudfree.train.objective import choose_loss

SMALL = {
    "sar-opt-cgan": {"features": 8, "levels": 4},
    "simulation-fusion-gan-resnet": {"features": 8, "blocks": 1},
    "distortion-coding": {"features": 8, "units": 2},
}


def meeting(name, seed=0):
    torch.manual_seed(seed)
    game = GAMES[name]
    image = [torch.rand(2, 13, 32, 32) * 2 - 1 for _ in range(3)]
    sar, mask = torch.rand(2, 2, 32, 32) * 2 - 1, (torch.rand(2, 1, 32, 32) > 0.5).float()
    prediction = image[0].requires_grad_()
    return Round(game, prediction, image[1], image[2], sar, mask)


def test_the_losses_of_sar_opt_cgan():
    met = meeting("sar-opt-cgan")
    judge = PatchDiscriminator(28, 8).eval()
    condition = torch.cat([met.sar, met.optical], 1)
    fake, real = judge(condition, met.prediction), judge(condition, met.target)
    expected = -fake.log().mean() + 100 * (met.prediction - met.target).abs().mean()
    found = met.generator_loss(judge, torch.nn.Identity())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    expected = 0.5 * (-real.log().mean() - (1 - fake).log().mean())
    torch.testing.assert_close(met.opponent_loss(judge), expected, rtol=1e-5, atol=1e-5)


def test_the_losses_of_simulation_fusion():
    met = meeting("simulation-fusion-gan")
    judge = PatchDiscriminator(15, 8).eval()
    model = xcf.models.create("simulation-fusion-gan-resnet", features=8, blocks=1)
    network = model.network.eval()
    error = (met.prediction - met.target).abs()
    expected = (
        -1e-4 * judge(met.sar, met.prediction).log().mean()
        + 10 * error.mean()
        + 10 * (met.mask * error).mean()
        + (network.simulate(met.sar) - met.target).abs().mean()
    )
    torch.testing.assert_close(met.generator_loss(judge, network), expected, rtol=1e-5, atol=1e-4)


def test_the_losses_of_distortion_coding():
    """Two more: errors count where the input is distorted, and features should agree."""
    met = meeting("distortion-coding")
    judge = PatchDiscriminator(28, 8).eval()
    condition = torch.cat([met.sar, met.optical], 1)
    error = (met.prediction - met.target).abs()
    distortion = (met.optical - met.target).abs()
    share = distortion / distortion.mean((1, 2, 3), keepdim=True)
    features = [judge.seen(condition, image) for image in (met.prediction, met.target)]
    expected = (
        -judge(condition, met.prediction).log().mean()
        + 50 * error.mean()
        + 50 * (share * error).mean()
        + 10 * (features[0] - features[1]).abs().mean()
    )
    found = met.generator_loss(judge, torch.nn.Identity())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_errors_of_distortion_coding_count_only_where_the_input_is_distorted():
    """Without judgement and plain error, a wrong prediction of a clear pixel costs nothing."""
    met = meeting("distortion-coding")
    game = replace(met.game, deceive=0.0, pixel=0.0, coherent=0.0)
    optical = met.target.clone()
    optical[..., :16] += 0.5
    met = replace(met, game=game, optical=optical, prediction=met.target.clone())
    judge = PatchDiscriminator(28, 8).eval()
    for columns, cost in ((slice(16, 32), 0.0), (slice(0, 16), 50 * 0.25 * 0.5 * 2)):
        met.prediction[:] = met.target
        met.prediction[..., columns] += 0.25
        value = met.generator_loss(judge, torch.nn.Identity())
        assert value.item() == pytest.approx(cost, rel=1e-4)


def test_the_opponent_does_not_move_the_generator_and_missing_targets_count_for_nothing():
    met = meeting("sar-opt-cgan")
    judge = PatchDiscriminator(28, 8)
    met.opponent_loss(judge).backward()
    assert met.prediction.grad is None
    met.target[:] = torch.nan
    assert torch.isfinite(met.opponent_loss(judge))
    value = met.generator_loss(judge, torch.nn.Identity())
    judged = judge.logits(torch.cat([met.sar, met.optical], 1), met.prediction)
    torch.testing.assert_close(value, torch.nn.functional.softplus(-judged).mean())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_an_adversary_changes_what_is_learned(name):
    model = xcf.models.create(name, **SMALL[name])
    against, alone = (xcf.fit(fields(), model, loss=loss, **QUICK) for loss in (None, "l1"))
    assert "'adversarial'" in against.spec.note
    assert against.digest != alone.digest
    assert against.digest == xcf.fit(fields(), model, **QUICK).digest


def test_losses_that_do_not_fit_a_network_are_refused():
    spec = {n: xcf.models.load(n).spec for n in ("carf-tiny", "uncrtaints", "diffusion-tiny")}
    for name, loss, why in (
        ("carf-tiny", "nll", "no variance"),
        ("carf-tiny", "adversarial", "no discriminator"),
        ("uncrtaints", "bridge", "not a diffusion bridge"),
        ("diffusion-tiny", "paper", "only by its bridge"),
    ):
        with pytest.raises(ModelError, match=f"{why}.*without loss"):
            choose_loss(loss, spec[name], 32)
    with pytest.raises(DataError, match="crop=24"):
        xcf.fit(fields(), "sar-opt-cgan", steps=1, batch=1, crop=16, progress=False)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("carf-small", "paper"),
        ("glfcr", "l1"),
        ("dsen2cr", "carl"),
        ("uncrtaints", "nll"),
        ("uncrtaints-l2", "mse"),
        ("distortion-coding", "adversarial"),
        ("diffusion", "bridge"),
    ],
)
def test_the_loss_of_each_publication(name, loss):
    assert choose_loss(None, xcf.models.load(name).spec, 64) == loss

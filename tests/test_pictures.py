"""Pictures of samples, kernels, maps and features, held against a computation of their own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.codec import decode, encode
from reportgen.document.facts import Report
from reportgen.document.pictures import CLASS_COLOURS, Picture, PictureFacts, colour_of
from reportgen.errors import DocumentError
from reportgen.probe.pictures import encode as encoding
from reportgen.probe.pictures import kernels, maps, show
from reportgen.probe.pictures.chosen import said_of
from reportgen.probe.pictures.projection import principal
from reportgen.subject.data import Batch

BRIEF: dict[str, Any] = {"trial_budget": 0}


def array(picture: Picture) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB"))


def net(channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def images(n: int = 40, channels: int = 1, side: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, side, side, generator=generator), torch.arange(n) % 3


def examined(model: nn.Module, x: Tensor, y: Tensor | None, size: int = 10, **options: Any) -> Report:
    data: Any = DataLoader(TensorDataset(x, y), size) if y is not None else DataLoader(x, size)  # type: ignore[arg-type]
    return reportgen.examine(model, data, options=reportgen.Options(**BRIEF, **options))


def facts_of(report: Report) -> PictureFacts:
    assert report.pictures is not None
    return report.pictures


def test_grad_cam_is_that_made_by_hand() -> None:
    model, (x, _) = net().eval(), images(5)
    layers = maps.layers_with_maps(model, Batch((x,)))
    assert [layer.name for layer in layers] == ["0", "1", "2", "3", "4"]
    seen = maps.look(model, Batch((x,)), [], layers[-1])

    # by hand, with the whole graph
    kept = model[:5](x)
    kept.retain_grad()
    scores = model[5:](kept)
    scores.max(1).values.sum().backward()
    expected = torch.relu((kept.grad.mean((2, 3), keepdim=True) * kept).sum(1))  # type: ignore[union-attr]
    assert seen.heat is not None
    assert torch.allclose(seen.heat, expected.detach().double(), atol=1e-7)
    assert float(seen.heat.max()) > 0
    assert torch.equal(seen.output.detach(), scores.detach())


def over(n: int) -> tuple[nn.Sequential, Tensor]:
    """A small convolutional net over n dimensions, and five inputs for it."""
    torch.manual_seed(0)
    conv, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 3: (nn.Conv3d, nn.BatchNorm3d)}[n]
    pool = {1: nn.AdaptiveAvgPool1d(1), 3: nn.AdaptiveAvgPool3d(1)}[n]
    body = (conv(2, 6, 3, padding=1), norm(6), nn.ReLU(), conv(6, 4, 3, stride=2), nn.ReLU())
    return nn.Sequential(*body, pool, nn.Flatten(), nn.Linear(4, 3)), torch.randn(5, 2, *(20, 14, 9)[:n])


@pytest.mark.parametrize("n", [1, 3])
def test_grad_cam_over_time_and_of_volumes_is_that_made_by_hand(n: int) -> None:
    model, x = over(n)
    model.eval()
    layers = maps.layers_with_maps(model, Batch((x,)))
    assert [layer.name for layer in layers] == ["0", "1", "2", "3", "4"]
    assert layers[-1].size == (9, 6, 4)[:n]
    seen = maps.look(model, Batch((x,)), layers, layers[-1])

    kept = model[:5](x)
    kept.retain_grad()
    model[5:](kept).max(1).values.sum().backward()
    places = tuple(range(2, n + 2))
    expected = torch.relu((kept.grad.mean(places, keepdim=True) * kept).sum(1))  # type: ignore[union-attr]
    assert seen.heat is not None
    assert torch.allclose(seen.heat, expected.detach().double(), atol=1e-7)
    assert float(seen.heat.max()) > 0
    assert torch.allclose(seen.maps["3"], model[:4](x).detach().double(), atol=1e-6)


def test_outputs_with_features_last_are_no_maps() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8))
    assert maps.layers_with_maps(model, Batch((torch.randn(3, 7, 4),))) == []


def test_maps_of_volumes_and_frames_are_cut_as_the_samples_are() -> None:
    volume = torch.rand(2, 3, 4, 6, 8)
    flat = show.flat_maps(volume, 2, "volume")
    assert flat is not None
    assert flat.shape == (2, 3, 6, 8 + 1 + 8 + 1 + 6)
    assert torch.equal(flat[..., :8], volume[:, :, 2])
    frames = torch.arange(10.0)[:, None, None, None].expand(10, 1, 2, 2)  # five frames of two samples
    middle = show.flat_maps(frames, 2, "frames")
    assert middle is not None
    assert middle[:, 0, 0, 0].tolist() == [2, 7]
    assert show.flat_maps(frames, 3, "image") is None
    series = torch.rand(2, 3, 7)
    assert torch.equal(show.flat_maps(series, 2, "series")[:, :, 0], series)  # type: ignore[index]


def test_a_report_on_series_shows_maps_and_a_strip_of_heat() -> None:
    torch.manual_seed(0)
    model, x = over(1)[0], torch.zeros(30, 2, 60)
    y = torch.arange(30) % 3
    facts = facts_of(examined(model, x + torch.randn(30, 2, 60), y))
    assert facts.heat_layer == "4"
    heated = [view for view in facts.samples if view.heat_line]
    assert len(heated) == 3 + 4
    assert {len(view.heat_line) for view in heated} == {show.POINTS}
    assert all(max(view.heat_line) == 1 or max(view.heat_line) == 0 for view in heated)
    assert [m.size for m in facts.maps] == [[60], [60], [29]]
    assert maps.strip(torch.tensor([0.0, 0.0, 2.0, 2.0]).double())[-12:] == [1.0] * 12


def test_the_last_call_of_a_shared_activation_counts() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.act(self.a(x))
            y = self.act(self.b(y) + y)
            return self.head(y.mean((2, 3)))

    torch.manual_seed(0)
    model, (x, _) = Shared(), images(3)
    layers = maps.layers_with_maps(model, Batch((x,)))
    assert [layer.name for layer in layers] == ["a", "b", "act"]
    seen = maps.look(model, Batch((x,)), [layers[-1]], None)
    y = model.act(model.a(x))
    assert torch.allclose(seen.maps["act"], model.act(model.b(y) + y).detach().double(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_last_layer_that_reads_no_features_is_laid_out_nowhere() -> None:
    """As the last cluster of an adaptive softmax, which is that much narrower than the others."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.tail = nn.Linear(4, 3), nn.Linear(0, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) + self.tail(x[:, :0])

    report = examined(Narrow(), torch.randn(40, 4), torch.arange(40) % 3)
    (row,) = [row for row in report.coverage if row.part == "pictures"]
    assert not row.failed, row.reason


def test_nothing_is_changed_by_looking() -> None:
    model, (x, y) = net().train(), images()
    model[3].weight.grad = torch.ones_like(model[3].weight)  # type: ignore[union-attr]
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rng = torch.get_rng_state()
    report = examined(model, x, y)
    assert any(view.heat is not None for view in facts_of(report).samples)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(m.training for m in model.modules())
    assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))  # type: ignore[arg-type, union-attr]
    assert model[7].weight.grad is None
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_reference_samples_are_the_same_in_any_order_and_after_training() -> None:
    (x, y), model = images(60), net()
    first = facts_of(examined(model, x, y))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        model[7].bias.add_(torch.tensor([3.0, 0.0, 0.0]))  # another model, other answers
    second = facts_of(examined(model, x[order], y[order], size=7))

    def references(facts: PictureFacts) -> list[Any]:
        return [(v.key, v.target, v.picture) for v in facts.samples if v.role == "reference"]

    assert len(references(first)) == 10
    assert references(first) == references(second)
    assert [v.target for v in first.samples[:6]] == [0, 1, 2, 0, 1, 2]
    places = [v.place for v in second.samples if v.role == "reference"]
    assert [int(order[p]) for p in places] == [v.place for v in first.samples if v.role == "reference"]


def test_reports_of_successive_epochs_show_the_same_samples() -> None:
    (x, y), model = images(60), net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train = DataLoader(TensorDataset(x, y), 20, shuffle=True, generator=torch.Generator().manual_seed(0))
    monitor = reportgen.Monitor(model, optimizer, progress=False, options=reportgen.Options(**BRIEF))
    found = []
    with monitor:
        for epoch in range(2):
            for inputs, targets in train:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
            monitor.log(epoch=epoch, val_loss=1.0)
            found.append(facts_of(monitor.report(train)))
    first, second = ([v for v in facts.samples if v.role == "reference"] for facts in found)
    assert [v.key for v in first] == [v.key for v in second]
    assert [v.picture for v in first] == [v.picture for v in second]
    assert [v.loss for v in first] != [v.loss for v in second]
    # the loader shuffles anew: places differ, samples do not
    assert [v.place for v in first] != [v.place for v in second]


def test_the_worst_samples_are_those_of_the_highest_loss() -> None:
    model, (x, y) = net(), images(50)
    facts = facts_of(examined(model, x, y))
    with torch.no_grad():
        losses = nn.functional.cross_entropy(model.eval()(x), y, reduction="none")
    expected = losses.argsort(descending=True)[:4].tolist()
    worst = [v for v in facts.samples if v.role == "worst"]
    assert [v.place for v in worst] == expected
    assert [v.loss for v in worst] == pytest.approx(losses[expected].tolist(), rel=1e-5)
    for view in facts.samples:
        scores = model(x[view.place][None])[0].softmax(0).detach()
        assert view.prediction == int(scores.argmax())
        assert view.confidence == pytest.approx(float(scores.max()), rel=1e-5)
        assert view.target == int(y[view.place])


def test_a_sample_is_drawn_as_it_is() -> None:
    x, y = images(9, side=9)
    view = facts_of(examined(net(), x, y)).samples[0]
    assert view.picture is not None
    drawn = array(view.picture)[..., 0] / 255
    low, high = float(x.min()), float(x.max())  # all nine are references
    expected = ((x[view.place, 0] - low) / (high - low)).numpy()
    assert np.abs(drawn - expected).max() <= 0.5 / 13 + 0.5 / 255 + 1e-6  # fourteen greys, in bytes


def test_normalisation_is_undone_from_the_transform_or_the_options() -> None:
    class Normalize:
        mean = (0.5, 0.4, 0.3)
        std = (0.2, 0.25, 0.3)

    class Images(TensorDataset):
        transform = Normalize()

    torch.manual_seed(0)
    raw, y = torch.rand(30, 3, 2, 2).repeat_interleave(5, 2).repeat_interleave(5, 3), torch.arange(30) % 3
    mean, std = torch.tensor(Normalize.mean)[:, None, None], torch.tensor(Normalize.std)[:, None, None]
    x = (raw - mean) / std
    found = reportgen.examine(net(3), DataLoader(Images(x, y), 10), options=reportgen.Options(**BRIEF))
    told = examined(net(3), x, y, input_mean=[0.5, 0.4, 0.3], input_std=[0.2, 0.25, 0.3])
    for report in (found, told):
        facts = facts_of(report)
        assert facts.display is not None
        assert facts.display.scale == "normalisation"
        view = facts.samples[0]
        assert view.picture is not None
        expected = raw[view.place].permute(1, 2, 0).numpy() * 255
        assert np.abs(array(view.picture) - expected).max() <= 1
    unknown = facts_of(examined(net(3), x, y)).display
    assert unknown is not None
    assert unknown.scale == "span"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.float64, torch.complex64])
def test_images_of_every_type_are_drawn(dtype: torch.dtype) -> None:
    class AnyType(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.net((x.abs() if x.is_complex() else x).float())
            return scores

    torch.manual_seed(0)
    x = torch.rand(20, 1, 8, 8) * 2
    x = x > 1 if dtype == torch.bool else (x * 120).to(dtype) if dtype == torch.uint8 else x.to(dtype)
    facts = facts_of(examined(AnyType(), x, torch.arange(20) % 3))
    assert facts.display is not None
    assert facts.display.kind == "image"
    assert facts.display.magnitude == x.is_complex()
    assert facts.display.scale == ("as given" if dtype in (torch.uint8, torch.bool) else "span")
    assert len(np.unique(array(facts.samples[0].picture))) > 1  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (900, 2), (3, 3), (1500, 1700)])
def test_any_size_gives_a_small_picture(shape: tuple[int, int]) -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 2, 1), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.conv(x).mean((2, 3)))
            return scores

    torch.manual_seed(0)
    facts = facts_of(examined(Mean(), torch.randn(4, 1, *shape), torch.arange(4) % 3, size=2))
    for view in facts.samples:
        assert view.picture is not None
        assert max(view.picture.width, view.picture.height) <= show.SIDE
    assert facts.used < 16_000


def test_values_that_are_not_finite_are_marked_and_counted() -> None:
    x, y = images(12, side=6)
    x[:, 0, 2, 3], x[:, 0, 0, 0] = float("nan"), float("inf")
    facts = facts_of(examined(net(), x, y))
    view = facts.samples[0]
    assert view.nonfinite == 2
    drawn = array(view.picture)  # type: ignore[arg-type]
    assert drawn[2, 3].tolist() == drawn[0, 0].tolist() == [214, 84, 18]
    assert drawn[1, 1].tolist() != [214, 84, 18]
    alike = facts_of(examined(net(), torch.full((12, 1, 6, 6), 3.0), y))
    assert len(np.unique(array(alike.samples[0].picture))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "kind", "channels"),
    [((2, 8, 8), "image", [0, 1]), ((7, 8, 8), "image", [0, 3, 6]), ((8, 9, 3), "image", [])],
)
def test_other_numbers_of_channels(shape: tuple[int, ...], kind: str, channels: list[int]) -> None:
    display = show.display_of(torch.rand(4, *shape), net(), None)
    assert display is not None
    assert (display.kind, display.channels) == (kind, channels)
    drawn = show.pixels(torch.rand(4, *shape), display)
    assert drawn[0].ndim == 3


def test_a_volume_is_shown_by_its_three_middles() -> None:
    x = torch.zeros(1, 1, 4, 6, 8)
    x[0, 0, 2], x[0, 0, :, 3], x[0, 0, :, :, 4] = 1.0, 0.5, 0.25
    display = show.display_of(x, net(), None)
    assert display is not None
    assert display.kind == "volume"
    (drawn,) = show.pixels(x, display)
    assert drawn.shape == (6, 8 + 1 + 8 + 1 + 6)
    assert drawn[0, 0] == encoding.GREYS - 1  # the middle of the first axis
    assert drawn[0, 9] == 6  # that of the second, half as bright, cut by the third
    assert drawn[0, 9 + 4] == 3
    assert drawn[5, 9] == 0  # the second is only four high


def test_dead_kernels_stand_in_a_frame_and_the_rest_is_scaled_by_itself() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 4, 3, 3)
    weight[5] *= 1e-5
    weight[2] *= 100
    sheet = kernels.sheet_of("conv", weight)
    assert sheet is not None
    assert (sheet.dead, sheet.dead_shown, sheet.filters) == (1, [5], list(range(8)))
    drawn = array(sheet.picture)
    frame = (drawn == (214, 84, 18)).all(2)
    assert frame.sum() == 5 * 5 - 9  # around one kernel
    assert frame[:, 5 * 4].all()
    # the slice with the largest norm of the third filter, symmetrical about the middle
    slices = weight[2]
    chosen = slices[slices.square().sum((1, 2)).argmax()]
    expected = (chosen / chosen.abs().max() + 1) / 2
    tile = drawn[1:4, 2 * 4 + 1 : 2 * 4 + 4, 0] / 255
    assert np.abs(tile - expected.numpy()).max() <= 0.5 / 13 + 0.5 / 255 + 1e-6


def test_first_kernels_are_in_colour_and_patterns_choose() -> None:
    model = net(3)
    x, y = images(20, 3)
    facts = facts_of(examined(model, x, y))
    assert [(k.layer, k.colour) for k in facts.kernels] == [("0", True), ("3", False)]
    only = facts_of(examined(model, x, y, layers=["3"]))
    assert [k.layer for k in only.kernels] == ["3"]
    assert {m.layer for m in only.maps} == {"3"}
    assert only.patterns == ["3"]


def test_maps_show_the_channels_that_vary_most_and_mark_the_flat_ones() -> None:
    model, (x, y) = net(), images(20)
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2] = 0, -1  # type: ignore[index, operator]
    facts = facts_of(examined(model, x, y))
    sheet = next(m for m in facts.maps if m.layer == "1")
    place = facts.samples[sheet.sample].place
    with torch.no_grad():
        found = model.eval()[:2](x[place][None])[0]
    assert sheet.channels == found.double().std((1, 2), correction=0).argsort(descending=True).tolist()
    assert (sheet.flat, sheet.flat_shown, sheet.channels[-1]) == (1, [2], 2)
    assert not sheet.signed
    drawn = array(sheet.picture)
    top = found[sheet.channels[0]] / found[sheet.channels[0]].max()
    assert np.abs(drawn[1:13, 1:13, 0] / 255 - top.numpy()).max() <= 0.5 / 13 + 0.5 / 255 + 1e-6


def test_features_are_the_principal_components_of_what_the_last_layer_reads() -> None:
    model, (x, y) = net(), images(60)
    facts = facts_of(examined(model, x, y)).projection
    assert facts is not None
    assert (facts.layer, facts.n_features, len(facts.x), facts.seen) == ("7", 8, 60, 60)
    with torch.no_grad():
        read = model.eval()[:7](x).double()
    centred = read - read.mean(0)
    values = torch.linalg.svdvals(centred).square()
    assert facts.explained == pytest.approx((values[:2] / values.sum()).tolist(), abs=2e-4)
    # the order is by hash: distances between points must be those on the first two axes
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    expected = torch.pdist(centred @ axes[:2].T).sort().values
    found = torch.pdist(torch.tensor([facts.x, facts.y], dtype=torch.float64).T).sort().values
    assert torch.allclose(found / found.max(), expected / expected.max(), atol=5e-3)
    assert sorted(facts.targets) == sorted(y.tolist())


def test_the_sign_of_an_axis_does_not_depend_on_the_machine() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5))
    places, shares = principal(rows)
    mirrored, same = principal(-rows)
    assert np.allclose(np.abs(places), np.abs(mirrored))
    assert shares == pytest.approx(same)
    assert all(places[np.abs(places[:, i]).argmax(), i] > 0 for i in range(2))


def test_tsne_separates_what_is_apart_and_umap_is_named_where_it_is_missing() -> None:
    model, (x, y) = net(), images(60)
    laid = facts_of(examined(model, x, y, projection="tsne")).projection
    assert laid is not None
    assert laid.method == "tsne"
    assert max(laid.x) == 999 or max(laid.y) == 999
    missing = facts_of(examined(model, x, y, projection="umap"))
    if missing.projection is None:
        assert "umap-learn" in missing.left_out[-1].reason


def test_the_budget_is_kept_and_what_is_left_out_is_counted() -> None:
    model, (x, y) = net(), images(60)
    whole = facts_of(examined(model, x, y))
    assert 0 < whole.used <= whole.budget
    assert not whole.left_out

    def all_bytes(facts: PictureFacts) -> int:
        found = [v.picture for v in facts.samples] + [v.heat for v in facts.samples]
        found += [k.picture for k in facts.kernels] + [m.picture for m in facts.maps]
        return sum(len(p.data) for p in found if p is not None)

    assert all_bytes(whole) == whole.used
    small = facts_of(examined(model, x, y, pictures=1000))
    assert all_bytes(small) == small.used <= 1000
    assert sum(left.n for left in small.left_out if left.why == "budget") > 0
    none = examined(model, x, y, pictures=0)
    assert none.pictures is None
    assert next(c for c in none.coverage if c.part == "pictures").reason == "no room was given to them"


def test_the_same_twice_and_through_a_file() -> None:
    model, (x, y) = net(3), images(40, 3, 30)
    first, second = examined(model, x, y), examined(model, x, y)
    assert facts_of(first) == facts_of(second)
    assert decode(encode(first)).pictures == first.pictures


def test_a_damaged_picture_makes_no_report() -> None:
    report = examined(net(), *images(12))
    picture = facts_of(report).samples[0].picture
    assert picture is not None
    import base64

    data = encode(report).replace(base64.b64encode(picture.data), base64.b64encode(b"<svg onload=alert(1)>"))
    with pytest.raises(DocumentError, match="no PNG"):
        decode(data)


def test_series_tokens_and_rows_are_shown_as_such() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.lstm(x)[0][:, -1])
            return out.squeeze(-1)

    torch.manual_seed(0)
    x, y = torch.randn(20, 30, 2), torch.randn(20)
    x[:, 4, 1] = float("nan")
    facts = facts_of(examined(Recurrent(), x, y))
    view = facts.samples[0]
    assert facts.display is not None
    assert facts.display.kind == "series"
    assert view.lines[0] == pytest.approx(x[view.place, :, 0].tolist(), rel=1e-3)
    assert view.lines[1][4] is None
    assert view.target == pytest.approx(float(y[view.place]), rel=1e-5)
    tokens = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))
    ids = torch.randint(9, (20, 5))
    view = facts_of(examined(tokens, ids, torch.arange(20) % 2)).samples[0]
    assert view.tokens == ids[view.place].tolist()
    table = torch.randn(20, 3)
    view = facts_of(examined(nn.Linear(3, 2), table, torch.arange(20) % 2)).samples[0]
    assert view.values == pytest.approx(table[view.place].tolist(), rel=1e-3)


def test_kernels_of_a_weights_file(tmp_path: Any) -> None:
    torch.save(net(3).state_dict(), tmp_path / "net.pt")
    report = reportgen.examine(tmp_path / "net.pt")
    assert [k.layer for k in facts_of(report).kernels] == ["0", "3"]
    assert facts_of(report).kernels[0] == facts_of(examined(net(3), *images(12, 3))).kernels[0]


def segmented(n: int = 12, side: int = 20) -> tuple[nn.Conv2d, Tensor, Tensor]:
    """A net that names the class of each place by its channel, and targets that it misses in the last sample."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (n, side, side), generator=generator)
    x = F.one_hot(target, 3).permute(0, 3, 1, 2).float()
    target[n - 1] = (target[n - 1] + 1) % 3
    target[0, :2] = 255
    model = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(4 * torch.eye(3)[:, :, None, None])
    return model, x, target


def test_classes_of_places_are_shown_beside_the_worst_and_the_reference_samples() -> None:
    model, x, target = segmented()
    facts = facts_of(examined(model, x, target))
    assert (facts.task, facts.shown_classes) == ("places", [0, 1, 2])
    worst = [view for view in facts.samples if view.role == "worst"]
    assert worst[0].place == 11
    scores = model(x).detach()
    expected = F.cross_entropy(scores[11:], target[11:])
    assert worst[0].loss == pytest.approx(float(expected), rel=1e-5)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in CLASS_COLOURS]
    for view in facts.samples:
        assert view.truth is not None
        assert view.answer is not None
        truth, answer = array(view.truth), array(view.answer)
        for drawn, kinds in ((truth, target[view.place]), (answer, scores[view.place].argmax(0))):
            legal = kinds < 3
            assert (drawn[legal.numpy()] == np.array(colours)[kinds[legal].numpy()]).all()


def test_places_are_compared_on_a_grid_as_large_as_the_picture() -> None:
    model, x, target = segmented(4, 100)
    said = said_of(model(x), target)
    assert said is not None
    assert said.maps is not None
    assert said.maps[0].shape == (4, show.SIDE, show.SIDE)
    places = ((torch.arange(48) + 0.5) * 100 / 48).long()
    assert torch.equal(said.maps[1].long(), model(x).argmax(1)[:, places][:, :, places])
    # one yes or no a place, as scores and as probabilities
    yes = (target > 1).long()
    one = said_of(x[:, 2:] * 8 - 4, yes)
    two = said_of((x[:, 2:] * 8 - 4).sigmoid(), yes)
    assert one is not None
    assert two is not None
    assert one.loss == pytest.approx(two.loss, rel=1e-3)
    assert colour_of(0) == 0
    assert {colour_of(kind) for kind in range(1, 60)} == set(range(1, len(CLASS_COLOURS)))


def test_the_worst_of_several_answers_are_shown_too() -> None:
    x, labels = torch.rand(20, 1, 6, 6), (torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    facts = facts_of(examined(model, x, labels))
    each = F.binary_cross_entropy_with_logits(model(x).detach(), labels, reduction="none").mean(1)
    worst = [view for view in facts.samples if view.role == "worst"]
    assert [view.place for view in worst] == each.topk(4).indices.tolist()
    assert worst[0].loss == pytest.approx(float(each.max()), rel=1e-5)
    numbers = torch.randn(20, 3)
    worst = [v for v in facts_of(examined(model, x, numbers)).samples if v.role == "worst"]
    squared = (model(x).detach() - numbers).square().mean(1)
    assert [view.place for view in worst] == squared.topk(4).indices.tolist()
    images = facts_of(examined(nn.Conv2d(1, 1, 1), x, x))  # one to another: no labels
    assert images.task == ""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from hpsearch.datasets.histology import generate as generator
from hpsearch.datasets.histology.ellipses import Ellipses, paint, rim
from hpsearch.datasets.histology.generate import SLIDE_COUNTS, TILES_PER_SLIDE, generate
from hpsearch.datasets.histology.style import (
    MIMICS,
    Tumour,
    draw_architecture,
    draw_stain,
    draw_style,
    transmit,
)
from hpsearch.datasets.histology.tile import draw_layout
from hpsearch.datasets.table import validate_table

COUNTS = {("train", 0): 2000, ("train", 1): 400, ("test", 0): 600, ("test", 1): 500}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(generator, "SLIDE_COUNTS", {("train", "normal"): 2, ("test", "tumour"): 2})

    def generate_tiny(seed, workers=1, **options):
        return generate(seed=seed, workers=workers, **options)

    return generate_tiny


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tiny):
    table, tiles = tiny(7)
    other_table, other_tiles = tiny(7, workers=2)
    assert_array_equal(tiles, other_tiles)
    pd.testing.assert_frame_equal(table, other_table)


def test_another_seed_gives_other_tiles(tiny):
    assert not np.array_equal(tiny(0)[1], tiny(1)[1])


def test_no_tile_comes_twice(tiny):
    tiles = tiny(0)[1]
    assert len(np.unique(tiles.reshape(len(tiles), -1), axis=0)) == len(tiles)


def test_a_slide_does_not_depend_on_how_many_follow_it(tiny, monkeypatch):
    first = tiny(0)[1][:TILES_PER_SLIDE]
    monkeypatch.setattr(generator, "SLIDE_COUNTS", {("train", "normal"): 1})
    assert_array_equal(tiny(0)[1], first)


def test_progress_counts_the_slides(tiny):
    calls = []
    tiny(0, progress=lambda *call: calls.append(call))
    assert calls == [("rendering slides", done, 4) for done in (1, 2, 3, 4)]


def test_the_table_counts_and_keeps_the_contract(histology):
    table, tiles = histology
    assert tiles.shape == (3500, 64, 64, 3)
    assert tiles.dtype == np.uint8
    assert table.groupby(["split", "label"]).size().to_dict() == COUNTS
    pd.testing.assert_frame_equal(validate_table(table, "synthetic-histology"), table)
    assert table["image_id"].iloc[7 * TILES_PER_SLIDE + 12] == "train/normal_007/012"


def test_a_group_is_a_slide_of_one_split_and_a_type_is_a_tumour_slide(histology):
    table, _ = histology
    assert table["group"].nunique() == sum(SLIDE_COUNTS.values()) == 70
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert (table.groupby("group").size() == TILES_PER_SLIDE).all()
    anomalies = table[table["label"] == 1]
    assert (anomalies["anomaly_type"] == anomalies["group"]).all()


def test_colour_and_brightness_do_not_give_the_tumours_away(histology):
    table, tiles = histology
    colours = channel_statistics(tiles)
    train = colours[(table["split"] == "train") & (table["label"] == 0)]
    test = (table["split"] == "test").to_numpy()
    labels = table["label"].to_numpy()[test]
    forest = IsolationForest(random_state=0).fit(train)
    assert 0.3 < roc_auc_score(labels, -forest.score_samples(colours[test])) < 0.7
    gaussian = LedoitWolf().fit(train)
    assert 0.3 < roc_auc_score(labels, gaussian.mahalanobis(colours[test])) < 0.7


def test_colour_and_brightness_do_not_give_the_faint_tumours_away(monkeypatch):
    monkeypatch.setattr(generator, "TILES_PER_SLIDE", 4)
    table, tiles = generate(seed=0, workers=1, hard=True)
    train = ((table["split"] == "train") & (table["label"] == 0)).to_numpy()
    test = (table["split"] == "test").to_numpy()
    labels = table["label"].to_numpy()[test]
    colours = channel_statistics(tiles)
    forest = IsolationForest(random_state=0).fit(colours[train])
    assert 0.3 < roc_auc_score(labels, -forest.score_samples(colours[test])) < 0.7
    gaussian = LedoitWolf().fit(colours[train])
    assert 0.3 < roc_auc_score(labels, gaussian.mahalanobis(colours[test])) < 0.7
    assert 0.3 < roc_auc_score(labels, colours[test, :3].mean(1)) < 0.7


def test_the_hard_setting_has_the_slides_and_counts_of_the_other(tiny, monkeypatch):
    monkeypatch.setattr(generator, "TILES_PER_SLIDE", 5)
    table, tiles = tiny(0)
    hard_table, hard_tiles = tiny(0, hard=True)
    pd.testing.assert_frame_equal(hard_table, table)
    differs = (hard_tiles != tiles).any(axis=(1, 2, 3))
    assert differs[table["label"] == 1].all()
    for tumour in (False, True):
        easy, hard = (
            draw_style(np.random.default_rng(5), tumour=tumour, hard=hard) for hard in (False, True)
        )
        assert (easy.architecture, easy.blur, easy.noise) == (
            hard.architecture,
            hard.blur,
            hard.noise,
        )
        assert_array_equal(easy.stain.matrix, hard.stain.matrix)


def test_tiles_of_the_easy_setting_draw_nothing_for_mimics():
    for tumour in (False, True):
        slide = draw_style(np.random.default_rng(0), tumour=tumour)
        rng, untouched = np.random.default_rng(1), np.random.default_rng(1)
        assert slide.changes(rng) is slide.tumour
        assert rng.bit_generator.state == untouched.bit_generator.state


def test_mimics_have_at_most_one_sign_of_a_tumour_and_tumours_have_them_all():
    rng = np.random.default_rng(0)
    signs = ("enlargement", "anisokaryosis", "irregularity", "clumping", "mitoses", "desmoplasia")
    counts = set()
    for _ in range(40):
        normal, ill = (draw_style(rng, tumour=tumour, hard=True) for tumour in (False, True))
        counts.add(sum(getattr(normal.mimic, s) != getattr(Tumour(), s) for s in signs))
        assert all(getattr(ill.tumour, s) > getattr(Tumour(), s) for s in signs)
        assert ill.mimics == 0
    assert counts == {0, 1}
    changed = [normal.changes(rng) is normal.mimic for _ in range(2000)]
    assert np.mean(changed) == pytest.approx(MIMICS, abs=0.03)


def test_every_tile_of_a_faint_tumour_shows_it():
    rng = np.random.default_rng(0)
    tumour = Tumour(lost_glands=0.0, focal=True)
    for _ in range(50):
        layout = draw_layout(draw_architecture(rng), tumour, rng)
        inside = np.all((layout.malignant.centre > 0) & (layout.malignant.centre < 64), axis=1)
        assert inside.sum() >= 5


def channel_statistics(tiles):
    pixels = tiles.reshape(len(tiles), -1, 3).astype(float)
    return np.concatenate([pixels.mean(1), pixels.std(1)], axis=1)


def test_tumour_nuclei_are_larger_but_take_no_more_room():
    rng = np.random.default_rng(0)
    architecture = draw_architecture(rng)
    tumour = Tumour(lost_glands=1.0, enlargement=1.5, anisokaryosis=0.25)
    normal = [draw_layout(architecture, Tumour(), rng) for _ in range(200)]
    changed = [draw_layout(architecture, tumour, rng) for _ in range(200)]
    epithelial = np.concatenate([layout.nuclei.radius for layout in normal])
    malignant = np.concatenate([layout.malignant.radius for layout in changed])
    assert malignant.mean() > 1.3 * epithelial.mean()
    assert nuclear_area(changed) == pytest.approx(nuclear_area(normal), rel=0.1)


def nuclear_area(layouts):
    return sum(
        np.sum(part.radius**2) for layout in layouts for part in (layout.nuclei, layout.malignant)
    )


def test_normal_slides_have_no_malignant_nuclei():
    rng = np.random.default_rng(0)
    slide = draw_style(rng, tumour=False)
    assert len(draw_layout(slide.architecture, slide.tumour, rng).malignant) == 0


def test_a_painted_circle_has_the_area_of_its_radius():
    circle = Ellipses(np.array([[30.3, 25.8]]), np.array([10.0]), np.ones(1), np.zeros(1))
    canvas = paint_coverage(circle, size=64)
    assert canvas.sum() == pytest.approx(np.pi * 100, rel=0.01)
    assert_allclose(np.average(np.arange(64), weights=canvas.sum(1)), 30.3, atol=0.02)
    assert_allclose(np.average(np.arange(64), weights=canvas.sum(0)), 25.8, atol=0.02)


def test_an_ellipse_half_outside_the_canvas_is_cut_by_its_edge():
    ellipse = Ellipses(np.array([[-0.5, 31.5]]), np.array([10.0]), np.array([2.0]), np.zeros(1))
    assert paint_coverage(ellipse, size=64).sum() == pytest.approx(np.pi * 50, rel=0.01)


def test_a_rim_point_lies_where_the_painted_ellipse_ends():
    ellipse = Ellipses(np.array([[32.0, 32.0]]), np.array([12.0]), np.array([1.8]), np.array([0.7]))
    canvas = paint_coverage(ellipse, size=64)
    turns = np.linspace(0, 2 * np.pi, 16)
    points, tangents = rim(ellipse[np.zeros(16, dtype=np.intp)], turns)
    outward = np.stack([np.sin(tangents), -np.cos(tangents)], 1)
    inside, outside = (np.rint(points - s * outward).astype(int) for s in (-2, 2))
    darker = canvas[tuple(inside.T)], canvas[tuple(outside.T)]
    assert {0.0, 1.0} == {float(v) for values in darker for v in np.unique(values)}
    assert (np.abs(darker[0] - darker[1]) == 1).all()


def paint_coverage(ellipses, size):
    return paint(
        ellipses,
        lambda depth: np.clip(0.5 + depth, 0, 1),
        strength=np.ones(len(ellipses)),
        irregularity=0.0,
        size=size,
        rng=np.random.default_rng(0),
    )


def test_light_follows_the_beer_lambert_law():
    stain = draw_stain(np.random.default_rng(0))
    once = transmit(stain, np.full((1, 1), 0.4), np.full((1, 1), 0.3)) / stain.glass
    twice = transmit(stain, np.full((1, 1), 0.8), np.full((1, 1), 0.6)) / stain.glass
    assert_allclose(twice, once**2)
    assert_allclose(transmit(stain, np.zeros((1, 1)), np.zeros((1, 1)))[0, 0], stain.glass)


def test_haematoxylin_absorbs_red_and_eosin_absorbs_green_the_most():
    for seed in range(20):
        haematoxylin, eosin = draw_stain(np.random.default_rng(seed)).matrix
        assert haematoxylin[0] > eosin[0]
        assert eosin.argmax() == 1
        assert_allclose(np.linalg.norm([haematoxylin, eosin], axis=1), 1)

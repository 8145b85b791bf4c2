"""Features are shared out over shards by batches, and gathered in order."""

import numpy as np
import pytest

from scansynth.errors import ScansynthError
from scansynth.evaluate import features, featureset
from scansynth.evaluate.extract import shared_out
from scansynth.evaluate.imagesets import ImageSet


def image_set(count):
    return ImageSet(np.zeros((count, 1, 1, 1), np.uint8), np.arange(count), [{}] * count, np.arange(count))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_in_a_row_are_all_batches_in_order(count):
    sets = {"reference": image_set(300), "samples": image_set(513), "floor": image_set(3)}
    parts = [shared_out(sets, f"{i}-of-{count}") for i in range(1, count + 1)]
    for name, images in sets.items():
        runs = [part[name].indices for part in parts if name in part]
        np.testing.assert_array_equal(np.concatenate(runs), images.indices)
        assert all(len(run) % 256 == 0 for run in runs[:-1])
    assert sum(not part for part in parts) == max(count - 6, 0)


def space(name, **sets):
    arrays = {key: np.full((count, 2), value, np.float32) for key, (count, value) in sets.items()}
    groups = {key: np.arange(len(values)) for key, values in arrays.items()}
    return featureset.FeatureSet(featureset.About(name, "1", None, False, (), ""), arrays, arrays, groups)


def test_a_set_is_what_the_shards_have_of_it_in_order(tmp_path):
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    featureset.write(paths[0], [space("probe", reference=(2, 0), samples=(1, 1))])
    featureset.write(paths[1], [])
    featureset.write(paths[2], [space("probe", samples=(2, 2))])
    (found,) = features.gathered(paths, ["probe"])
    assert found.counts == {"reference": 2, "samples": 3}
    np.testing.assert_array_equal(found.features["samples"][:, 0], [1, 2, 2])


def test_a_space_that_no_shard_has_is_an_error(tmp_path):
    featureset.write(tmp_path / "1.npz", [space("probe", reference=(2, 0))])
    with pytest.raises(ScansynthError, match="no features of radiomics"):
        list(features.gathered([tmp_path / "1.npz"], ["probe", "radiomics"]))

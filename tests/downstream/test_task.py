"""What is asked, and of which images."""

import numpy as np
import pytest

from scansynth.downstream.task import task_of
from scansynth.errors import ScansynthError
from scansynth.sections import Task

MANIFEST = {"findings": ["None", "Mass", "Nodule", "Hernia"], "no_finding": "None"}
FOUND = ["None", "Mass", "Mass|Nodule", "", "Nodule", "None", "Mass"]
LABELLED = [0, 1, 2, 4, 5, 6]  # where absence has a label, nobody knows what the image without any shows
TABLE = [{"split": "train", "findings": found} for found in FOUND] + [{"split": "test", "findings": "Hernia"}]


def test_all_findings_that_are_told_apart():
    task = task_of(TABLE, MANIFEST, Task())
    assert task.classes == ("Mass", "Nodule")  # nobody to learn Hernia from; that there is none is no finding
    assert task.rows(TABLE, "train").tolist() == LABELLED and task.rows(TABLE, "test").tolist() == [7]
    truth = task.truth(TABLE[:7])
    assert truth[:, 0].tolist() == [False, True, True, False, False, False, True]
    rare, missing = task.rare(TABLE[:7])
    assert [row["findings"] for row in rare] == ["Mass|Nodule", "Nodule"] and missing == 1


def test_one_finding_against_none_or_against_its_absence():
    against_none = task_of(TABLE, MANIFEST, Task(target="Mass"))
    assert against_none.classes == ("Mass",) and against_none.rows(TABLE, "train").tolist() == [0, 1, 2, 5, 6]
    assert not len(against_none.rows(TABLE, "test"))
    against_all = task_of(TABLE, MANIFEST, Task(target="Mass", against="absence"))
    assert against_all.rows(TABLE, "train").tolist() == LABELLED
    rare, missing = against_all.rare(TABLE[:7])
    assert np.all(["Mass" in row["findings"] for row in rare]) and len(rare) == 3 and missing == 1


@pytest.mark.parametrize("target", ["Hernia", "Cough"])
def test_what_training_images_do_not_tell_is_refused(target):
    with pytest.raises(ScansynthError, match=f"{target}.*Mass"):
        task_of(TABLE, MANIFEST, Task(target=target))

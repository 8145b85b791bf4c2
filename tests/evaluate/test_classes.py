from scansynth.evaluate.classes import JointClasses


def row(findings, view=""):
    return {"findings": findings, "view": view}


TRAIN = [row("A", "PA"), row("A", "PA"), row("A|B", "PA"), row("C", "AP"), row("C", "PA"), row("C", "AP")]


def test_an_image_is_of_its_rarest_finding_and_its_view():
    classes = JointClasses.of(TRAIN)
    assert classes.names == ("A, PA", "B, PA", "C, AP", "C, PA")
    assert classes.indices([row("B|A", "PA"), row("A|C", "PA")]).tolist() == [1, 0]


def test_a_class_that_training_does_not_have_is_minus_1():
    assert JointClasses.of(TRAIN).indices([row("B", "AP"), row("D", "PA")]).tolist() == [-1, -1]


def test_without_labels_there_is_one_class():
    assert JointClasses.of([row(""), row("")]).names == ("",)


def test_views_alone_are_classes():
    assert JointClasses.of([row("", "PA"), row("", "AP")]).names == ("AP", "PA")

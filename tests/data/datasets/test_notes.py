"""Notes count the files and labels that were left out."""

from segnet.data.datasets.notes import Notes


def test_a_note_has_place_number_reason_and_first_examples():
    notes = Notes()
    for number in range(1200):
        notes.add("/data", "image", "left out, no list names it", f"{number}.jpg")
    notes.add("/data", "category", "merged", "a")
    notes.add("/data", "category", "merged", "b")
    notes.add("a.json", "region", "left out", "task 3", 2)
    assert notes.lines() == [
        "/data: 1,200 images left out, no list names it: 0.jpg, 1.jpg, 2.jpg, ...",
        "/data: 2 categories merged: a, b",
        "a.json: 2 regions left out: task 3, ...",
    ]

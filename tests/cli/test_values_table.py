"""The terminal's view of masks without class names."""

from segnet.cli.values_table import MAX_OPTIONS, NUM_ROWS, print_values, values_table
from segnet.data.scan.finding import Finding
from segnet.data.scan.mask_values import MaskContent, SplitContent
from segnet.data.scan.values_report import ValuesReport

SPEC = {"name": "folder", "root": "a"}


def report(*masks: MaskContent) -> ValuesReport:
    return ValuesReport(SPEC, [SplitContent("train", masks)])


def cells(table) -> list[list[str]]:
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_values_are_rows_with_their_fraction_and_images_and_no_data_counts():
    first = MaskContent(Finding("a"), {0: 6, 1: 1}, no_data=3, declared=0)
    table = cells(values_table(report(first, MaskContent(Finding("b"), {0: 10}))))
    assert table == [["0 (declared no data)", "1", "no data"], ["80.00", "5.00", "15.00"], ["2", "1", ""]]


def test_colors_are_in_the_order_of_their_pixels():
    table = cells(values_table(report(MaskContent(Finding("a"), colors={(1, 2, 3): 1, (0, 0, 0): 3}, num_colors=2))))
    assert table == [["0,0,0", "1,2,3"], ["75.00", "25.00"], ["1", "1"]]


def test_long_lists_are_cut_and_named(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_values(report(MaskContent(Finding("a"), {0: 9_000} | dict.fromkeys(range(1, 200), 10))), None)
    printed = capsys.readouterr().out
    assert f"and {200 - NUM_ROWS} more, see inspection.json" in printed
    assert "  those in inspection.json" in printed.splitlines()  # an option for each of 200 values
    assert max(map(len, printed.splitlines())) <= MAX_OPTIONS

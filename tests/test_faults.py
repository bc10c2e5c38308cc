"""The faults of faults.py fit the package as it is; whether tests notice them, it shows itself."""

from tests.faults import FAULTS, ROOT


def test_every_fault_has_its_place_and_its_tests():
    for number, fault in enumerate(FAULTS, 1):
        text = (ROOT / "xcloudfree" / fault.file).read_text(encoding="utf-8")
        assert text.count(fault.before) == 1, number
        assert all((ROOT / "tests" / name).is_file() for name in fault.tests.split()), number

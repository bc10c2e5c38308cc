"""Errors with fields: what they say, where they travel, what the command line makes of them."""

import inspect
import pickle

import pytest

from xcloudfree import exceptions
from xcloudfree.exceptions import CloudFreeError, UnitsError

ERRORS = [
    member
    for _, member in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(member, CloudFreeError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_fields_make_the_message_and_survive_pickling(kind):
    error = kind("is wrong", "call f()", "model 'a'", "--f")
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert type(one) is kind
        assert str(one) == "model 'a' is wrong; call f()"
        assert (one.problem, one.fix, one.subject, one.option) == (
            "is wrong", "call f()", "model 'a'", "--f",
        )  # fmt: skip
        assert one.as_options == "model 'a' is wrong; use --f"


def test_a_message_alone_stays_a_message():
    error = UnitsError("odd numbers")
    assert (str(error), error.as_options, error.fix) == ("odd numbers", "odd numbers", "")
    assert str(CloudFreeError()) == ""
    assert CloudFreeError("a", "b()").as_options == "a; b()"

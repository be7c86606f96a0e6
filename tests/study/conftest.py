"""What the tests of studies share."""

import pytest

from tests.study.small import write_digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> str:
    return write_digits(tmp_path_factory.mktemp("digits"))

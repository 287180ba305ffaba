"""Every error has an answer, and an answer says no more than its row."""

from __future__ import annotations

import orjson
import pytest

from gateway.endpoints.problems import PROBLEMS, problem_of, response_to
from gateway.errors import ConfigError, EngineMissing, GatewayError, Mistake
from gateway.mcp.errors import Malformed


@pytest.mark.parametrize(
    "error",
    [
        ConfigError((Mistake("/etc/portcullis/config.yaml", "auth", 1, "is wrong"),)),
        EngineMissing("/usr/bin/opa is too old"),
        Malformed("a stranger's words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_no_handler_should_let_through_is_a_plain_500(error: GatewayError):
    answer = response_to(error, "id", "ApiKey")
    assert isinstance(answer.body, bytes)
    assert (answer.status, orjson.loads(answer.body)["detail"]) == (500, "The request failed")
    assert str(error).encode() not in answer.body


def test_the_nearest_row_counts():
    class Narrower(ConfigError):
        """A kind that a room has added."""

    assert problem_of(Narrower(())) == PROBLEMS[GatewayError]
    for kind in (one for one in PROBLEMS if one is not GatewayError):
        assert PROBLEMS[kind] != PROBLEMS[GatewayError]

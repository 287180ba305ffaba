"""The ladder of each revision: which era a message speaks, and what must agree before anybody is asked (A15)."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request, encode_header_value
from multidict import CIMultiDict

from gateway.mcp import headers as header_rules
from gateway.mcp.envelope import Notification, Request, Response
from gateway.mcp.eras import METHODS, Action, Era, Route, classify, status
from gateway.mcp.errors import Rejection

VERSION = "2026-07-28"
KEY = "io.modelcontextprotocol/"
META = {KEY + "protocolVersion": VERSION, KEY + "clientCapabilities": {}}


def modern(method="tools/call", params=None, meta=META, **changes):
    """A modern request and its headers, some of them changed (None takes one away, a list sends it again)."""
    params = {"name": "charge"} if params is None and method == "tools/call" else dict(params or {})
    if meta is not None:
        params["_meta"] = meta
    lines = {"MCP-Protocol-Version": VERSION, "Mcp-Method": method}
    if "name" in params:
        lines["Mcp-Name"] = params["name"]
    return headers(lines | {name.replace("_", "-"): value for name, value in changes.items()}), Request(
        1, method, params
    )


def headers(lines):
    pairs = CIMultiDict()
    for name, value in lines.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                pairs.add(name, one)
    return pairs


def test_a_whole_modern_request_is_routed():
    assert classify(*modern()) == Route(Era.MODERN, VERSION, Action.CALL)
    assert classify(*modern("tools/list")) == Route(Era.MODERN, VERSION, Action.LIST)
    assert classify(*modern("server/discover")) == Route(Era.MODERN, VERSION, Action.DISCOVER)


def test_what_the_client_says_of_itself_is_kept_short_and_never_required():
    info = {"name": "agent", "version": "1" * 500, "title": "x", "icons": [{}]}
    route = classify(*modern(meta={**META, KEY + "clientInfo": info}))
    assert route.client == {"name": "agent", "version": "1" * 128}
    assert classify(*modern(meta={**META, KEY + "clientInfo": "odd"})).client == {}


RUNGS = [
    ("no _meta", modern(meta=None), 400, -32602),
    ("_meta of another type", modern(meta=[]), 400, -32602),
    ("no capabilities", modern(meta={KEY + "protocolVersion": VERSION}), 400, -32602),
    ("no version in the body", modern(meta={KEY + "clientCapabilities": {}}), 400, -32602),
    ("capabilities of another type", modern(meta={**META, KEY + "clientCapabilities": []}), 400, -32602),
    ("no version header", modern(MCP_Protocol_Version=None), 400, -32020),
    ("an old version header", modern(MCP_Protocol_Version="2025-11-25"), 400, -32020),
    ("the oldest version header", modern(MCP_Protocol_Version="2024-11-05"), 400, -32020),
    ("another version in the body", modern(meta={**META, KEY + "protocolVersion": "2027-01-01"}), 400, -32020),
    ("a version that is no text", modern(meta={**META, KEY + "protocolVersion": 20260728}), 400, -32020),
    ("the version header twice", modern(MCP_Protocol_Version=[VERSION, VERSION]), 400, -32020),
    ("the version header twice, at odds", modern(MCP_Protocol_Version=[VERSION, "2025-11-25"]), 400, -32020),
    ("no method header", modern(Mcp_Method=None), 400, -32020),
    ("another method", modern(Mcp_Method="tools/list"), 400, -32020),
    ("the method in capitals", modern(Mcp_Method="Tools/Call"), 400, -32020),
    ("the method twice", modern(Mcp_Method=["tools/call", "tools/call"]), 400, -32020),
    ("no name header", modern(Mcp_Name=None), 400, -32020),
    ("an empty name header", modern(Mcp_Name=""), 400, -32020),
    ("another name", modern(Mcp_Name="refund"), 400, -32020),
    ("the name in capitals", modern(Mcp_Name="CHARGE"), 400, -32020),
    ("the name twice", modern(Mcp_Name=["charge", "refund"]), 400, -32020),
    ("a sentinel of another name", modern(Mcp_Name=encode_header_value("réfund")), 400, -32020),
    ("a sentinel with bad padding", modern(Mcp_Name="=?base64?Y2hhcmdl=?="), 400, -32020),
    ("a sentinel with a bad alphabet", modern(Mcp_Name="=?base64?Y2hh-mdl?="), 400, -32020),
    ("a sentinel that is no UTF-8", modern(Mcp_Name="=?base64?/w==?="), 400, -32020),
    ("a sentinel in capitals", modern(Mcp_Name="=?BASE64?Y2hhcmdl?="), 400, -32020),
    ("a sentinel without its end", modern(Mcp_Name="=?base64?Y2hhcmdl"), 400, -32020),
    ("a name that is not ASCII", modern(params={"name": "é"}, Mcp_Name="é"), 400, -32020),
    ("an unknown method", modern("tools/nothing"), 404, -32601),
    ("a handshake", modern("initialize"), 404, -32601),
    ("a ping", modern("ping"), 404, -32601),
    ("a subscription of the older era", modern("resources/subscribe"), 404, -32601),
    ("tasks", modern("tasks/get"), 404, -32601),
    ("an Accept that leaves no room", modern(Accept="text/html"), 406, -32600),
]


@pytest.mark.parametrize(("sent", "http", "code"), [case[1:] for case in RUNGS], ids=[case[0] for case in RUNGS])
def test_each_rung_of_the_modern_ladder_refuses_what_it_is_there_for(sent, http, code):
    verdict = classify(*sent)
    assert isinstance(verdict, Rejection)
    assert (verdict.status, verdict.code, verdict.id) == (http, code, 1)


@pytest.mark.parametrize("version", ["2027-01-01", "2024-10-07", "1.0", ""])
@pytest.mark.parametrize("method", ["tools/call", "initialize", "server/discover"])
def test_a_version_nobody_knows_is_told_which_ones_are_served(version, method):
    meta = {**META, KEY + "protocolVersion": version}
    for sent in (
        modern(method, meta=meta, MCP_Protocol_Version=version),
        modern(method, meta=None, MCP_Protocol_Version=version),
    ):
        verdict = classify(*sent)
        assert (verdict.status, verdict.code) == (400, -32022)
        supported = [VERSION, "2025-11-25", "2025-06-18", "2025-03-26"]
        assert verdict.data == {"supported": supported, "requested": version}


@pytest.mark.parametrize("name", ["charge", "chargé", " charge", "charge ", "=?base64?eA==?=", "", "a\tb", "\u2028"])
def test_a_name_that_a_header_cannot_carry_comes_in_its_sentinel(name):
    verdict = classify(*modern(params={"name": name}, Mcp_Name=encode_header_value(name)))
    assert isinstance(verdict, Route)


def test_a_cursor_that_was_never_handed_out_is_refused_in_both_eras_and_none_is_none():
    for sent, http in (
        (modern("tools/list", {"cursor": "2"}), 400),
        ((headers({}), Request(1, "tools/list", {"cursor": ""})), 200),
    ):
        refused = classify(*sent)
        assert (refused.status, refused.code, refused.id) == (http, -32602, 1)
    assert classify(headers({}), Request(1, "tools/list", {"cursor": None})).action is Action.LIST


def test_a_plain_name_may_come_in_a_sentinel_too():
    assert isinstance(classify(*modern(Mcp_Name="=?base64?Y2hhcmdl?=")), Route)


def test_space_around_a_header_does_not_count():
    assert isinstance(classify(*modern(Mcp_Method="tools/call \t", Mcp_Name="  charge")), Route)


def test_a_call_without_a_name_is_left_to_whoever_reads_the_parameters():
    assert isinstance(classify(*modern(params={})), Route)


def legacy(method="tools/call", params=None, **lines):
    params = {"name": "charge"} if params is None else params
    return headers({name.replace("_", "-"): value for name, value in lines.items()}), Request(1, method, params)


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
def test_an_older_version_header_means_the_older_era(version):
    assert classify(*legacy(MCP_Protocol_Version=version)) == Route(Era.LEGACY, version, Action.CALL)


def test_without_any_header_or_handshake_a_request_is_served_as_the_oldest_revision():
    assert classify(*legacy()) == Route(Era.LEGACY, "2025-03-26", Action.CALL)
    assert classify(*legacy("tools/list", {})) == Route(Era.LEGACY, "2025-03-26", Action.LIST)


def test_a_handshake_is_answered_and_a_session_id_ignored():
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}
    route = classify(*legacy("initialize", params, Mcp_Session_Id="stolen"))
    assert route == Route(Era.LEGACY, "2025-03-26", Action.INITIALIZE, {"name": "agent", "version": "1"})
    assert classify(*legacy("ping", {}, Mcp_Session_Id="stolen")).action is Action.PING


LEGACY_RUNGS = [
    ("a modern body", legacy(params={"name": "charge", "_meta": META}), 400, -32020),
    (
        "a modern body under an old header",
        legacy(params={"_meta": META}, MCP_Protocol_Version="2025-11-25"),
        400,
        -32020,
    ),
    ("a modern handshake", legacy("initialize", {"_meta": META}), 400, -32020),
    ("a name header for another tool", legacy(Mcp_Name="refund"), 400, -32020),
    ("a name header twice", legacy(Mcp_Name=["charge", "charge"]), 400, -32020),
    ("a method header for another method", legacy(Mcp_Method="tools/list"), 400, -32020),
    ("a name header where nothing is named", legacy("tools/list", {}, Mcp_Name="charge"), 400, -32020),
    ("discovery", legacy("server/discover", {}), 200, -32601),
    ("tasks", legacy("tasks/list", {}), 200, -32601),
    ("subscriptions", legacy("subscriptions/listen", {}), 200, -32601),
]


@pytest.mark.parametrize(
    ("sent", "http", "code"), [case[1:] for case in LEGACY_RUNGS], ids=[case[0] for case in LEGACY_RUNGS]
)
def test_an_older_header_is_no_way_around_the_rungs(sent, http, code):
    verdict = classify(*sent)
    assert isinstance(verdict, Rejection)
    assert (verdict.status, verdict.code) == (http, code)


def test_headers_that_agree_are_welcome_in_the_older_era_too():
    assert isinstance(classify(*legacy(Mcp_Name="charge", Mcp_Method="tools/call")), Route)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/event-stream", "application/json, text/event-stream"]
)
def test_an_accept_header_that_leaves_room_passes(accept):
    assert isinstance(classify(*legacy(Accept=accept)), Route)
    assert isinstance(classify(*legacy(Accept=["text/html", "application/*;q=0.1"])), Route)


def test_notifications_are_accepted_in_both_eras_and_do_nothing():
    for name in ("notifications/initialized", "notifications/cancelled", "notifications/unheard-of"):
        assert classify(headers({}), Notification(name)).action is Action.ACCEPT
        assert classify(headers({"MCP-Protocol-Version": VERSION}), Notification(name)).action is Action.ACCEPT


def test_a_call_without_an_id_is_refused_rather_than_made_unanswered():
    for lines in ({}, {"MCP-Protocol-Version": VERSION}):
        verdict = classify(headers(lines), Notification("tools/call", {"name": "charge"}))
        assert (verdict.status, verdict.code, verdict.id) == (400, -32600, None)


def test_a_posted_response_is_accepted_only_in_the_older_era():
    assert classify(headers({}), Response(1)).action is Action.ACCEPT
    assert classify(headers({"MCP-Protocol-Version": VERSION}), Response(1)).code == -32600


def test_a_notification_of_a_version_nobody_knows_is_told_so():
    verdict = classify(headers({"MCP-Protocol-Version": "2027-01-01"}), Notification("notifications/initialized"))
    assert (verdict.status, verdict.code) == (400, -32022)


def test_every_method_outside_the_table_is_closed_in_both_eras():
    for method in ("Tools/call", "tools/call ", "tools", "", "resources/reads", "prompts/call", "rpc.discover"):
        assert method not in METHODS
        assert classify(*legacy(method, {})).code == -32601
        assert classify(*modern(method, {})).code in (-32601, -32020)


def test_errors_have_their_status_in_the_modern_era_and_come_with_200_in_the_older():
    assert [status(Era.MODERN, code) for code in (-32601, -32602, -32603, -32022, 40300)] == [404, 400, 200, 400, 200]
    assert status(Era.LEGACY, -32601) == 200


VERSIONS = st.sampled_from([VERSION, "2027-01-01"])
METHOD_NAMES = st.sampled_from(["tools/call", "tools/list", "server/discover", "prompts/get", "resources/read"])
NAMES = st.sampled_from(["charge", "refund", "chargé", " charge", "=?base64?Y2hhcmdl?=", ""])
ODD = st.sampled_from([None, 1, [], {}, ""])


@st.composite
def modern_requests(draw):
    meta = draw(
        st.fixed_dictionaries(
            {},
            optional={
                KEY + "protocolVersion": VERSIONS | ODD,
                KEY + "clientCapabilities": st.just({}),
                KEY + "clientInfo": st.just({"name": "agent", "version": "1"}) | ODD,
                "com.example/trace": st.integers(),
            },
        )
    )
    params = draw(st.fixed_dictionaries({}, optional={"name": NAMES, "uri": NAMES, "_meta": st.just(meta) | ODD}))
    lines = draw(
        st.fixed_dictionaries(
            {"mcp-protocol-version": VERSIONS},
            optional={
                "mcp-method": METHOD_NAMES,
                "mcp-name": NAMES.map(encode_header_value) | st.just("=?base64?bad?="),
            },
        )
    )
    return draw(METHOD_NAMES), params, lines


@given(modern_requests())
@example(
    (
        "tools/list",
        {"_meta": {KEY + "protocolVersion": "2027-01-01", KEY + "clientCapabilities": {}}},
        {"mcp-protocol-version": "2027-01-01", "mcp-method": "tools/list", "mcp-name": "=?base64?bad?="},
    )
)
def test_the_ladder_agrees_with_the_official_sdks(drawn):
    method, params, lines = drawn
    theirs = classify_inbound_request({"method": method, "params": params}, headers=lines)
    ours = classify(headers(lines), Request(1, method, params))
    if not isinstance(theirs, InboundLadderRejection):
        # Existence of the method is a rung of ours and not of theirs.
        assert isinstance(ours, Route) or ours.code == -32601
    elif lines["mcp-protocol-version"] != VERSION and theirs.code == -32602:
        # A header of an unknown version is told so at once.
        assert ours.code in (-32602, -32020, -32022)
    elif theirs.code == -32602 and lines.get("mcp-name") == "=?base64?bad?=":
        assert ours.code in (-32602, -32020)
    else:
        assert isinstance(ours, Rejection)
        assert ours.code == theirs.code


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_header_values_are_written_and_read_as_the_official_sdk_does(value):
    assert header_rules.encoded(value) == encode_header_value(value)
    assert header_rules.decoded(header_rules.encoded(value)) == value


@given(st.binary())
def test_a_sentinel_of_any_bytes_is_read_or_refused(raw):
    sentinel = f"=?base64?{base64.b64encode(raw).decode()}?="
    try:
        assert header_rules.decoded(sentinel).encode() == raw
    except header_rules.BadHeader:
        with pytest.raises(UnicodeDecodeError):
            raw.decode()


def test_what_is_refused_can_be_written_as_json():
    for _, sent, _, _ in RUNGS:
        json.dumps(classify(*sent).data)

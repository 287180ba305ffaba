"""Users' own Rego: what is published, and what is refused before it is, each mistake at its place."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from bundles.custom import CustomPolicy, read_custom
from gateway.errors import ConfigError
from gateway.pdp.opa_binary import find
from policies import ROOT
from tests.support.judge import bundled_judge
from tests.support.worlds import Case, snapshot

if TYPE_CHECKING:
    from pathlib import Path

NOT = "import future.keywords.not\n"
HEAD = "package custom.freeze\n\nimport data.portcullis.ctx\nimport future.keywords.not\n\n"
GOOD = HEAD + 'deny contains "frozen" if ctx.id == "payments/charge"\n'
EXAMPLE = ROOT.parent / "examples" / "policies"
FORBIDDEN = (
    "http.send",
    "opa.runtime",
    "net.lookup_ip_addr",
    "rego.parse_module",
    "trace",
    "rand.intn",
    "uuid.rfc4122",
)


@pytest.fixture(scope="module")
def opa() -> Path:
    """The OPA that the product itself would run."""
    return find().path


def put(folder: Path, **files: str) -> Path:
    """Write files; a double underscore in a name is a slash, a single one at the end begins the suffix."""
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        path = folder / f"{stem.replace('__', '/')}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def mistakes(folder: Path, opa: Path) -> list[str]:
    """Return the mistakes of a folder, with paths from there."""
    with pytest.raises(ConfigError) as raised:
        read_custom(folder, opa)
    return [str(mistake).replace(f"{folder}/", "") for mistake in raised.value.mistakes]


def test_no_folder_means_no_policy(opa: Path):
    assert read_custom(None, opa) == CustomPolicy({}, {})


def test_a_folder_that_is_not_there_is_a_mistake(tmp_path: Path, opa: Path):
    assert mistakes(tmp_path / "absent", opa) == [f"{tmp_path}/absent: is not a folder of policies"]


def test_a_package_is_published_without_its_tests_and_with_its_data(opa: Path):
    policy = read_custom(EXAMPLE, opa)

    assert policy.packages == {"spend_limit": ("deny",)}
    assert sorted(policy.files) == ["custom/spend_limit/data.json", "custom/spend_limit/spend_limit.rego"]
    assert json.loads(policy.files["custom/spend_limit/data.json"])["limits"] == {"tenant:a": 500, "tenant:b": 1000}


def test_several_files_make_one_package(tmp_path: Path, opa: Path):
    helper = 'package custom.freeze\n\nimport future.keywords.not\n\n_frozen contains "payments/charge"\n'
    main = HEAD + 'deny contains "frozen" if ctx.id in _frozen\n\nhide contains id if some id in _frozen\n'
    policy = read_custom(put(tmp_path, freeze__main_rego=main, freeze__helper_rego=helper, README_md="x"), opa)

    assert policy.packages == {"freeze": ("deny", "hide")}
    assert sorted(policy.files) == ["custom/freeze/helper.rego", "custom/freeze/main.rego"]


@pytest.mark.parametrize(
    ("rule", "line", "said"),
    [
        (
            'denny contains "x" if ctx.id',
            6,
            "`denny` is read by nothing and would change nothing; did you mean `deny`?",
        ),
        (
            'hides contains "x" if ctx.id',
            6,
            "`hides` is read by nothing and would change nothing; did you mean `hide`?",
        ),
        ("allow if ctx.id", 6, "`allow` is read by nothing and would change nothing: let `deny` or `hide` use it"),
        ("deny if ctx.id", 6, "`deny` must be a set"),
        ('deny := {"x"}', 6, "`deny` must be a set"),
        ("default deny := set()", 6, "`deny` must be a set"),
        ("deny[x] := 1 if x := ctx.id", 6, "`deny` must be a set"),
        ("hide(x) if x == ctx.id", 6, "`hide` must be a set"),
        ("deny contains 1 if ctx.tenat", 6, "data.portcullis.ctx has no `tenat`; did you mean `tenant`?"),
        ("deny contains 1 if data.portcullis.role.invokes", 6, "may not read data.portcullis.role.invokes"),
        ("deny contains 1 if data.portcullis_live.revoked[ctx.id]", 6, "may not read data.portcullis_live.revoked"),
        ("deny contains 1 if data.system.bundles[ctx.id]", 6, "may not read data.system.bundles"),
        ("deny contains 1 if data.custom.other.deny[ctx.id]", 6, "may not read data.custom.other.deny"),
        ("deny contains 1 if data.custom[ctx.tenant].deny", 6, "may not read data.custom.[…].deny"),
        ("deny contains 1 if data[ctx.id]", 6, "may not read data.[…]"),
        ("deny contains x if { x := data; ctx.id }", 6, "may not read data;"),
        ("deny contains 1 if ctx.id == 2 with input.v as 2", 6, "`with` is for tests only"),
        ("deny contains 1 if input.principal.tennant == ctx.id", 6, "undefined ref: input.principal.tennant"),
        ("deny contains 1 if input.target.argument.x == ctx.id", 6, "undefined ref: input.target.argument"),
        ('deny contains 1 if http.send({"url": ctx.id, "method": "get"})', 6, "undefined function http.send"),
        ("deny contains opa.runtime() if ctx.id", 6, "undefined function opa.runtime"),
        ("deny contains q if ctx.id", 6, "var q is unsafe"),
        ("deny contains 1 if { x := 1; ctx.id }", 6, "assigned var x unused"),
        ("deny contains 1 if if ctx.id", 6, "unexpected if keyword"),
    ],
)
def test_a_rule_that_may_not_stand_is_refused_at_its_line(tmp_path: Path, opa: Path, rule: str, line: int, said: str):
    found = mistakes(put(tmp_path, freeze__freeze_rego=f"{HEAD}{rule}\n"), opa)

    assert any(each.startswith(f"freeze/freeze.rego:{line}: ") and said in each for each in found), found


@pytest.mark.parametrize(
    ("head", "line", "said"),
    [
        ("package custom.thaw\n" + NOT, 1, "package is custom.thaw; in this folder it must be custom.freeze"),
        ("package custom.freeze.deep\n" + NOT, 1, "must be custom.freeze"),
        ("package portcullis.ctx\n" + NOT, 1, "must be custom.freeze"),
        ("package custom.freeze\n", 1, "add `import future.keywords.not`"),
        (f"package custom.freeze\n{NOT}import data.portcullis.role\n", 3, "may not import data.portcullis.role"),
        (f"package custom.freeze\n{NOT}import data.custom.other\n", 3, "may not import data.custom.other"),
        (f"package custom.freeze\n{NOT}import data\n", 3, "may not import data;"),
    ],
)
def test_a_file_says_its_package_and_imports_what_it_may(tmp_path: Path, opa: Path, head: str, line: int, said: str):
    found = mistakes(put(tmp_path, freeze__freeze_rego=f'{head}deny contains "x" if input.v == 1\n'), opa)

    assert any(each.startswith(f"freeze/freeze.rego:{line}: ") and said in each for each in found), found


def test_a_package_of_helpers_alone_would_do_nothing(tmp_path: Path, opa: Path):
    found = mistakes(put(tmp_path, freeze__freeze_rego=HEAD + "_x if ctx.id\n"), opa)

    assert "freeze: custom.freeze: defines neither `deny` nor `hide`, so it would do nothing" in [
        each.replace(f"{tmp_path}/", "") for each in found
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"loose_rego": GOOD}, "loose.rego: move it into a folder of its own: loose/loose.rego"),
        ({"freeze__deep__x_rego": GOOD}, "freeze/deep/x.rego: move it up into freeze/"),
        ({"Freeze__x_rego": GOOD}, "Freeze: a package's folder is named in lower case"),
        ({"freeze__limits_yaml": "a: 1"}, "freeze/limits.yaml: only data.yaml or data.json is published"),
        ({"freeze__data_yaml": "deny: 1"}, "its data has a key `deny`, which is a rule's name"),
        ({"freeze__data_yaml": "a: 1\na: 2"}, "freeze/data.yaml:2: a: is there twice"),
        ({"freeze__data_yaml": "[1]"}, "freeze/data.yaml: must be a mapping"),
        ({"freeze__data_yaml": "day: 2026-01-01"}, "freeze/data.yaml: holds what JSON cannot say"),
        ({"freeze__data_yaml": "a: 1", "freeze__data_json": "{}"}, "there are both data.json and data.yaml"),
        ({"other__data_yaml": "a: 1"}, "other: custom.other: defines neither `deny` nor `hide`"),
    ],
)
def test_files_lie_where_they_belong(tmp_path: Path, opa: Path, files: dict[str, str], said: str):
    found = mistakes(put(tmp_path, freeze__freeze_rego=GOOD, **files), opa)

    assert any(said in each for each in found), found


def test_every_mistake_of_every_file_is_reported_at_once(tmp_path: Path, opa: Path):
    put(
        tmp_path,
        freeze__freeze_rego=f"{HEAD}deny contains {{\n",
        thaw__thaw_rego=HEAD.replace("freeze", "thaw") + "denny if ctx.id\n",
    )
    put(tmp_path, melt__melt_rego=HEAD.replace("freeze", "melt") + "deny contains 1 if http.send(ctx.id)\n")
    found = "\n".join(mistakes(tmp_path, opa))

    assert "freeze/freeze.rego:" in found
    assert "thaw/thaw.rego:6: custom.thaw: `denny` is read by nothing" in found
    assert "melt/melt.rego:6: undefined function http.send" in found


def test_an_opa_that_cannot_be_run_publishes_nothing(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot check custom policy"):
        read_custom(put(tmp_path, freeze__freeze_rego=GOOD), tmp_path / "no-opa")


def test_the_fence_lets_through_nothing_that_looks_outside():
    allowed = {each["name"] for each in json.loads((ROOT / "capabilities.json").read_text())["builtins"]}

    assert not allowed & set(FORBIDDEN)
    assert not {name for name in allowed if name.startswith(("http.", "io.", "opa.", "providers.", "rand.", "uuid."))}


def test_the_fence_holds_what_this_opa_has_and_declares_it_alike(opa: Path):
    run = subprocess.run([opa, "capabilities", "--current"], capture_output=True, check=True)
    current = {each["name"]: each for each in json.loads(run.stdout)["builtins"]}
    fence = json.loads((ROOT / "capabilities.json").read_text())

    assert fence["allow_net"] == []
    assert fence["future_keywords"] == ["not"]
    for each in fence["builtins"]:
        assert len(each["decl"].get("args", ())) == len(current[each["name"]]["decl"].get("args", ()))
        assert each.get("relation", False) == current[each["name"]].get("relation", False)


@pytest.mark.parametrize(
    ("arguments", "allowed"), [({"amount": 500}, True), ({"amount": 501}, False), ({}, False), ({"amount": "5"}, False)]
)
def test_the_worked_example_holds_its_limit_from_a_signed_bundle(
    opa: Path, arguments: dict[str, object], allowed: bool
):
    case = Case("", "", "front_door", {}, (), question("charge", arguments), {})
    with bundled_judge(snapshot("front_door"), read_custom(EXAMPLE, opa)) as judge:
        decision = judge.ask("call", case.question())

    assert decision["visible"] is True
    assert decision["allow"] is allowed
    over = {"code": "amount_over_limit", "limit": 500, "layer": "custom", "policy": "spend_limit"}
    assert decision["reasons"] == ([] if allowed else [over])


def question(name: str, arguments: dict[str, object]) -> dict[str, object]:
    """Return a call by somebody of tenant:a."""
    return {
        "action": "tools/call",
        "principal": {"tenant": "tenant:a"},
        "target": {"name": name, "arguments": arguments},
    }

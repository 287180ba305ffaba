"""`portcullis explain`: ask OPA the same question as the gateway would, and show layer by layer what it says."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from gateway.cli.common import installation_options, json_option, plain, print_json, print_table, run
from gateway.cli.local import onlooker, opa_url
from gateway.config import load
from gateway.config.values import PRINCIPAL
from gateway.ids import Kind, Ref, flat_name
from gateway.model import ANONYMOUS, CredentialKind, CredentialRef, Principal, Question, RequestInfo, View
from gateway.pdp.client import OpaClient
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Config, Source
    from gateway.ids import Mode

DEADLINE_SECONDS = 5.0
# In the order in which one narrows what the one before it has left.
LAYERS = ("ctx", "frontdoor", "catalog", "scope", "withdrawal", "role", "guard")
ASKED = {
    "tools/list": "a list",
    "tools/call": "a call of {}",
    "prompts/list": "a list of prompts",
    "prompts/get": "a request for {}",
    "resources/list": "a list of resources",
    "resources/read": "the reading of {}",
}
# What each set is, in the order in which one becomes the next.
SETS = {
    "offered": "offered to the tenant after server-level lists",
    "after_scope": "left by the member lists",
    "withdrawn": "of these, withdrawn",
    "hidden": "of these, hidden by custom policy",
    "visible": "visible",
}


def _subject(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not PRINCIPAL.fullmatch(value) or value.startswith("group:")):
        raise click.BadParameter("must be user:<name> or service:<name>, without blanks")
    return value


def _arguments(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, Any]:
    try:
        found: Any = json.loads(value or "{}")
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter('must be a JSON object, such as {"amount": 10}')
    return found


@click.command()
@installation_options
@click.option("--tenant", help="The tenant that asks.")
@click.option(
    "--principal",
    callback=_subject,
    help="Who asks, as user:… or service:…; without it and without --tenant, anonymous.",
)
@click.option("--group", "groups", multiple=True, help="A group of the principal; may be repeated.")
@click.option("--issuer", help="Whose user the principal is, where more than one issuer is trusted.")
@click.option("--role", help="The role of the key that the principal presents.")
@click.option("--server", help="Explain the endpoint of this server alone, where its tools have their own names.")
@click.option("--tool", help="Explain a call of this tool, by the name that agents use, instead of a list.")
@click.option("--prompt", help="Explain a request for this prompt instead.")
@click.option("--resource", help="Explain the reading of the resource of this URI instead.")
@click.option("--template", "templates", multiple=True, help="A template that the URI matches; may be repeated.")
@click.option("--arguments", callback=_arguments, help="The arguments of the call, as a JSON object.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind]),
    default=Kind.TOOL.value,
    help="What is listed; by default tools.",
)
@json_option
def explain(
    config_path: Source,
    state_dir: Path | None,
    tenant: str | None,
    principal: str | None,
    groups: tuple[str, ...],
    issuer: str | None,
    role: str | None,
    server: str | None,
    tool: str | None,
    prompt: str | None,
    resource: str | None,
    templates: tuple[str, ...],
    arguments: dict[str, Any],
    kind: str,
    as_json: bool,
) -> None:
    """Say why a list is what it is, or why a call is refused. Status 1 where nothing would be admitted."""
    action, name = _asked({"tools/call": tool, "prompts/get": prompt, "resources/read": resource}, arguments, kind)
    config = load(config_path).config
    who = _of(config, issuer, _principal(tenant, principal, groups, role))
    question = replace(_at(server, action, who), name=name, templates=templates, arguments=arguments)
    found = run(_ask(config, StateDir.open(state_dir), question))
    admitted = _admitted(found, name)
    if as_json:
        print_json(found)
    else:
        _print(found, question)
        if not admitted:
            click.echo(plain(_verdict(found, question, config.tool_access.mode)))
    if not admitted:
        raise click.exceptions.Exit(1)


def _asked(named: dict[str, str | None], arguments: dict[str, Any], kind: str) -> tuple[str, str | None]:
    """Return the action that is explained, and the name in it: of the one thing that is named, else of a list."""
    asked = [(action, name) for action, name in named.items() if name is not None]
    if len(asked) > 1:
        raise click.UsageError("name one --tool, --prompt or --resource")
    if arguments and not asked:
        raise click.UsageError("--arguments are those of a call: name its --tool, --prompt or --resource")
    return asked[0] if asked else (f"{kind}s/list", None)


def _at(server: str | None, action: str, who: Principal) -> Question:
    request = RequestInfo(id="explain", ip="", time=int(time.time()))
    return Question(action, who, request, view=View.FLAT if server is None else View.SERVER, server=server)


def _of(config: Config, issuer: str | None, who: Principal) -> Principal:
    """Return the principal as this configuration may know it."""
    role = who.credential.role if who.credential else None
    if role is not None and role not in config.auth.every_role:
        raise click.UsageError(f"{role} is not one of the roles: {', '.join(config.auth.every_role)}")
    if who.kind is CredentialKind.JWT:
        return replace(who, issuer=_issuer(config, issuer))
    if issuer is not None:
        raise click.UsageError("--issuer is whose user the principal is: name a --principal user:… and no --role")
    return who


def _issuer(config: Config, named: str | None) -> str | None:
    """Return whose user is meant: the one that is named, or the only one there is."""
    trusted = [one.issuer for one in config.auth.oidc.trusted]
    if named is not None and named not in trusted:
        raise click.UsageError(f"{named} is not one of the issuers: {', '.join(map(str, trusted)) or 'there is none'}")
    if named is None and len(trusted) > 1:
        raise click.UsageError(f"name the principal's --issuer, one of {', '.join(map(str, trusted))}")
    return named or next(iter(trusted), None)


def _principal(tenant: str | None, subject: str | None, groups: tuple[str, ...], role: str | None) -> Principal:
    if tenant is None and subject is None and role is None:
        return ANONYMOUS
    name = subject or "user:explain"
    if role is not None or name.startswith("service:"):
        credential = CredentialRef("explain", role=role)
        return Principal(subject=name, kind=CredentialKind.API_KEY, tenant=tenant, groups=groups, credential=credential)
    credential = CredentialRef("explain")
    return Principal(subject=name, kind=CredentialKind.JWT, tenant=tenant, groups=groups, credential=credential)


async def _ask(config: Config, state: StateDir, question: Question) -> dict[str, Any]:
    async with OpaClient(opa_url(config, state), deadline=DEADLINE_SECONDS) as client:
        return await onlooker(client, config, state).explain(question)


def _admitted(found: dict[str, Any], name: str | None) -> bool:
    if name is None:
        return bool(found["sets"]["visible"])
    return all(layer["ok"] for layer in found["layers"].values())


def _print(found: dict[str, Any], question: Question) -> None:
    asked = ASKED[question.action].format(question.name)
    where = f" at {question.server}" if question.server else ""
    tenant = f" of {question.principal.tenant}" if question.principal.tenant else ", without a tenant"
    click.echo(plain(f"{asked}{where} by {question.principal.subject}{tenant}"))
    rows = [(name, "ok" if layer["ok"] else "NO", _reasons(layer["reasons"])) for name, layer in _in_order(found)]
    print_table(("layer", "says", "because"), rows, empty="no layer answered")
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for name, meaning in SETS.items():
        ids = sorted(found["sets"].get(name, ()))
        console.print(plain(f"{len(ids):4} {meaning}" + (f": {', '.join(ids)}" if ids else "")))


def _in_order(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the layers as they follow on each other; one that is not known here comes last."""
    order = {name: at for at, name in enumerate(LAYERS)}
    return sorted(found["layers"].items(), key=lambda one: order.get(one[0], len(order)))


def _verdict(found: dict[str, Any], question: Question, mode: Mode) -> str:
    """Say what the refusal comes down to: the first layer that gives a reason, else the first that leaves nothing."""
    against = [(name, layer["reasons"]) for name, layer in _in_order(found) if not layer["ok"]]
    name, reasons = next((one for one in against if one[1]), against[0] if against else ("no single layer", []))
    what = "refused" if question.name else "nothing is visible"
    text = f"{what}: {name} says {_reasons(reasons)}" if reasons else f"{what}: {name} leaves nothing"
    if name == "catalog" and (hint := _hint(found, question, mode)):
        return f"{text}; {hint}"
    return f"{text}; docs/reasons.md says what that means" if reasons else text


def _hint(found: dict[str, Any], question: Question, mode: Mode) -> str | None:
    """Say what else was probably meant, where the catalog does not have what was named."""
    if question.server and not found["sets"]["offered"]:
        return f"there is no server {question.server}, or nothing of it is offered here"
    asked = question.name or ""
    if asked not in found["sets"]["offered"]:
        return None
    ref = Ref.parse(asked)
    return f"{asked} is an id, and agents call it {ref.name if question.server else flat_name(ref, mode)}"


def _reasons(reasons: list[dict[str, Any]]) -> str:
    return ", ".join(sorted(str(reason.get("code")) for reason in reasons))

# METADATA
# title: What each layer says to a list or a call, for people who ask why
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.explain

import data.portcullis.catalog
import data.portcullis.ctx
import data.portcullis.frontdoor
import data.portcullis.guard
import data.portcullis.list
import data.portcullis.role
import data.portcullis.scope
import data.portcullis.withdrawal

# METADATA
# title: Layer by layer, whether it admits and why not, and what each leaves of the list
# entrypoint: true
decision := {"layers": layers, "sets": sets}

# METADATA
# title: What each layer says
layers := {
	"ctx": {"ok": ctx.ok, "reasons": ctx.reasons},
	"frontdoor": {"ok": frontdoor.ok, "reasons": frontdoor.reasons},
	"catalog": _about_target(catalog.ok, "offered", catalog.reasons),
	"scope": _about_target(scope.ok, "after_scope", scope.reasons),
	"withdrawal": _about_target(withdrawal.ok, "visible", withdrawal.reasons),
	"role": {"ok": _role_ok, "reasons": role.reasons},
	"guard": _guard,
}

# METADATA
# title: What is left of the list after each step, and what was taken
sets := {
	"offered": _offered,
	"after_scope": _after_scope,
	"withdrawn": _after_scope & _withdrawn,
	"hidden": (_after_scope - _withdrawn) & guard.hidden,
	"visible": _visible,
}

_about_target(ok, _, reasons) := {"ok": ok, "reasons": reasons} if input.action == "tools/call"

_about_target(_, left, _) := {"ok": count(sets[left]) > 0, "reasons": []} if input.action == "tools/list"

_role_ok := role.invokes if input.action == "tools/call"

_role_ok := role.ok if input.action == "tools/list"

_guard := {"ok": guard.ok, "reasons": (guard.reasons | guard.concealments)} if input.action == "tools/call"

_guard := {"ok": guard.whole, "reasons": guard.concealments} if input.action == "tools/list"

default _offered := set()

_offered := catalog.ids

default _after_scope := set()

_after_scope := scope.ids

default _withdrawn := set()

_withdrawn := withdrawal.ids

default _visible := set()

_visible := list.ids if {
	ctx.ok
	frontdoor.ok
	role.ok
	guard.whole
}

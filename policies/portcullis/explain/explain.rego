# METADATA
# title: What each layer says to a question, for people who ask why
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
# title: Layer by layer, whether it admits and why not, and what each leaves of a list
# entrypoint: true
decision := {"layers": layers, "sets": sets}

# METADATA
# title: What each layer says; of an admin action, those that are asked about it
layers := {
	"ctx": {"ok": ctx.ok, "reasons": ctx.reasons},
	"frontdoor": {"ok": frontdoor.ok, "reasons": frontdoor.reasons},
	"catalog": {"ok": count(sets.offered) > 0, "reasons": []},
	"scope": {"ok": count(sets.after_scope) > 0, "reasons": []},
	"withdrawal": {"ok": count(sets.visible) > 0, "reasons": []},
	"role": {"ok": role.ok, "reasons": role.reasons},
	"guard": {"ok": guard.whole, "reasons": guard.concealments},
} if {
	input.action in {"tools/list", "prompts/list", "resources/list", "resources/templates/list"}
} else := {
	"ctx": {"ok": ctx.ok, "reasons": ctx.reasons},
	"frontdoor": {"ok": frontdoor.ok, "reasons": frontdoor.reasons},
	"catalog": {"ok": catalog.ok, "reasons": catalog.reasons},
	"scope": {"ok": scope.ok, "reasons": scope.reasons},
	"withdrawal": {"ok": withdrawal.ok, "reasons": withdrawal.reasons},
	"role": {"ok": role.invokes, "reasons": role.reasons},
	"guard": {"ok": guard.ok, "reasons": (guard.reasons | guard.concealments)},
} if {
	is_string(input.kind)
} else := {
	"ctx": {"ok": ctx.ok, "reasons": ctx.reasons},
	"frontdoor": {"ok": frontdoor.admin, "reasons": frontdoor.reasons},
	"role": {"ok": role.permitted, "reasons": role.reasons},
}

# METADATA
# title: What is left of the list after each step, and what was taken
sets := {
	"offered": _offered,
	"after_scope": _after_scope,
	"withdrawn": _after_scope & withdrawal.taken,
	"hidden": (_after_scope - withdrawal.taken) & guard.hidden,
	"visible": _visible,
} if {
	withdrawal.taken
} else := {"offered": set(), "after_scope": set(), "withdrawn": set(), "hidden": set(), "visible": set()}

default _offered := set()

_offered := catalog.offered - catalog.ambiguous

default _after_scope := set()

_after_scope := (_offered & scope.kept) - scope.denied

default _visible := set()

_visible := list.ids if {
	ctx.ok
	frontdoor.ok
	role.ok
	guard.whole
}

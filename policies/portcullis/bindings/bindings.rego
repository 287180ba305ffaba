# METADATA
# title: Which roles are the caller's at a scope
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.bindings

import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The roles that the caller has at a scope
# description: >-
#   `global` or `tenant:<id>`. What is held globally is held at every tenant, but not by what is bound to a tenant.
#   A tenant token has the role that it was minted with, and nothing besides.
at(scope) := roles if {
	roles := _assigned_at(scope) | _own_at(scope)
	count(roles) > 0
} else := _default_at(scope)

# METADATA
# title: The scope of a tenant, or of all of them where it is null
scope_of(tenant) := concat(":", ["tenant", tenant]) if {
	is_string(tenant)
} else := "global" if {
	tenant == null
}

# All that was ever bound to the caller and to its groups, by scope.
_bound := array.concat(
	[
		object.get(data.portcullis_data.rbac.bindings, input.principal.subject, {}),
		object.get(data.portcullis_live.bindings, input.principal.subject, {}),
	],
	array.concat(
		[object.get(data.portcullis_data.rbac.groups, group, {}) | some group in input.principal.groups],
		[object.get(data.portcullis_live.groups, group, {}) | some group in input.principal.groups],
	),
) if {
	is_object(data.portcullis_data.rbac.groups)
	is_object(data.portcullis_live.groups)
}

_assigned_at(scope) := {role |
	input.principal.kind in {"jwt", "api_key", "tenant_key", "local"}
	counting := _counting(scope)
	some bindings in _bound
	some counted in counting
	some role, issuers in bindings[counted]
	_held(issuers)
}

_held(issuers) if {
	issuers[""] == true
	_nobody_else
}

_held(issuers) if issuers[input.principal.issuer] == true

# Equal names from two issuers are different principals, so that among several a binding without an issuer, which may
# be from before there were several, is no person's.
_nobody_else if input.principal.kind != "jwt"

_nobody_else if data.portcullis_data.settings.several_issuers == false

_own_at(scope) := {input.principal.credential.role |
	_own_role
	_home in _counting(scope)
}

# At the front door the default role counts in the caller's own tenant, in egress wherever the caller may look.
_default_at(scope) := {role |
	input.principal.kind in {"jwt", "api_key", "tenant_key", "local"}
	input.principal.acting_for == null
	not _own_role
	not _ever_assigned(scope)
	_by_default(scope)
	role := data.portcullis_data.settings.default_role
	is_string(role)
}

_by_default(scope) if {
	data.portcullis_data.mode == "front_door"
	scope == scope_of(ctx.tenant)
}

_by_default(scope) if {
	data.portcullis_data.mode == "egress"
	count(_counting(scope)) > 0
}

# Whoever was assigned anything where this caller may look never falls back: a revoked role stays, as not held.
_ever_assigned(_) if not _bound

_ever_assigned(scope) if {
	some bindings in _bound
	some looked in {"global", scope, _home}
	some issuers in bindings[looked]
	some issuer in ["", input.principal.issuer]
	is_boolean(issuers[issuer])
}

# At which scopes a role must be held to count at this one.
_counting(scope) := {scope} if {
	_tied
	scope == scope_of(input.principal.tenant)
} else := set() if {
	_tied
} else := {"global", scope}

# A JWT is a person, who may hold roles elsewhere; whoever else has a tenant is of that tenant alone.
_tied if {
	input.principal.kind != "jwt"
	is_string(input.principal.tenant)
}

_own_role if {
	input.principal.kind in {"api_key", "tenant_token"}
	is_string(input.principal.credential.role)
}

_home := scope_of(input.principal.tenant)

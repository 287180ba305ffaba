# METADATA
# title: What the caller's roles permit; roles and bindings are data
# description: >-
#   A binding is `{principal: {scope: {role: {issuer: held}}}}`: the issuer is "" where it is any, and `held` is false
#   where the role was revoked. What is the caller's at a scope, the package bindings says.
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.role

import data.portcullis.bindings
import data.portcullis.ctx
import future.keywords.not

# METADATA
# title: The caller may see what servers offer
default ok := false

ok if invokes

ok if {
	_about_servers
	_may_select
	some role in roles
	permits(role, "tool:list")
}

# METADATA
# title: The caller may use what servers offer
default invokes := false

# The two commonest callers first, because working out all roles takes as long as the rest of a decision: whoever has
# the default role and nothing else, and whoever has a role of its own, both in a tenant that is known. Neither has a
# role here that `roles` has not.
invokes if {
	input.principal.kind in {"jwt", "tenant_key", "local"}
	input.principal.acting_for == null
	data.portcullis_data.tenants[input.principal.tenant].active == true
	data.portcullis_data.rbac.roles[data.portcullis_data.settings.default_role]["tool:invoke"] == true
	object.get(data.portcullis_data.rbac.bindings, input.principal.subject, null) == null
	object.get(data.portcullis_live.bindings, input.principal.subject, null) == null
	[group |
		some group in input.principal.groups
		object.get(data.portcullis_data.rbac.groups, group, null) == null
		object.get(data.portcullis_live.groups, group, null) == null
	] == input.principal.groups
}

invokes if {
	input.principal.kind in {"api_key", "tenant_token"}
	input.principal.acting_for == null
	data.portcullis_data.tenants[input.principal.tenant].active == true
	data.portcullis_data.rbac.roles[input.principal.credential.role]["tool:invoke"] == true
}

invokes if {
	_about_servers
	_may_select
	some role in roles
	permits(role, "tool:invoke")
}

# Callers without a credential may use what is offered in egress, and nothing else.
invokes if {
	input.principal.kind == "anonymous"
	data.portcullis_data.mode == "egress"
	data.portcullis_data.settings.anonymous == true
	_about_servers
}

# METADATA
# title: The caller may take the admin action, and hand out what it wants to hand out
default permitted := false

permitted if {
	_allowed
	_may_select
	_within
	_grants
}

# METADATA
# title: The roles of the caller that permit the admin action, at its scope
granting contains role if {
	not _about_servers
	some role in roles
	permits(role, input.action)
}

# METADATA
# title: The role permits it
# description: A wildcard stands in the data beside all known permissions that it covers; everything is more than those.
permits(role, permission) if data.portcullis_data.rbac.roles[role][permission] == true

permits(role, _) if data.portcullis_data.rbac.roles[role]["*"] == true

# The scope of the question, and the roles that count there.
_scope := concat(":", ["tenant", ctx.tenant]) if {
	_about_servers
} else := "global" if {
	_about_servers
} else := bindings.scope_of(input.target.tenant)

# METADATA
# title: The roles that the caller has at the scope of the question
roles := bindings.at(_scope)

_allowed if count(granting) > 0

# A person has its own tokens in its tenant, and a key may read the metrics of its tenant, whatever their roles are.
_allowed if {
	input.action == "tokens:own"
	input.principal.kind == "jwt"
	_at_home
}

_allowed if {
	input.action == "metrics:read"
	input.principal.kind in {"api_key", "tenant_key"}
	_at_home
}

_at_home if {
	is_string(input.principal.tenant)
	input.target.tenant == input.principal.tenant
	ctx.entry.active == true
}

# To act for a tenant needs a permission of its own, held everywhere.
_may_select if input.principal.acting_for == null

_may_select if {
	is_string(input.principal.acting_for)
	some role in bindings.at("global")
	permits(role, "tenant:act_as")
}

# Who acts for a tenant has no business outside of it: its trail is where the deed is told.
_within if input.principal.acting_for == null

_within if input.target.tenant == input.principal.acting_for

# Nobody hands out more than is held where it is handed out.
_grants if is_null(input.target.grants)

_grants if {
	granted := object.keys(data.portcullis_data.rbac.roles[input.target.grants.role])
	input.target.grants.scope == _scope
	count(granted - union({object.keys(data.portcullis_data.rbac.roles[role]) | some role in roles})) == 0
}

# What servers offer has a kind; an admin action has none.
_about_servers if is_string(input.kind)

# METADATA
# title: Why this layer refuses
reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:list"} if {
	_about_servers
	_may_select
	not ok
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:invoke"} if {
	_about_servers
	ok
	not invokes
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": "tenant:act_as"} if not _may_select

reasons contains {"code": "missing_permission", "layer": "role", "permission": input.action} if {
	not _about_servers
	not _allowed
}

reasons contains {"code": "outside_selected_tenant", "layer": "role"} if {
	not _about_servers
	not _within
}

reasons contains {"code": "exceeds_own_rights", "layer": "role"} if {
	not _about_servers
	not _grants
}

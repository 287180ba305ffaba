# METADATA
# title: What the caller's roles permit; roles and bindings are data
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.role

import data.portcullis.ctx

# METADATA
# title: The caller may see tools
default ok := false

ok if invokes

ok if _holds("tool:list")

ok if _anonymous

# METADATA
# title: The caller may call tools
default invokes := false

invokes if _holds("tool:invoke")

invokes if _anonymous

# METADATA
# title: The roles of the caller that permit the admin action, at its scope
granting contains role if {
	_authenticated
	not _about_tools
	some role in roles
	_permits(role, input.action)
}

# METADATA
# title: The roles that the caller has at the scopes of this question
roles contains role if {
	some who in _identities
	some scope in _scopes
	some role, binding in data.portcullis_data.rbac.bindings[who][scope]
	_applies(binding)
}

roles contains role if {
	some who in _identities
	some scope in _scopes
	some role, binding in data.portcullis_live.bindings[who][scope]
	_applies(binding)
}

roles contains input.principal.credential.role if {
	_own_role
	_own_scope in _scopes
}

roles contains data.portcullis_data.settings.default_role if {
	is_string(data.portcullis_data.settings.default_role)
	_authenticated
	_default_applies
	not _own_role
	not _assigned
}

_holds(permission) if {
	_authenticated
	some role in roles
	_permits(role, permission)
}

_permits(role, permission) if data.portcullis_data.rbac.roles[role][permission]

_permits(role, permission) if data.portcullis_data.rbac.roles[role][concat("", [split(permission, ":")[0], ":*"])]

_permits(role, _) if data.portcullis_data.rbac.roles[role]["*"]

# Callers without a credential may use what is offered in egress, and nothing else.
_anonymous if {
	ctx.mode == "egress"
	data.portcullis_data.settings.anonymous == true
	input.principal.kind == "anonymous"
	_about_tools
}

_authenticated if input.principal.kind in {"api_key", "jwt"}

_about_tools if input.action in {"tools/call", "tools/list"}

# A binding that names an issuer is for that issuer's subjects and groups only.
_applies(binding) if {
	is_object(binding)
	not binding.issuer
}

_applies(binding) if binding.issuer == input.principal.issuer

_identities contains input.principal.subject

_identities contains concat(":", ["group", group]) if some group in input.principal.groups

# A key that is bound to a tenant counts at that tenant only.
_bound if {
	input.principal.kind == "api_key"
	is_string(input.principal.tenant)
}

_own := concat(":", ["tenant", input.principal.tenant]) if is_string(input.principal.tenant)

_asked := _own if _about_tools

_asked := concat(":", ["tenant", input.target.tenant]) if {
	not _about_tools
	is_string(input.target.tenant)
}

_scopes contains "global" if {
	_authenticated
	not _bound
}

_scopes contains _asked if {
	_authenticated
	not _bound
}

_scopes contains _asked if {
	_bound
	_asked == _own
}

_own_role if {
	input.principal.kind == "api_key"
	is_string(input.principal.credential.role)
}

_own_scope := _own if _bound

_own_scope := "global" if {
	input.principal.kind == "api_key"
	not _bound
}

# In egress the default role counts anywhere, at the front door in the caller's own tenant.
_default_applies if {
	ctx.mode == "egress"
	not _bound
}

_default_applies if {
	is_object(ctx.entry)
	_asked == _own
}

_default_applies if {
	ctx.mode == "egress"
	_bound
	_asked == _own
}

# Whoever was assigned anything where this caller may look never falls back, a role revoked since included.
_assigned if {
	some who in _identities
	some scope in _lookout
	_assignment(data.portcullis_data.rbac.bindings[who][scope])
}

_assigned if {
	some who in _identities
	some scope in _lookout
	_assignment(data.portcullis_live.bindings[who][scope])
}

_assignment(bindings) if count(bindings) == 0

_assignment(bindings) if {
	some binding in bindings
	_applies(binding)
}

_lookout contains "global"

_lookout contains _own

_lookout contains _asked

# METADATA
# title: Why this layer refuses
reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:list"} if {
	_about_tools
	not ok
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": "tool:invoke"} if {
	input.action == "tools/call"
	ok
	not invokes
}

reasons contains {"code": "missing_permission", "layer": "role", "permission": input.action} if {
	not _about_tools
	count(granting) == 0
}

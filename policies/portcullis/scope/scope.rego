# METADATA
# title: What the member lists and the credential's own scope leave of the offer
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.scope

import data.portcullis.catalog
import data.portcullis.ctx
import data.portcullis.target
import future.keywords.not

# METADATA
# title: The target is within the member lists and the credential's scope
default ok := false

# The usual: a tool of a server that is offered whole, to a credential that is not narrowed.
ok if {
	input.kind == "tool"
	input.principal.credential.scope == null
	catalog.how == "all"
	object.get(data.portcullis_data.sets[ctx.entry.tool.deny], target.found.id, false) == false
}

ok if {
	input.kind == "tool"
	input.principal.credential.scope == null
	catalog.how == "listed"
	data.portcullis_data.sets[ctx.entry.tool.allow][target.found.id] == true
	object.get(data.portcullis_data.sets[ctx.entry.tool.deny], target.found.id, false) == false
}

ok if {
	count(_registered) > 0
	every id in _registered {
		_member(id)
		_token(id)
	}
	_readable
}

# METADATA
# title: What is listed of the offer, and within the credential's scope
kept := _listed if {
	_unscoped
} else := _listed & object.keys(data.portcullis_live.scopes[input.principal.credential.scope])

# METADATA
# title: Ids that the member lists deny
denied := object.keys(data.portcullis_data.sets[ctx.entry[input.kind].deny])

_member(id) if {
	data.portcullis_data.offers[ctx.entry[input.kind].offer][target.found.server] == "all"
	object.get(data.portcullis_data.sets[ctx.entry[input.kind].deny], id, false) == false
}

_member(id) if {
	data.portcullis_data.sets[ctx.entry[input.kind].allow][id] == true
	object.get(data.portcullis_data.sets[ctx.entry[input.kind].deny], id, false) == false
}

_token(_) if _unscoped

_token(id) if data.portcullis_live.scopes[input.principal.credential.scope][id]

_unscoped if input.principal.credential.scope == null

# Nobody's credential narrows nothing.
_unscoped if is_null(input.principal.credential)

_readable if target.direct

_readable if {
	_clear
	_undenied
}

_undenied if {
	is_string(ctx.entry[input.kind].deny)
	not ctx.entry[input.kind].deny_patterns
}

# What a list denies is denied through a template, too.
_undenied if {
	denied := data.portcullis_data.patterns[ctx.entry[input.kind].deny_patterns]
	not regex.match(denied, target.concrete)
}

# A URI that its server may read as another one could be any that is denied or withdrawn: only the normal form of
# RFC 3986, section 6.2.2, is read through a template.
_clear if {
	is_string(input.target.name)
	regex.match(
		`^[a-z][a-z0-9+.-]*:([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%([0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF]))*$`,
		input.target.name,
	)
	not regex.match(`/\.{1,2}([/?#]|$)|[^:/]//|////`, input.target.name)
}

_listed := catalog.offered if {
	not "listed" in data.portcullis_data.offers[ctx.entry[input.kind].offer]
} else := catalog.offered & (_whole | object.keys(data.portcullis_data.sets[ctx.entry[input.kind].allow]))

# A server without an allow list is offered whole.
_whole := union({object.keys(data.portcullis_data.server_ids[server][catalog.section]) |
	some server, "all" in data.portcullis_data.offers[ctx.entry[input.kind].offer]
})

# METADATA
# title: Why this layer refuses
reasons contains {"code": "not_in_member_scope", "layer": "scope"} if {
	some id in _registered
	not _member(id)
}

reasons contains {"code": "not_in_member_scope", "layer": "scope"} if {
	not target.direct
	not _undenied
}

reasons contains {"code": "not_in_token_scope", "layer": "scope"} if {
	some id in _registered
	not _token(id)
}

reasons contains {"code": "unclear_uri", "layer": "scope"} if {
	not target.direct
	not _clear
}

_registered := target.registered if {
	input.kind == "resource"
} else := {target.found.id}

# METADATA
# title: What is offered to the caller, before anything is taken away
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.catalog

import data.portcullis.ctx

# METADATA
# title: The target is one tool, and it is offered
default ok := false

ok if data.portcullis_data.offers[ctx.offer][ctx.id]

# METADATA
# title: Every offered id, by the names of the view
ids := _offered - ambiguous if input.view == "flat"

ids := _offered & of_server if {
	input.view == "server"
	of_server := object.keys(data.portcullis_data.server_ids[input.target.server])
}

_offered := object.keys(data.portcullis_data.offers[ctx.offer])

# METADATA
# title: Offered ids whose flat name another offered id has too
ambiguous contains id if {
	some id in (object.keys(_contested) & _offered)
	rivals := data.portcullis_data.flat[_contested[id]]
	count(object.keys(rivals) & _offered) > 1
}

# Ids whose flat name another server has too, each with that name. The sync service says them, because
# looking for them in each list would cost more than the rest of the list.
_contested := data.portcullis_data.contested if {
	is_object(data.portcullis_data.contested)
} else := {id: name |
	some name, rivals in data.portcullis_data.flat
	count(rivals) > 1
	some id, _ in rivals
}

# METADATA
# title: Why this layer refuses
reasons contains {"code": "unknown_target", "layer": "catalog"} if count(ctx.candidates) == 0

reasons contains {"code": "ambiguous_name", "layer": "catalog"} if count(ctx.candidates) > 1

# METADATA
# title: What is asked, by whom, and whether the data may be judged by
# description: >-
#   The only package that custom policy may import. Everything here is undefined or false where the data
#   does not say it; a rule that reads an undefined value does not fire.
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.ctx

# METADATA
# title: The data is whole, meant for this mode, and young enough
default ok := false

ok if {
	whole
	same_mode
	timely
}

# METADATA
# title: The mode of the signed data
mode := data.portcullis_data.mode

# METADATA
# title: The caller's tenant, where it is a known one
tenant := input.principal.tenant if entry

# METADATA
# title: What the data says about the caller's tenant
entry := data.portcullis_data.tenants[input.principal.tenant]

# METADATA
# title: The handle of the set of ids that are offered to the caller
offer := entry.offer if mode == "front_door"

offer := data.portcullis_data.everyone.offer if mode == "egress"

# METADATA
# title: The canonical ids that the target's name may mean for the caller
candidates contains id if {
	input.view == "flat"
	some id, _ in data.portcullis_data.flat[input.target.name]
	data.portcullis_data.offers[offer][id]
}

candidates contains id if {
	input.view == "server"
	is_string(input.target.server)
	is_string(input.target.name)
	id := concat("/", [input.target.server, input.target.name])
	data.portcullis_data.server_ids[input.target.server][id]
	data.portcullis_data.offers[offer][id]
}

# METADATA
# title: The canonical id of the target, `server/tool`
# description: Undefined in lists, and where the name means nothing or more than one thing to the caller.
id := only if {
	count(candidates) == 1
	some only in candidates
}

# METADATA
# title: The arguments of the call
arguments := input.target.arguments

# METADATA
# title: Which state of the ledger the live data is of
default epoch := ""

epoch := data.portcullis_live.epoch

# METADATA
# title: The revision of the live data
default revision := 0

revision := data.portcullis_live.revision

# METADATA
# title: All four bundles are active and no part of their data is missing
# description: >-
#   Looks at keys and at single values: comparing a whole document, or handing it to a function, would read every
#   tenant in it.
default whole := false

whole if {
	data.system.bundles.policy.manifest.revision != ""
	data.system.bundles.custom.manifest.revision != ""
	data.system.bundles.tenants.manifest.revision != ""
	data.system.bundles.live.manifest.revision != ""
	object.subset(object.keys(data.portcullis_data), {
		"config",
		"everyone",
		"flat",
		"mode",
		"offers",
		"rbac",
		"server_ids",
		"servers",
		"sets",
		"settings",
		"tenants",
		"withdrawn",
	})
	configured := data.portcullis_data
	object.subset(object.keys(configured.settings), {"anonymous", "default_role", "on_stale"})
	is_number(configured.settings.max_staleness_seconds)
	is_object(configured.withdrawn.global)
	is_object(configured.withdrawn.tenant)
	is_object(configured.rbac.roles)
	is_object(configured.rbac.bindings)
	live := data.portcullis_live
	live.epoch != ""
	is_number(live.revision)
	is_number(live.generated_at)
	is_object(live.withdrawn.global)
	is_object(live.withdrawn.tenant)
	is_object(live.revoked)
	is_object(live.bindings)
	is_object(live.scopes)
}

# METADATA
# title: The gateway runs in the mode that the signed data is for
default same_mode := false

same_mode if {
	input.v == 1
	input.mode == data.portcullis_data.mode
}

# METADATA
# title: The live data is young enough, or the operator prefers old data to none
default timely := false

timely if stale == false

timely if {
	data.portcullis_data.settings.on_stale == "serve"
	is_number(data.portcullis_live.generated_at)
}

# METADATA
# title: The live data is older than the operator wants it to be
default stale := true

# In nanoseconds, because a division would cost more than the rest of this layer.
stale := false if {
	age := time.now_ns() - (data.portcullis_live.generated_at * 1000000000)
	age <= data.portcullis_data.settings.max_staleness_seconds * 1000000000

	# A clock that runs backwards hides how old the data is.
	age >= -5000000000
}

# METADATA
# title: Why this layer refuses
reasons contains {"code": "policy_data_missing", "layer": "ctx"} if not whole

reasons contains {"code": "mode_mismatch", "layer": "ctx"} if {
	whole
	not same_mode
}

reasons contains {"code": "data_stale", "layer": "ctx"} if {
	whole
	not timely
}

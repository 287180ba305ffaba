# METADATA
# title: What the users' own policies take away
# description: >-
#   Reads only `deny` and `hide` of the packages under `data.custom`, so that they can narrow and never widen.
# scope: package
# schemas:
#   - input: schema.input
#   - data.portcullis_data: schema.portcullis_data
#   - data.portcullis_live: schema.portcullis_live
package portcullis.guard

import data.portcullis.target
import future.keywords.not

# METADATA
# title: No custom policy denies the call, and all of them could be asked
default ok := false

# Most installations have none, and everything below costs a decision a fifth of its time.
ok if {
	data.system.bundles.custom.manifest.metadata.packages == {}
	not data.custom
}

ok if {
	shown
	_arguments_known
	_one_id
	count(denials) == 0
}

# METADATA
# title: No custom policy hides the target
default shown := false

shown if {
	_packages == {}
	not data.custom
}

shown if {
	whole
	count(_ids) > 0
	count(_ids & hidden) == 0
}

# METADATA
# title: Every package that the custom bundle promises is there and says what it promises
default whole := false

whole if _packages == {}

whole if {
	is_object(_packages)

	# What only custom policy reads is sent where the gateway knows that there is any.
	is_object(input.untrusted)
	every name, rules in _packages {
		count(rules) > 0
		every rule in rules {
			rule in {"deny", "hide"}
			is_set(data.custom[name][rule])
		}
	}
}

# METADATA
# title: Every id that custom policy hides
hidden contains id if some id in data.custom[_].hide

# METADATA
# title: Every reason that custom policy gives against the call
denials contains _denial(name, reason) if {
	some name
	some reason in data.custom[name].deny
}

_packages := data.system.bundles.custom.manifest.metadata.packages

# Under which ids the target may be hidden: a resource also by its own URI where it is read through a template.
_ids contains target.found.id

_ids contains target.concrete

_ids contains id if {
	input.kind == "resource"
	some id in target.registered
}

# `deny` sees one id. Where several templates match, it could be asked about the wrong one.
_one_id if input.kind in {"tool", "prompt"}

_one_id if count(target.registered) == 1

_one_id if _packages == {}

_arguments_known if _packages == {}

_arguments_known if {
	_arguments_given
	not input.target.arguments_omitted
}

# A rule of its own, because `not is_object(…)` of what is missing is undefined instead of true.
_arguments_given if is_object(input.target.arguments)

_denial(name, reason) := object.union(reason, {"layer": "custom", "policy": name}) if {
	is_object(reason)
	is_string(reason.code)
} else := {"code": reason, "layer": "custom", "policy": name} if {
	is_string(reason)
} else := {"code": "policy_error", "layer": "custom", "policy": name}

# METADATA
# title: Why the target is not to be seen
concealments contains {"code": "policy_data_missing", "layer": "guard"} if not whole

concealments contains {"code": "hidden", "layer": "custom", "policy": name} if {
	some name
	count(data.custom[name].hide & _ids) > 0
}

# METADATA
# title: Why the call is refused although its target may be seen
reasons contains denial if some denial in denials

reasons contains {"code": "arguments_omitted", "layer": "guard"} if {
	count(_packages) > 0
	input.target.arguments_omitted == true
}

reasons contains {"code": "policy_data_missing", "layer": "guard"} if {
	count(_packages) > 0
	not input.target.arguments_omitted
	not _arguments_given
}

reasons contains {"code": "ambiguous_name", "layer": "guard"} if {
	count(_packages) > 0
	not _one_id
}

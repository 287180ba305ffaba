# METADATA
# title: Only the group finance knows of reports
package custom.discretion

import future.keywords.not

hide contains "payments/report" if not _finance

_finance if "finance" in input.principal.groups

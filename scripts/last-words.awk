# SPDX-License-Identifier: MIT
# Of files with what the host command said: the report of a hypervisor that died, and the errors before it, as lines "# FILE: ...".
FNR == 1 { n = 0; report = 0 }
/trapeze: panic:/ { for (i = 1; i <= n; i++) show(line[i]); report = 1 }
report { show($0); if (/report ends/) { report = 0; nextfile } next }
/error:/ { line[++n] = $0 }

function show(text) {
	sub(/\r$/, "", text)
	print "# " FILENAME ": " text
}

# SPDX-License-Identifier: MIT
# Makes the benchmark's results of what was measured. Reads lines, in any order after bench/rows:
#   row NAME GROUP LIMIT        limit NAME MIB        (bench/rows)
#   time SIDE ROW NS            one run's figure; the median over runs counts; of a ratio, the median over pairs, which are the runs of
#                               the two sides that have the same number in the order in which they come, if there are as many of both
#   count SIDE ROW N            instructions per operation, likewise
#   memory NAME BYTES           the hypervisor's own memory; the largest counts
# SIDE is bare, trapeze, pv or xen. A row that was not measured on a side has - there (null in JSON); one that bench/rows does not
# know comes last, without group and limit.
# Writes, into the folder `out`: bench.json, table (fields by blanks), table.md, memory.md, plot. Variables besides: pairs, kernel,
# qemu, xen (versions).
BEGIN { split("bare trapeze pv xen", side); sides = 4 }
/^#/ || NF == 0 { next }
$1 == "row" { add($2, $3, $4); next }
$1 == "limit" { memory_limit[$2] = $3; memory_order[++memories] = $2; next }
($1 == "time" || $1 == "count") && NF == 4 && $4 ~ /^[0-9.]+$/ {
	add($3, "other", "-")
	value[$1, $2, $3, ++n[$1, $2, $3]] = $4
	met[$3] = 1
	next
}
$1 == "memory" && NF == 3 && $3 ~ /^[0-9]+$/ { if ($3 > memory[$2] + 0) memory[$2] = $3; next }
{ print "summarise: not understood: " $0 > "/dev/stderr"; bad = 1 }

function add(row, g, l) {
	if (row in group) return
	group[row] = g; limit[row] = l; order[++rows] = row
}

function middle(v, count,   i, j, t) {
	for (i = 2; i <= count; i++)
		for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	return count % 2 ? v[(count + 1) / 2] : (v[count / 2] + v[count / 2 + 1]) / 2
}
# Median of all figures of KIND for SIDE and ROW; "-" when there is none.
function median(kind, s, row,   i, v, count) {
	count = n[kind, s, row]
	for (i = 1; i <= count; i++) v[i] = value[kind, s, row, i] + 0
	return count ? middle(v, count) : "-"
}
# How many times SIDE's figures OTHER's are; "-" when one has none.
function ratio(kind, s, other, row,   i, v, count) {
	count = n[kind, s, row]
	if (!count || !n[kind, other, row]) return "-"
	for (i = 1; i <= count && count == n[kind, other, row]; i++) {
		if (!value[kind, other, row, i]) return "-"
		v[i] = value[kind, s, row, i] / value[kind, other, row, i]
	}
	return sprintf("%.2f", i > count ? middle(v, count) : median(kind, s, row) / median(kind, other, row))
}
function whole(x) { return x == "-" ? x : sprintf("%.0f", x) }
function json(x) { return x == "-" ? "null" : x }
function plotted(x) { return x == "-" ? "NaN" : x }

END {
	printf "{\"version\":1,\"pairs\":%d,\"kernel\":\"%s\",\"qemu\":\"%s\",\"xen\":\"%s\",\"unit\":\"ns\",\"rows\":{", pairs, kernel, qemu, xen > (out "/bench.json")
	print "| row | bare, ns | Trapeze, ns | Trapeze PV, ns | Xen PV, ns | Trapeze / bare | required | Trapeze PV / bare | Xen / bare | Trapeze PV / Xen | instructions, bare | Trapeze / bare | Trapeze PV / bare | Xen / bare |" > (out "/table.md")
	print "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|" > (out "/table.md")
	printf "" > (out "/table")
	printf "" > (out "/plot")
	for (i = 1; i <= rows; i++)
		if (order[i] in met) put(order[i])
	printf "},\"memory\":{" > (out "/bench.json")
	print "| hypervisor\x27s own memory | MiB | required |\n|---|---:|---:|" > (out "/memory.md")
	for (i = 1; i <= memories; i++)
		if (memory_order[i] in memory) put_memory(memory_order[i])
	print "}}" > (out "/bench.json")
	exit bad
}

function put(row,   s, k, t, c, r, p, px, x, ic, ip, ix, over, first) {
	for (s = 1; s <= sides; s++) { t[side[s]] = median("time", side[s], row); c[side[s]] = median("count", side[s], row) }
	r = ratio("time", "trapeze", "bare", row); p = ratio("time", "pv", "bare", row); px = ratio("time", "pv", "xen", row); x = ratio("time", "xen", "bare", row)
	ic = ratio("count", "trapeze", "bare", row); ip = ratio("count", "pv", "bare", row); ix = ratio("count", "xen", "bare", row)
	over = r != "-" && limit[row] != "-" && r + 0 > limit[row] + 0
	overs += over
	printf "%s\n\"%s\":{\"group\":\"%s\",\"bare\":%s,\"trapeze\":%s,\"pv\":%s,\"xen\":%s,\"ratio\":%s,\"pv_ratio\":%s,\"xen_ratio\":%s,\"limit\":%s,\"over\":%s,", put_before++ ? "," : "", row, group[row],
		json(whole(t["bare"])), json(whole(t["trapeze"])), json(whole(t["pv"])), json(whole(t["xen"])), json(r), json(p), json(x), json(limit[row]), over ? "true" : "false" > (out "/bench.json")
	printf "\"instructions\":{\"bare\":%s,\"trapeze\":%s,\"pv\":%s,\"xen\":%s,\"ratio\":%s,\"pv_ratio\":%s,\"xen_ratio\":%s}}",
		json(whole(c["bare"])), json(whole(c["trapeze"])), json(whole(c["pv"])), json(whole(c["xen"])), json(ic), json(ip), json(ix) > (out "/bench.json")
	printf "| %s | %s | %s | %s | %s | %s | %s%s | %s | %s | %s | %s | %s | %s | %s |\n", row, whole(t["bare"]), whole(t["trapeze"]), whole(t["pv"]), whole(t["xen"]),
		over ? "**" r "**" : r, limit[row], over ? " (over)" : "", p, x, px, whole(c["bare"]), ic, ip, ix > (out "/table.md")
	print row, whole(t["bare"]), whole(t["trapeze"]), whole(t["pv"]), whole(t["xen"]), r, limit[row], over ? "over" : "-", p, x, px, whole(c["bare"]), ic, ip, ix > (out "/table")
	first = group[row] != last_group ? group[row] : "-"
	last_group = group[row]
	if (first != "-" && at) at++ # a gap between groups
	print at++, row, first, plotted(r), plotted(x), plotted(limit[row]), plotted(ic), plotted(ix), plotted(p), plotted(ip) > (out "/plot")
}

function put_memory(name,   mib, over) {
	mib = sprintf("%.1f", memory[name] / 1048576)
	over = memory_limit[name] != "-" && memory[name] > memory_limit[name] * 1048576
	printf "%s\n\"%s\":{\"bytes\":%d,\"limit_mib\":%s,\"over\":%s}", memory_before++ ? "," : "", name, memory[name], json(memory_limit[name]), over ? "true" : "false" > (out "/bench.json")
	printf "| %s | %s | %s%s |\n", name, over ? "**" mib "**" : mib, memory_limit[name], over ? " (over)" : "" > (out "/memory.md")
}

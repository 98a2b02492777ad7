# SPDX-License-Identifier: MIT
# The benchmark's plot: time on Trapeze (an unmodified guest and a paravirtual one) and Xen PV in times of the bare machine's, by group, with what is required and with
# instructions as marks. Variables: data (written by bench/summarise.awk), output_file, format (svg or png).
# Columns of data: 1 place, 2 row, 3 group at its first row, then ratios: 4 time on Trapeze, 5 on Xen, 6 limit, 7 instructions on Trapeze, 8 on Xen,
# 9 time and 10 instructions on Trapeze PV.
stats data using 1 nooutput
if (format eq "svg") set terminal svg size 1400,720 font "sans,13" background "white"
if (format eq "png") set terminal pngcairo size 1400,720 font "sans,11" background "white"
set output output_file
set title "Time and instructions per operation, in times of the bare machine's (QEMU TCG; 1 = equal)"
set ylabel "times the bare machine (logarithmic)"
set datafile missing "NaN"
set style fill solid 0.85 noborder
set logscale y
set yrange [0.7:*]
set ytics (0.7, 1, 1.5, 2, 3, 4, 6, 10, 20, 40, 100, 200)
set grid ytics lc "#cccccc"
set y2range [0:1]
set xtics rotate by -40 nomirror
set xrange [-1:STATS_max + 1]
set rmargin 8
set key outside top center horizontal
wide = 0.26
plot data using ($1 - wide):4:(wide) with boxes lc "#1f6fb4" title "Trapeze, time", \
	data using 1:9:(wide) with boxes lc "#4fa36c" title "Trapeze PV, time", \
	data using ($1 + wide):5:(wide) with boxes lc "#e08a1e" title "Xen PV, time", \
	data using ($1 - wide):7 with points pt 4 ps 0.8 lw 1.5 lc "black" title "Trapeze, instructions", \
	data using 1:10 with points pt 8 ps 0.8 lw 1.5 lc "black" title "Trapeze PV, instructions", \
	data using ($1 + wide):8 with points pt 6 ps 0.8 lw 1.5 lc "black" title "Xen PV, instructions", \
	data using ($1 - 0.45):6:(0.9):(0) with vectors nohead lw 2.5 lc "#c0202a" title "required of Trapeze", \
	data using 1:(0.7):xtic(2) with points pt -1 notitle, \
	data using (strcol(3) eq "-" ? NaN : $1 - 0.5):(0.97):3 axes x1y2 with labels left font ",14" notitle, \
	1 with lines lc "black" notitle

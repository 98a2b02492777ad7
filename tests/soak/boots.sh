# SPDX-License-Identifier: MIT
# SOAK_BOOTS boots of the stock kernel through its script of programs, in a row; the first failure ends it and keeps its log.
# SOAK_LEFT seconds bound it; fewer boots than asked for are a failure.
. "$(dirname "$0")/../system/lib.sh"
end=$((SECONDS + ${SOAK_LEFT:-100000}))
wanted=${SOAK_BOOTS:-50}
vm=$(vm_file boots script)
boots=0
while [ $boots -lt "$wanted" ] && [ $SECONDS -lt $end ]; do
	trapeze_boot "$WORK/boot.log" 900 "$vm" --stats "$WORK/boot.json"
	status=$?
	if [ $status -ne 0 ] || ! tr -d '\r' <"$WORK/boot.log" | grep -aqE '^TZ-DONE [0-9]+ 0$'; then
		cp "$WORK/boot.log" "$WORK/failed-$boots.log"
		not_ok "boots: number $((boots + 1))" "status $status, see $WORK/failed-$boots.log"
		finish
	fi
	boots=$((boots + 1))
	echo "# boots: $boots good after $SECONDS s"
done
equal "boots in a row" $boots "$wanted"
finish

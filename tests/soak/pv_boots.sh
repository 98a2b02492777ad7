# SPDX-License-Identifier: MIT
# The same boots in a row as boots.sh, of a paravirtual guest.
TYPE=pv
. "$(dirname "$0")/boots.sh"

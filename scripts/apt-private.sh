# SPDX-License-Identifier: MIT
# Sourced by setup and fetch-guests: apt with private lists, so that source packages and current binary packages can be
# had without touching the system's own configuration. The entries are derived from the system's own Debian source
# files (deb822 .sources and one-line .list): the same mirror, the same keys, with deb-src added. Invariant: every index
# is verified by apt against the system's keyring; nothing is fetched past apt.

APT_DIR=${APT_DIR:-$PWD/build/apt}

# Prints deb822 stanzas of Debian's own suites from the files given, with types deb and deb-src.
apt_derive_sources() {
	awk -v codename="$1" '
		function ours(suite) {
			return suite ~ "^(" codename "|stable)(-updates|-security|-proposed-updates|/updates)?/?$"
		}
		BEGIN { RS = ""; FS = "\n" }
		{
			text = ""; take = 0; main = 0; off = 0; key = ""
			for (i = 1; i <= NF; i++) {
				if ($i ~ /^[ \t]*#/) continue
				if ($i ~ /^[A-Za-z-]+:/) { key = tolower($i); sub(/:.*/, "", key) }
				line = $i
				if (key == "types") line = "Types: deb deb-src"
				if (key == "enabled" && tolower($i) ~ /no|false|0/) off = 1
				if (key == "components" && $i ~ /[ \t]main([ \t]|$)/) main = 1
				if (key == "suites") {
					n = split($i, w, /[ \t]+/); line = (w[1] ~ /:/) ? "Suites:" : ""
					for (j = 1; j <= n; j++) if (ours(w[j])) { line = line " " w[j]; take = 1 }
					if (line == "") continue
				}
				text = text line "\n"
			}
			if (take && main && !off) printf "%s\n", text
		}' "${@:2}"
}

# The same for one-line entries.
apt_derive_list() {
	awk -v codename="$1" '
		$1 == "deb" {
			line = $0; sub(/#.*/, "", line); rest = line; sub(/^deb[ \t]+/, "", rest)
			plain = rest; sub(/^\[[^]]*\][ \t]*/, "", plain); n = split(plain, w, /[ \t]+/)
			main = 0; for (j = 3; j <= n; j++) if (w[j] == "main") main = 1
			if (main && w[2] ~ "^(" codename "|stable)(-updates|-security|-proposed-updates|/updates)?/?$")
				print "deb " rest "\ndeb-src " rest
		}' "${@:2}"
}

apt_private() { # COMMAND ARGUMENT...
	local command=$1
	shift
	"$command" -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$APT_DIR/sources.d" \
		-o Dir::State::Lists="$APT_DIR/lists" -o Dir::Cache="$APT_DIR/cache" -o Dir::State::status="$APT_DIR/status" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

# Refreshes the private lists; a second call in the same run does nothing.
apt_private_update() {
	local codename sources lists
	[ -z "${apt_private_fresh:-}" ] || return 0
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
	mkdir -p "$APT_DIR/sources.d" "$APT_DIR/lists/partial" "$APT_DIR/cache/archives/partial"
	: >"$APT_DIR/status"
	mapfile -t sources < <(find /etc/apt/sources.list.d -name '*.sources' 2>/dev/null | sort)
	mapfile -t lists < <(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' 2>/dev/null | sort)
	: >"$APT_DIR/sources.d/debian.sources"
	: >"$APT_DIR/sources.d/debian.list"
	[ ${#sources[@]} -eq 0 ] || apt_derive_sources "$codename" "${sources[@]}" >"$APT_DIR/sources.d/debian.sources"
	[ ${#lists[@]} -eq 0 ] || apt_derive_list "$codename" "${lists[@]}" >"$APT_DIR/sources.d/debian.list"
	if ! [ -s "$APT_DIR/sources.d/debian.sources" ] && ! [ -s "$APT_DIR/sources.d/debian.list" ]; then
		echo "no Debian $codename entry with component main found under /etc/apt" >&2
		return 1
	fi
	apt_private apt-get update -q
	apt_private_fresh=1
}

# testbed.bash: what scripts/machine and scripts/box share. Sourced, never run.
#
# Both test beds start from Debian trees made by mmdebstrap. Making one takes a
# minute, so trees are kept in the cache folder and made again only when their
# package list or their mmdebstrap arguments change. A tree is never written to
# once it is there: machines lay an overlay over it, boxes make a disk image of it.
#
# Nothing here starts or stops anything.
# shellcheck shell=bash

# tb_cache prints the folder that survives between runs: trees, images, overlays.
tb_cache() { echo "${ARASUL_TESTBED_CACHE:-/var/cache/arasul-testbed}"; }

# tb_run prints the folder that describes what is running now.
tb_run() { echo /run/arasul-testbed; }

# tb_log MSG says what happens, on stderr: stdout belongs to results.
tb_log() { echo "${0##*/}: $*" >&2; }

# tb_die MSG ends the program. MSG says what went wrong and what to do about it.
tb_die() {
	tb_log "$*"
	exit 1
}

# tb_lock NAME CMD… runs CMD (a program or a function) while holding the lock NAME.
# CMD runs in a subshell and does not inherit the lock, so that what it leaves
# running in the background does not keep it.
tb_lock() {
	local file
	file=$(tb_run)/lock/$1
	shift
	mkdir -p "${file%/*}"
	(
		flock 9 &&
			"$@" 9>&-
	) 9>"$file"
}

# tb_tree KIND RELEASE PACKAGES_CSV [mmdebstrap args…] prints the path of a Debian
# tree with these packages and without their recommendations, making it when there
# is none. Trees of the same kind and release that differ are removed, unless
# somebody still uses them: an overlay lies over them in some mount namespace, or a
# shared flock(1) on their folder says so.
tb_tree() {
	local kind=$1 release=$2 packages=$3
	shift 3
	local trees hash
	trees=$(tb_cache)/trees
	hash=$(printf '%s\n' "$packages" "$@" | sha256sum)
	local tree=$trees/$kind-$release-${hash:0:12}
	if [[ ! -d $tree ]]; then
		tb_lock "tree-$kind-$release" _tb_make_tree "$tree" "$release" "$packages" "$@" || return
	fi
	echo "$tree"
}

# tb_disk TREE FILE makes FILE a disk of 6 GB, sparse, with the tree in an ext4.
tb_disk() {
	truncate -s 6G "$2"
	mke2fs -q -t ext4 -L root -E lazy_itable_init=0,discard -d "$1" "$2"
}

_tb_make_tree() {
	local tree=$1 release=$2 packages=$3 old
	shift 3
	[[ ! -d $tree ]] || return 0 # somebody else made it while we waited
	local start=$SECONDS new=$tree.new log=$tree.log
	for old in "${tree%-*}"-*; do
		[[ -d $old ]] || continue
		grep -qsF "lowerdir=$old," /proc/[0-9]*/mountinfo ||
			flock --exclusive --nonblock "$old" rm -rf --one-file-system "$old" "$old.log" || true
	done
	if [[ -d $new ]]; then # its maker was killed, and left what it had mounted there
		findmnt --raw --noheadings --output TARGET | { grep -F "$new/" || true; } | sort -r | xargs -r umount --lazy
		rm -rf --one-file-system "$new"
	fi
	mkdir -p "$new"
	tb_log "making the Debian tree ${tree##*/} (once, about a minute)"
	# TMPDIR: mmdebstrap writes its sources file there, and it must be readable by _apt.
	if ! TMPDIR=/tmp mmdebstrap --mode=root --variant=minbase --include="$packages" \
		"$@" "$release" "$new" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		rm -rf --one-file-system "$new"
		tb_log "mmdebstrap could not make the tree; its log: $log. Is a Debian mirror reachable?"
		return 1
	fi
	rm -f "$log"
	mv "$new" "$tree" || return
	tb_log "made ${tree##*/} in $((SECONDS - start)) s, $(du -sm "$tree" | cut -f1) MB"
}

# The room of a private Engine: namespaces that a daemon can be started in again and again, and that end with all that is in
# them when standard input does. So nothing outlives the test, however that ends.
#
#   sh room.sh DIR CGROUP BYTES ADDRESS    DIR/data is a file system of that size, seen in the room only; prints the room's
#                                          first process
#
#   network  a second daemon in the machine's namespace removes the first one's docker0 and firewall rules; it has loopback,
#            with ADDRESS beside 127.0.0.1
#   pid      to end the first process is to end the daemon, containerd, shims and containers, whatever state they are in
#   mount    the data root, and what the daemon mounts, goes with the room; fixed paths are the room's own
set -eu
dir=$1 cgroup=$2 bytes=$3 address=$4

# In the room: the first process. It waits, and so collects what shims leave behind.
# /run/containerd has the shims' sockets, and /etc/docker the key that the Engine's id is made of.
inside='
set -e
ip link set lo up
ip addr add "$3/32" dev lo
mount -t tmpfs -o size="$2",mode=0711 holdfast-test "$1/data"
mkdir -p /run/containerd /etc/docker
mount --bind "$1/run" /run/containerd
mount --bind "$1/etc" /etc/docker
: >"$1/ready"
sleep infinity & wait
'
mkdir "$dir/data" "$dir/run" "$dir/etc"
exec 3<&0
unshare --net --pid --fork --kill-child --mount --propagation slave --mount-proc sh -c "$inside" room "$dir" "$bytes" "$address" &
room=$!
until [ -e "$dir/ready" ]; do
  kill -0 $room 2>/dev/null || exit 1
  sleep 0.01
done
first=$(tr -d " " <"/proc/$room/task/$room/children")
echo "$first"
cat <&3 >/dev/null || true

kill -KILL "$first"
# In cgroup v1 a paused process does not even die before it is thawed.
while kill -0 $room 2>/dev/null; do
  find /sys/fs/cgroup/freezer/"$cgroup" -name freezer.state 2>/dev/null | while read -r state; do echo THAWED >"$state"; done || true
  sleep 0.02
done
tries=100
while find /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; [ -n "$(find /sys/fs/cgroup -maxdepth 2 -name "$cgroup")" ]; do
  [ $((tries -= 1)) -gt 0 ] || { echo "the cgroup $cgroup is left over" >&2; break; }
  sleep 0.05
done
rm -rf --one-file-system -- "$dir"
